"""The model card beside an exported network: its accuracies, its training, how to load it, and its limits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from morel_search._consent import import_paths, is_import_path, trust_option
from morel_search._format import attack_text, percent, printable, with_interval
from morel_search.models.markdown import md_code, md_text
from morel_search.models.settings import Accuracies, ModelSettings
from morel_search.training.names import DISTILLATION_LOSSES

__all__ = ["kind_text", "model_card"]

_MAX_CLASSES = 20
_ARITHMETIC = {"channels_last": "channels last", "compile": "compiled", "deterministic": "deterministic"}


def kind_text(kind: str, evaluation: Mapping[str, object]) -> str:
    """Return on which images and under which attack accuracies of a kind were measured.

    Args:
        kind: ``verified``, ``test`` or ``validation``.
        evaluation: The section ``evaluation`` of the settings.
    """
    texts = {
        "verified": f"verified on test images, with attacks stronger than the search's "
        f"({evaluation.get('norm', '?')}, epsilon {evaluation.get('epsilon', '?')})",
        "test": f"on test images, {attack_text(evaluation)}",
        "validation": f"on validation images, {attack_text(evaluation)}",
    }
    return texts.get(kind, f"{kind} accuracies")


class _Recorded(dict[str, object]):
    """A section of the settings; a setting that it lacks is ``not recorded``."""

    def __missing__(self, key: str) -> str:
        return "not recorded"


def model_card(settings: ModelSettings, name: str, more_files: Sequence[str] = ()) -> str:
    """Return the model card as Markdown; all text from the settings is escaped.

    Args:
        settings: The settings of the network.
        name: Name of its folder.
        more_files: Files beside the weights that hold the network in other formats.
    """
    settings = replace(
        settings,
        network=_Recorded(settings.network),
        train=_Recorded(settings.train),
        data=_Recorded(settings.data),
        evaluation=_Recorded(settings.evaluation),
        compute=None if settings.compute is None else _Recorded(settings.compute),
    )
    network, data = settings.network, settings.data["name"]
    classes, shape = settings.classes or (), settings.image_shape or ()
    names = ", ".join(map(md_text, classes[:_MAX_CLASSES])) + (", ..." if len(classes) > _MAX_CLASSES else "")
    parts = [
        f"# {md_text(str(network['name']).rpartition(':')[2])} for {md_text(data)}: {_origin(settings)}",
        f"An image classifier from a search for the trade-off between clean and robust accuracy: "
        f"{_kind(settings)}, trained on {md_code(data)} by morel_search. It "
        f"takes float images in [0, 1] of shape (N, {', '.join(map(str, shape))}) and returns logits of "
        f"{len(classes)} classes: {names}. The normalisation of pixels is part of the network.",
        _accuracies(settings),
        _mixing(settings.mixture) if settings.mixture else _training(settings, name),
        _loading(settings, name, more_files),
        _limits(settings),
    ]
    return "\n\n".join(parts) + "\n"


def _origin(settings: ModelSettings) -> str:
    if settings.mixture:
        return " and ".join(
            md_text(f"network {member.get('network')}") for member in _members(settings.mixture)
        )
    return f"trial {settings.number}, epoch {settings.epoch}, seed {settings.seed}"


def _kind(settings: ModelSettings) -> str:
    if settings.mixture:
        return f"a mixture of {len(_members(settings.mixture))} networks"
    network = settings.network
    start = f", whose training started from {md_code(network['weights'])}" if network.get("weights") else ""
    return f"{md_code(network['name'])}{_options(network)}{start}"


def _mixing(mixture: Mapping[str, object]) -> str:
    lines = ["## How it was made", ""]
    lines += [
        f"- Network {md_text(member.get('network'))} has the weight {md_text(member.get('weight'))}."
        for member in _members(mixture)
    ]
    lines += [
        f"- The mixture averages the {md_text(mixture.get('form'))} of its members. Nothing was trained for "
        "it; weights were chosen by validation accuracies.",
        f"- A prediction needs {md_text(mixture.get('passes'))} forward passes; all members have "
        f"{md_text(mixture.get('parameters'))} parameters together.",
    ]
    return "\n".join(lines)


def _members(mixture: Mapping[str, object]) -> list[Mapping[str, object]]:
    members = mixture.get("members")
    return [member for member in members if isinstance(member, dict)] if isinstance(members, list) else []


def _options(network: Mapping[str, object]) -> str:
    options = network.get("options")
    if not isinstance(options, dict) or not options:
        return ""
    return f" ({', '.join(md_text(f'{key} {value}') for key, value in options.items())})"


def _accuracies(settings: ModelSettings) -> str:
    figures = settings.figures
    rows = [
        "## Accuracies",
        "",
        "| measured | clean accuracy | robust accuracy | images |",
        "| --- | --- | --- | --- |",
    ]
    for kind, accuracies in figures.items():
        rows.append(
            f"| {md_text(kind_text(kind, settings.evaluation))} | {_clean(accuracies)} | "
            f"{_robust(accuracies)} | {accuracies.get('images', '-')} |"
        )
    sentences = ["Robust accuracy is the fraction of images that are classified correctly after the attack."]
    if any("robust_interval" in accuracies for accuracies in figures.values()):
        sentences.append("In brackets: 95% intervals.")
    if "verified" not in figures:
        sentences.append(
            "No figure is verified: the attack is short, and stronger attacks find more adversarial "
            "examples. The robust accuracy is an upper bound."
        )
    flags = next((accuracies["flags"] for accuracies in figures.values() if "flags" in accuracies), "")
    if flags:
        sentences.append(
            "**The verification flagged this network; its robust accuracy is not reliable: "
            f"{md_text(flags)}.**"
        )
    if settings.picked is not None:
        sentences.append(f"Why this network: {md_text(settings.picked.get('why', 'not recorded'))}")
        if compared := settings.picked.get("figures"):
            sentences.append(
                f"It was selected by its {md_text(compared)} accuracies, which are therefore optimistic for "
                "it."
            )
    return "\n".join([*rows, "", " ".join(sentences)])


def _clean(accuracies: Accuracies) -> str:
    return with_interval(accuracies.get("clean_accuracy"), accuracies.get("clean_interval"))


def _robust(accuracies: Accuracies) -> str:
    return with_interval(accuracies.get("robust_accuracy"), accuracies.get("robust_interval"))


def _training(settings: ModelSettings, name: str) -> str:
    given, data, compute = settings.train, settings.data, settings.compute
    train = _Recorded({key: md_text(value) for key, value in given.items()})
    trust = trust_option((settings.network, given))
    beta = f" (beta {train['beta']})" if train["accuracy_loss"] in ("trades", "mart", "loat") else ""
    limit = f" {md_text(data['limit'])} of" if data.get("limit") else ""
    lines = [
        "## How it was trained",
        "",
        f"- Accuracy objective {md_code(given['accuracy_loss'])}{beta}; robust objective with weight "
        f"{train['k_robust']}, its contrastive term with weight {train['alpha']} and temperature "
        f"{train['temperature']}.",
        *_teacher(given),
        f"- Training attack: {train['attack_steps']} steps, {train['norm']}, epsilon {train['epsilon']}. It "
        "is left out if no objective in use needs it.",
        f"- {train['optimizer']}, peak learning rate {train['lr']}, {train['schedule']} schedule, batches of "
        f"{train['batch_size']}. Epoch {settings.epoch} of {train['epochs']} was kept (rule "
        f"{md_code(settings.select_epoch)}).",
        f"- Data:{limit} the training images of {md_code(data['name'])}; {_held_out(data)} of them, split "
        f"off with the seed {md_text(data['seed'])}, are the validation images.{_extra(data)}",
    ]
    if compute:
        also = [text for key, text in _ARITHMETIC.items() if compute.get(key)]
        lines.append(
            f"- Arithmetic: {', '.join([md_text(compute['precision']), *also])}, on "
            f"{md_text(settings.device or 'an unknown device')}."
        )
    lines += [
        "",
        "`settings.json` has every setting. This command trains the network again:",
        "",
        "```",
        printable(f"python -m morel_search.train {shlex.quote(name)}{trust}"),
        "```",
    ]
    return "\n".join(lines)


def _teacher(train: Mapping[str, object]) -> list[str]:
    """Return a line about the teacher of a distillation; none without one."""
    if train["accuracy_loss"] not in DISTILLATION_LOSSES:
        return []
    return [
        f"- The accuracy objective distils the teacher {md_code(train['teacher'])} (SHA-256 "
        f"{md_code(train['teacher_sha256'])}); a prediction does not need it."
    ]


def _extra(data: Mapping[str, object]) -> str:
    """Return a sentence about extra training images; empty without them."""
    if not isinstance(data.get("extra"), str):
        return ""
    share = data.get("extra_share")
    amount = percent(share) if isinstance(share, (int, float)) else "A share"
    return f" {amount} of each training batch were extra images, of {md_code(data['extra'])}."


def _held_out(data: Mapping[str, object]) -> str:
    """Return the size of the validation split: a percentage or a number of images."""
    validation = data["validation"]
    if not isinstance(validation, (int, float)):
        return md_text(validation)
    return percent(validation) if validation < 1 else f"{validation:.0f}"


def _loading(settings: ModelSettings, name: str, more_files: Sequence[str]) -> str:
    network = str(settings.network["name"])
    names_code = is_import_path(network) or any(import_paths(settings.network))  # of a member of a mixture
    trust = ", trust_code=True" if names_code else ""
    code = [
        "## How to load it",
        "",
        "```python",
        "import morel_search",
        "",
        f"model = morel_search.load_model({json.dumps(printable(name))}{trust})  # an nn.Module in eval "
        "mode; needs torch, but neither Ray nor Optuna",
        "```",
    ]
    named = sorted({*import_paths(settings.network), *import_paths(settings.train)})
    if named:
        code += [
            "",
            f"{_listed(named)} {'is' if len(named) == 1 else 'are'} code, which must be importable and is "
            "not in this folder. It runs only with your consent (`trust_code=True`, `--trust`): read it "
            "first.",
        ]
    uses = {
        "model.onnx": "`model.onnx` is the same network for ONNX runtimes: input `images`, output "
        "`logits`, batches of any size.",
        "model.pt2": "`model.pt2` needs only torch: `torch.export.load(file).module()`.",
    }
    return "\n".join([*code, *(line for file in more_files for line in ("", uses[file]))])


def _listed(names: Sequence[str]) -> str:
    return " and ".join(map(md_code, names))


def _limits(settings: ModelSettings) -> str:
    evaluation = settings.evaluation
    return "\n".join(
        [
            "## Limits",
            "",
            f"- It was tested with one norm and radius: {md_text(evaluation['norm'])}, epsilon "
            f"{md_text(evaluation['epsilon'])} of the pixel range. Larger perturbations, other norms, "
            "patches, blur, noise, rotations and weather were not tested.",
            "- Its robust accuracy was measured with known attacks. It is not a proof for any single image.",
            f"- It was trained on images such as those of {md_code(settings.data['name'])}, and returns one "
            "of its classes for any other image too.",
            "- It must not make decisions alone if a wrong answer can do harm.",
            "",
            "## Licence",
            "",
            "No licence is chosen. Name one here before you publish these weights; the terms of the training "
            "data apply too.",
        ]
    )
