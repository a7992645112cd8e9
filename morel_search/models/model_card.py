"""The page beside an exported network: what it is, how good it is, how it was made, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morel_search._format import attack_text, percent

__all__ = ["kind_words", "model_card"]

_MOST_CLASSES = 20
_ARITHMETIC = {"channels_last": "channels last", "compile": "compiled", "deterministic": "deterministic"}


def kind_words(kind: str, evaluation: Mapping[str, Any]) -> str:
    """Say on which images, and under which attack, figures of a kind were measured."""
    words = {
        "verified": f"verified on test images, with attacks stronger than the search's "
        f"({evaluation.get('norm', '?')}, "
        f"epsilon {evaluation.get('epsilon', '?')})",
        "test": f"on test images, {attack_text(evaluation)}",
        "validation": f"on validation images, {attack_text(evaluation)}",
    }
    return words[kind]


def model_card(settings: Mapping[str, Any], name: str, more_files: Sequence[str] = ()) -> str:
    """Write the page.

    Args:
        settings: The network's ``settings.json``.
        name: The folder's name.
        more_files: Files beside the weights that hold the network in other formats.
    """
    network, data = settings["network"], settings["data"]
    shape, classes = settings["image_shape"], settings["classes"]
    shown = ", ".join(map(str, classes[:_MOST_CLASSES])) + (", ..." if len(classes) > _MOST_CLASSES else "")
    parts = [
        f"# {network['name'].rpartition(':')[2]} for {data['name']}: trial {settings['number']}, epoch "
        f"{settings['epoch']}, "
        f"seed {settings['seed']}",
        f"An image classifier from a search for the trade-off between clean and robust accuracy: "
        f"`{network['name']}`"
        f"{_options(network)}, trained on `{data['name']}` by morel_search. It takes float images in [0, "
        f"1] of shape "
        f"(N, {', '.join(map(str, shape))}) and returns logits of {len(classes)} classes: {shown}. "
        f"Pixels are normalised inside it.",
        _figures(settings),
        _training(settings, name),
        _loading(name, more_files),
        _limits(settings),
    ]
    return "\n\n".join(parts) + "\n"


def _options(network: Mapping[str, Any]) -> str:
    options = network.get("options") or {}
    return f" ({', '.join(f'{key} {value}' for key, value in options.items())})" if options else ""


def _figures(settings: Mapping[str, Any]) -> str:
    figures, evaluation = settings["figures"], settings["evaluation"]
    rows = [
        "## How good it is",
        "",
        "| measured | clean accuracy | robust accuracy | images |",
        "| --- | --- | --- | --- |",
    ]
    rows += [
        f"| {kind_words(kind, evaluation)} | {_accuracy(one, 'clean')} | {_accuracy(one, 'robust')} | "
        f"{one.get('images', '-')} |"
        for kind, one in figures.items()
    ]
    said = ["Robust accuracy is the share of images that are still classified rightly after the attack."]
    if any("robust_interval" in one for one in figures.values()):
        said.append("In brackets: 95% intervals.")
    if "verified" not in figures:
        said.append(
            "No figure is verified: the attack is quick, and stronger ones find more. The robust "
            "accuracy is an upper bound."
        )
    elif flags := figures["verified"].get("flags"):
        said.append(
            f"**The verification flagged this network, so do not believe its robust accuracy: {flags}.**"
        )
    if picked := settings.get("picked"):
        said.append(f"Why this network: {picked['why']}")
        if kind := picked.get("figures"):
            said.append(f"It was picked by its {kind} figures, which flatter it for that.")
    return "\n".join([*rows, "", " ".join(said)])


def _accuracy(one: Mapping[str, Any], what: str) -> str:
    interval = one.get(f"{what}_interval")
    between = f" ({percent(interval[0])} to {percent(interval[1])})" if interval else ""
    return percent(one[f"{what}_accuracy"]) + between


def _training(settings: Mapping[str, Any], name: str) -> str:
    train, data = settings["train"], settings["data"]
    compute = settings.get("compute")
    weighted = f" (beta {train['beta']})" if train["accuracy_loss"] in ("trades", "mart", "loat") else ""
    limited = f" {data['limit']} of" if data.get("limit") else ""
    share = float(data["validation"])
    held_back = f"{percent(share)} of them" if share < 1 else f"{share:.0f} of them"
    lines = [
        "## How it was trained",
        "",
        f"- Accuracy objective `{train['accuracy_loss']}`{weighted}; robust objective with weight "
        f"{train['k_robust']}, its contrastive "
        f"term with weight {train['alpha']} and temperature {train['temperature']}.",
        f"- Training attack: {train['attack_steps']} steps, {train['norm']}, epsilon {train['epsilon']}; "
        f"without an objective that needs "
        "one there is none.",
        f"- {train['optimizer']}, peak learning rate {train['lr']}, {train['schedule']} schedule, "
        f"batches of {train['batch_size']}. "
        f"Epoch {settings['epoch']} of {train['epochs']} was kept (rule `{settings['select_epoch']}`).",
        f"- Data:{limited} the training images of `{data['name']}`; {held_back}, split off with the seed "
        f"{data['seed']}, served for "
        "validation.",
    ]
    if compute:
        also = [words for key, words in _ARITHMETIC.items() if compute.get(key)]
        lines.append(
            f"- Arithmetic: {', '.join([compute['precision'], *also])}, on "
            f"{settings.get('device', 'an unknown device')}."
        )
    lines += [
        "",
        "`settings.json` has every setting. This trains it again:",
        "",
        "```",
        f"python -m morel_search.train {name}",
        "```",
    ]
    return "\n".join(lines)


def _loading(name: str, more_files: Sequence[str]) -> str:
    code = [
        "## How to load it",
        "",
        "```python",
        "import morel_search",
        "",
        f'model = morel_search.load_model("{name}")  # an nn.Module in eval mode; needs torch, neither '
        f"Ray nor Optuna",
        "```",
    ]
    uses = {
        "model.onnx": "`model.onnx` is the same network for ONNX runtimes: input `images`, output "
        "`logits`, batches of any size.",
        "model.pt2": "`model.pt2` needs torch alone: `torch.export.load(file).module()`.",
    }
    return "\n".join([*code, *(line for file in more_files for line in ("", uses[file]))])


def _limits(settings: Mapping[str, Any]) -> str:
    evaluation = settings["evaluation"]
    return "\n".join(
        [
            "## What it is not for",
            "",
            f"- It was tested at one norm and radius: {evaluation['norm']}, epsilon "
            f"{evaluation['epsilon']} of the pixel range. Nothing is "
            "known about larger perturbations, other norms, patches, blur, noise, rotations or weather.",
            "- Its robust accuracy is what known attacks left over. It is no proof, for any single image.",
            f"- It knows images like those of `{settings['data']['name']}` alone, and names one of its "
            f"classes whatever it is shown.",
            "- Where a wrong answer can do harm, it must not decide by itself.",
            "",
            "## Licence",
            "",
            "None was chosen. Whoever passes these weights on names one here; the terms of the training "
            "data apply too.",
        ]
    )
