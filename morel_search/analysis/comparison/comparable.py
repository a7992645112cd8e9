"""Whether the accuracies of runs can be compared: the same images, and the same attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from morel_search._format import attack_text, number_of, shortened
from morel_search.analysis.attacks_run import attack_title
from morel_search.analysis.run_data import RunData
from morel_search.analysis.verification import Verification
from morel_search.errors import RunFolderError

__all__ = ["check_attack", "check_images", "comparable_value", "image_warnings", "verified_warnings"]

Named = Mapping[str, RunData]
"""The runs by their labels."""

_THREAT = ("norm", "epsilon")
"""Keys of ``evaluation`` that define robust accuracy; the others make an attack stronger or weaker."""

_PLACES = ("train", "test", "subset", "commit")
"""Keys of ``data`` that name files, or a part or a version of a data set.

The same images can have other paths on another machine, and be in two commits.
"""

_SPLIT = ("seed", "limit", "image_size")
"""Keys of ``data`` that decide which images are used for validation, and in which size."""


def check_images(runs: Named, *, same_test_images: bool) -> None:
    """Refuse runs on different data sets.

    Args:
        runs: The runs.
        same_test_images: Whether the verifications have the same test images, by their hash; then neither
            names nor paths matter.

    Raises:
        RunFolderError: The data sets, their classes or their image sizes differ.
    """
    if same_test_images:
        return
    images = [dict(run.settings.images or {}) for run in runs.values()]
    known: dict[str, list[object]] = {
        "data.name": [run.section("data").get("name") for run in runs.values()],
        "number of classes": [counts.get("classes") for counts in images],
        "shape of an image": [counts.get("shape") for counts in images],
    }
    for what, values in known.items():
        if pair := _differing(values):
            first, second = (list(runs)[index] for index in pair)
            raise RunFolderError(
                f"{first} and {second} cannot be compared, because their images differ: {what} is "
                f"{values[pair[0]]} in the one and {values[pair[1]]} in the other"
            )


def check_attack(runs: Named) -> None:
    """Refuse runs whose robust accuracy has another meaning.

    Raises:
        RunFolderError: The norm or the radius of the attacks differs.
    """
    for key in _THREAT:
        values = [run.section("evaluation").get(key) for run in runs.values()]
        if pair := _differing(values):
            first, second = (list(runs)[index] for index in pair)
            raise RunFolderError(
                f"{first} and {second} cannot be compared, because their attacks differ: evaluation.{key} is "
                f"{values[pair[0]]} in the one and {values[pair[1]]} in the other; robust accuracies at "
                "different radii or norms are not the same quantity"
            )


def image_warnings(runs: Named) -> list[str]:
    """Return warnings about validation images and attacks that may differ between the runs."""
    warnings = []
    counts = [run.validation_images for run in runs.values()]
    if _differing(counts):
        listed = _listed(runs, [f"{count}" for count in counts])
        warnings.append(f"The numbers of validation images differ ({listed}): the images are different ones.")
    for key in (*_PLACES, *_SPLIT):
        values = [run.section("data").get(key) for run in runs.values()]
        if _differing(values):
            listed = _listed(runs, [shortened(value) for value in values])
            meaning = (
                "the comparison assumes that these are the same images"
                if key in _PLACES
                else "the accuracies are on different images"
            )
            warnings.append(f"data.{key} differs ({listed}): {meaning}.")
    attacks = [attack_text(run.section("evaluation")) for run in runs.values()]
    if _differing(attacks):
        warnings.append(
            f"The final attacks of the searches differ ({_listed(runs, attacks)}): a weaker attack gives a "
            "higher robust accuracy."
        )
    return warnings


def verified_warnings(verifications: Mapping[str, Verification], *, same_images: bool) -> list[str]:
    """Return warnings about verifications on different images or with different attacks."""
    warnings = []
    if not same_images:
        warnings.append(
            "The test images differ, by their hash: the intervals are those for different images, and "
            "networks of different runs are not tested against each other."
        )
    # An attack that only some runs have, or have on a part of the images, makes their accuracies lower.
    names = {attack for verification in verifications.values() for attack in verification.attacked}
    for attack in sorted(names):
        shares = {
            label: verification.attacked.get(attack, 0) / verification.images
            for label, verification in verifications.items()
        }
        if max(shares.values()) - min(shares.values()) > 1e-9:
            listed = ", ".join(f"{label} {100 * share:.0f}%" for label, share in shares.items())
            warnings.append(
                f"{attack_title(attack)} did not run on the same share of the images ({listed}): the runs "
                "with more of it are measured more strictly."
            )
    return warnings


def _differing(values: Sequence[object]) -> tuple[int, int] | None:
    """Return the positions of two known values that differ; None means that a value is not known."""
    known = [(index, comparable_value(value)) for index, value in enumerate(values) if value is not None]
    return next(((known[0][0], index) for index, value in known[1:] if value != known[0][1]), None)


def comparable_value(value: object) -> object:
    """Return a value so that equal numbers are equal: ``1/5`` and ``0.2``."""
    number = number_of(value)
    return str(value) if number is None else number


def _listed(runs: Named, values: Sequence[str]) -> str:
    return ", ".join(f"{label}: {value}" for label, value in zip(runs, values, strict=True))
