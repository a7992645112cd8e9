"""A space file for data of one's own: what was found in the data, and settings that suit it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search._format import printable
from morel_search._machine import usable_cpus
from morel_search.errors import DataError
from morel_search.training.data_settings import DOWNLOADED, is_hub_name
from morel_search.training.library_names import is_library_name
from morel_search.workflows.data_facts import DataFacts, find_splits, look_at
from morel_search.workflows.templates import SCHEMA_LINE, templates

if TYPE_CHECKING:
    from morel_search.training.settings import DataSettings

__all__ = ["DESCRIBED", "can_be_described", "space_for", "space_for_name"]

TEMPLATE, SEARCHED = "image_folder", "# The searched settings and their ranges."
"""The template whose searched settings are taken over, and the line with which they begin."""

DESCRIBED = DOWNLOADED[2:]
"""Data sets of which a space file is written from what they hold; CIFAR has templates."""

FEW_IMAGES = 5000
"""Number of training images below which a small network and short trainings are proposed."""

WANTED_VALIDATION = 200
"""Number of validation images that is wanted, as the standard error of an accuracy is then at most 0.035."""

PLAIN = re.compile(r"(?!(?i:true|false|null)$)(?:\.{0,2}/)?[A-Za-z_][\w./-]*")
"""A text that YAML reads as a text without quotes; not a number such as ``.5``."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Settings that follow the data, with the reason in a comment."""

    network: str
    options: dict[str, object]
    reason: str
    optimizer: str
    lr: str
    epsilon: str
    largest: str
    step: str
    radius: str


def space_for(data: Path, test: Path | None, network: str | None, path: Path) -> tuple[str, DataFacts]:
    """Write the text of a space file for images in folders or Parquet files.

    Args:
        data: See :func:`morel_search.workflows.data_facts.find_splits`.
        test: The test images; None if they are in ``data``.
        network: The network; None chooses one.
        path: The space file, which comments name.

    Returns:
        The text, and what was found.

    Raises:
        DataError: The images cannot be used.
        NetworkError: The network is unknown or does not fit the images.
    """
    from morel_search.training.settings import DataSettings

    name, train, tested = find_splits(data, test)
    return _described(DataSettings(name=name, train=train, test=tested), network, path)


def space_for_name(name: str, subset: str | None, network: str | None, path: Path) -> tuple[str, DataFacts]:
    """Write the text of a space file for a data set that is downloaded, such as ``mnist``.

    Args:
        name: A name of a data set, also ``huggingface/OWNER/NAME``; see :func:`can_be_described`.
        subset: ``data.subset``.
        network: The network; None chooses one.
        path: The space file, which comments name.

    Returns:
        The text, and what was found.

    Raises:
        DataError: The data set cannot be downloaded or used.
        NetworkError: The network is unknown or does not fit the images.
    """
    from morel_search.training.datasets.hub import pinned
    from morel_search.training.settings import DataSettings

    settings = pinned(DataSettings(name=name, subset=subset))
    if is_hub_name(name):
        print_err(
            f"note: {name} is read at its commit {settings.commit}; a search notes its own at its start"
        )
    return _described(settings, network, path)


def can_be_described(name: str) -> bool:
    """Return whether :func:`space_for_name` can write a space file for a name."""
    return is_hub_name(name) or name in DESCRIBED


def _described(settings: DataSettings, network: str | None, path: Path) -> tuple[str, DataFacts]:
    import torch

    from morel_search.training.networks import build_network
    from morel_search.training.settings import NetworkSettings

    facts = look_at(settings)
    choice = _choose(facts, network)
    with torch.random.fork_rng(devices=[]):
        build_network(
            NetworkSettings(name=choice.network, options=choice.options),
            (facts.channels, *facts.size),
            len(facts.classes),
        )
    return "\n".join([*_head(facts, path), *_data(facts), *_settings(facts, choice), _rest(choice)]), facts


def _choose(facts: DataFacts, network: str | None) -> _Choice:
    side = min(facts.size)
    small = side < 24 or facts.train < FEW_IMAGES
    normalised: dict[str, object] = {"mean": list(facts.mean), "std": list(facts.std)}
    if network is not None:
        chosen, reason = network, "given with --network"
        if ":" in network:  # it may have a normalisation of its own
            normalised = {}
    elif small:
        chosen, reason = "small_cnn", "three convolutions: for small images, or few of them"
        normalised["width"] = 32
    else:
        chosen, reason = "resnet18", "its first layer keeps the resolution of small images"
    optimizer, lr = ("sgd", "0.1") if chosen.endswith("resnet18") and network is None else ("adamw", "0.01")
    if network is not None and (is_library_name(network) or ":" in network):
        lr = "0.001"
    radius = "8/255" if facts.channels == 3 else "1/10"
    largest, step = ("12/255", "1/255") if facts.channels == 3 else ("3/20", "1/100")
    meaning = (
        "the usual radius of small colour images" if facts.channels == 3 else "a tenth of the pixel range"
    )
    return _Choice(chosen, normalised, reason, optimizer, lr, radius, largest, step, meaning)


