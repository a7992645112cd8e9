"""The section of attacked images: test images, their adversarial examples, and their predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from morel_search._format import attack_text, number_of, percent, shortened
from morel_search.analysis.attacks_run import attack_title
from morel_search.analysis.report.commands import module_command
from morel_search.analysis.report.html import Section, paragraphs, section, text
from morel_search.analysis.report.png import png_uri
from morel_search.analysis.run_data import NetworkEntry, RunData
from morel_search.analysis.verification import Verification
from morel_search.errors import RunFolderError
from morel_search.results.attack_records import BROKEN, COLUMNS, UNKNOWN, AttackRecord, read_record
from morel_search.results.pictures import (
    CleanImage,
    NetworkPictures,
    Picture,
    Pictures,
    Pixels,
    Prediction,
)
from morel_search.results.pictures_file import read_pictures

__all__ = ["difference", "pictures_section"]

TITLE = "Attacked images"

GREY = 128
"""Level of a pixel of the difference that did not change."""

NEARLY_ONE = 0.999
"""A probability between this one and 1 is not printed as 100 %."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A network of the section: its pictures, its entry in the run, and its attack record."""

    pictures: NetworkPictures
    entry: NetworkEntry
    record: AttackRecord


def pictures_section(run_data: RunData, verification: Verification | None) -> Section | None:
    """Return the section of attacked images.

    None when the run folder has none, or when they are of other weights, other images or another radius than
    the records of the attacks.
    """
    try:
        pictures = read_pictures(run_data.run)
        shown = [] if pictures is None else list(_current(run_data, pictures))
    except RunFolderError:
        words = (
            "The file verification/pictures.json is damaged, so there are no pictures of attacked images. "
            f"{module_command('verify', run_data)} makes them again."
        )
        return section(TITLE, paragraphs([words]), ident="pictures", summary="the file is damaged")
    if pictures is None or not shown:
        return None
    flagged = () if verification is None else verification.flagged
    content = "".join(_network(network, pictures, network.entry.name in flagged) for network in shown)
    count = len(shown)
    summary = (
        f"{len(pictures.images)} test image{'' if len(pictures.images) == 1 else 's'}, "
        f"{count} network{'' if count == 1 else 's'}, before and after an attack"
    )
    return section(TITLE, content, _caption(pictures, count), "pictures", summary=summary)


def difference(adversarial: Pixels, clean: Pixels, levels: int | None) -> Pixels:
    """Return the enlarged difference of two images: grey where nothing changed.

    Args:
        adversarial: The adversarial example.
        clean: The test image.
        levels: The change that is drawn white, and its negative black; None for the largest change of this
            image.
    """
    change = adversarial.astype(np.int64) - clean
    most = levels or int(np.abs(change).max()) or 1
    return np.asarray((GREY + np.rint(change * (127 / most))).clip(0, 255), dtype=np.uint8)


def _current(run_data: RunData, pictures: Pictures) -> Iterator[_Shown]:
    """Yield the networks whose pictures and attack records are of the same weights, images and radius."""
    entries = {entry.name: entry for entry in run_data.networks}
    for network in pictures.networks:
        if network.name not in entries:
            continue
        record = read_record(run_data.run, network.name)
        if record is None or any(image.index >= len(record.table) for image in pictures.images):
            continue
        setup = record.setup
        made_on = (setup.weights, setup.data, setup.evaluation.get("norm"))
        same_radius = number_of(setup.evaluation.get("epsilon")) == number_of(pictures.epsilon)
        if made_on == (network.weights, pictures.data, pictures.norm) and same_radius:
            yield _Shown(network, entries[network.name], record)


def _attack_words(pictures: Pictures) -> str:
    evaluation = {
        "loss": "targeted_margin",
        "norm": pictures.norm,
        "epsilon": pictures.epsilon,
        "steps": pictures.steps,
        "targets": pictures.targets,
    }
    return attack_text(evaluation, quick=True)


def _caption(pictures: Pictures, networks: int) -> str:
    count, passed = len(pictures.images), pictures.passed_over
    which = "this network classifies" if networks == 1 else f"these {networks} networks classify"
    first = "the first test image" if count == 1 else f"the first {count} test images"
    before = "it" if count == 1 else "the last"
    others = ""
    if passed:
        counted = "1 other image" if passed == 1 else f"{passed} other images"
        others = f"; {counted} before {before} {'was' if passed == 1 else 'were'} passed over"
    sentences = [
        f"Shown are {first}, in the order of the verification, that {which} correctly without an attack"
        f"{others}.",
        f"The attack is {_attack_words(pictures)}. It is one attack of many; the result of the whole "
        "verification stands below each image.",
        "A change is rounded to whole levels of 8 bits, which can weaken it, and stays within ε. ",
    ]
    if pictures.reduction > 1:
        sentences[-1] += (
            f"The images are shown at 1/{pictures.reduction} of their height and width; the predictions are "
            "those of the full images."
        )
    else:
        sentences[-1] += "The predictions are those of exactly these pixels."
    how = "ε" if pictures.norm == "linf" else "the largest change of the image"
    coloured = len(pictures.images[0].pixels) > 1
    sentences.append(
        f"In the difference, grey is unchanged, white is raised and black is lowered by {how}"
        f"{', in each of red, green and blue' if coloured else ''}."
    )
    return " ".join(sentence.strip() for sentence in sentences)


def _network(shown: _Shown, pictures: Pictures, flagged: bool) -> str:
    entry, count = shown.entry, len(pictures.images)
    pairs = list(zip(pictures.images, shown.pictures.pictures, strict=True))
    kept = sum(picture.after.label == image.label for image, picture in pairs)
    name = f"Control {entry.label}" if entry.label else f"Network {entry.name}"
    mark = " (flagged for gradient masking: its robustness is not reliable)" if flagged else ""
    result = f"{kept} of {count} image{'' if count == 1 else 's'} still correct after this attack"
    cards = "".join(_card(image, picture, pictures, shown.record, name) for image, picture in pairs)
    head = f"<h4>{text(name)}{text(mark)}<span>{text(result)}</span></h4>"
    return f'<div class="attacked">{head}<div class="cards">{cards}</div></div>'


def _card(image: CleanImage, picture: Picture, pictures: Pictures, record: AttackRecord, network: str) -> str:
    what = f"test image {image.index}, class {_class(image.label, image.name)}"
    correct = picture.after.label == image.label
    radius = number_of(pictures.epsilon)
    levels = max(1, int(255 * min(radius, 1.0) + 1e-6)) if pictures.norm == "linf" and radius else None
    parts = (
        ("clean", image.pixels, f"{what}, before the attack"),
        ("attacked", picture.pixels, f"{what}, adversarial example for {network}"),
        ("difference", difference(picture.pixels, image.pixels, levels), f"{what}, enlarged difference"),
    )
    images = "".join(
        f'<figure><img src="{png_uri(pixels)}" alt="{text(words)}"><figcaption>{kind}</figcaption></figure>'
        for kind, pixels, words in parts
    )
    verdict = "✓ still correct" if correct else "✗ wrong"
    lines = (
        f"<b>Image {image.index}</b>: {text(_class(image.label, image.name))}",
        f"before {text(_prediction(picture.before))}",
        f'after {text(_prediction(picture.after))} <span class="{"kept" if correct else "lost"}">{verdict}'
        "</span>",
        f'<span class="point">{text(_verified(record, image.index))}</span>',
    )
    return f'<div class="card"><div class="three">{images}</div><p>{"<br>".join(lines)}</p></div>'


def _prediction(prediction: Prediction) -> str:
    share = prediction.probability
    words = "over 99.9%" if NEARLY_ONE < share < 1 else percent(share)
    return f"{_class(prediction.label, prediction.name)} ({words})"


def _class(label: int, name: str) -> str:
    return shortened(name) if name.strip() else str(label)


def _verified(record: AttackRecord, index: int) -> str:
    """Return what the whole verification found for an image."""
    results = record.table[index]
    broken = [stage for stage, result in zip(COLUMNS, results, strict=True) if result == BROKEN]
    if broken:
        by = "without an attack" if broken[0] == "clean" else f"by {attack_title(broken[0])}"
        return f"verification: misclassified {by}"
    ran = [stage for stage in record.attacks if results[COLUMNS.index(stage)] != UNKNOWN]
    if len(ran) == len(record.attacks):
        return "verification: correct after every attack"
    return f"verification: correct after the {len(ran)} of {len(record.attacks)} attacks that ran"