def _head(facts: DataFacts, path: Path) -> list[str]:
    few, many = min(facts.classes.values()), max(facts.classes.values())
    rarest = min(facts.classes, key=facts.classes.__getitem__)
    colour = "in colour" if facts.channels == 3 else "grey"
    smallest, middle, largest = facts.sizes
    sides = f"{smallest}" if smallest == largest else f"{smallest} to {largest}, median {middle}"
    lines = [
        SCHEMA_LINE.rstrip("\n"),
        f"# {facts.train:,} training images and {facts.test:,} test images of {len(facts.classes)} classes, "
        f"{colour},",
        f"# shorter side {sides} pixels; {few:,} to {many:,} training images in a class.",
    ]
    if few < many / 10:
        lines.append(
            f"# The class {_printable(rarest)} is rare: accuracies count images, so it counts little."
        )
    command = f"morel-search run --space {_printable(shlex.quote(str(path)))}"
    return [
        *lines,
        "#",
        f"#     {command} --dry-run",
        f"#     {command}",
        "#",
        "# Keys that are not given have their default; docs/reference/space-file.md lists all keys.",
        "",
    ]


def _data(facts: DataFacts) -> list[str]:
    settings = facts.settings
    share = min(0.25, max(0.1, round(WANTED_VALIDATION / facts.train + 0.005, 2)))
    lines = ["data:", f"  name: {settings.name}"]
    if settings.name in DOWNLOADED:
        lines.append(_line(f"  folder: {settings.folder}", "the files are downloaded to this folder"))
    if settings.subset is not None:
        lines.append(f"  subset: {_text(settings.subset)}")
    if settings.train is not None:
        lines.append(f"  train: {_text(settings.train)}")
    if settings.test is not None:
        lines.append(f"  test: {_text(settings.test)}")
    if settings.image_size is not None:
        lines.append(
            _line(
                f"  image_size: {settings.image_size}",
                "images are scaled and cropped to this side, in pixels",
            )
        )
    return [
        *lines,
        _line(f"  validation: {share:g}", "share of the training images that scores the trainings"),
        "",
    ]


def _settings(facts: DataFacts, choice: _Choice) -> list[str]:
    epochs = 20 if facts.train < FEW_IMAGES else 30
    batch = 128 if facts.train >= 2000 else 32
    return [
        "network:",
        _line(f"  name: {_text(choice.network)}", choice.reason),
        "  # mean and std are those of the training images; the network normalises with them",
        f"  options: {_mapping(choice.options)}",
        "",
        "# Settings of every training that are not searched.",
        "train:",
        f"  epochs: {epochs}",
        f"  batch_size: {batch}",
        f"  optimizer: {choice.optimizer}",
        _line(f"  lr: {choice.lr}", "peak learning rate"),
        _line("  schedule: cosine", "falls to zero over the epochs"),
        _line("  warmup: 0.1", "the learning rate rises over the first tenth of the training"),
        "  weight_decay: 5e-4",
        _line(f"  loat_late_from: {epochs * 3 // 4}", "first epoch (from 0) of LOAT's late phase"),
        "",
        "# The two attacks that measure robust accuracy.",
        "evaluation:",
        _line("  norm: linf", "no pixel changes by more than epsilon"),
        _line(f"  epsilon: {choice.epsilon}", f"{choice.radius}; fractions are exact"),
        _line("  steps: 8", "quick attack after epochs: steps against each of four wrong classes"),
        _line("  final_steps: 20", "final attack on a finished training, from two starts"),
        _line("  every: 2", "epochs between two evaluations; the last epoch is always evaluated"),
        "",
    ]


def _rest(choice: _Choice) -> str:
    """Return the searched settings and what follows them, from the template, for this radius and machine."""
    import torch

    text = templates()[TEMPLATE].read_text(encoding="utf-8")
    rest = text[text.index(SEARCHED) :]
    rest = rest.replace(
        "    high: 12/255\n    step: 1/255\n", f"    high: {choice.largest}\n    step: {choice.step}\n"
    )
    if not torch.cuda.is_available():
        begin = rest.index("resources:\n")
        end = rest.index("\n\n", begin)
        cpu = f"resources:\n  cpu: 1                  # CPU cores of one training, of {usable_cpus()}"
        rest = f"{rest[:begin]}{cpu}{rest[end:]}"
    return rest


def _line(setting: str, comment: str) -> str:
    """Return a line of a space file with its comment."""
    return f"{setting:<25} # {comment}"


def _mapping(options: Mapping[str, object]) -> str:
    """Return options as a YAML mapping in one line."""
    return f"{{{', '.join(f'{key}: {value}' for key, value in options.items())}}}"


def _text(value: str) -> str:
    """Return a text as it stands in a YAML file."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the path {value!r} is not UTF-8, so a space file cannot name it; rename it"
        ) from error
    if not value.isprintable():
        raise DataError(
            f"the path {value!r} has an unprintable character, so a space file cannot name it; rename it"
        )
    return value if PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """Return a text for a comment, in one line."""
    return printable(" ".join(text.split()))
