"""The ``settings.json`` beside the weights of a network, checked and typed.

Only this module knows the keys of the file. A key that an older file lacks has an empty value, ``point`` is
read as ``select_epoch``, and keys that this version does not know are kept when the file is written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypedDict

from morel_search.errors import NetworkError, RunFolderError
from morel_search.results.json_values import (
    get_number,
    get_object,
    get_text,
    get_texts,
    get_whole,
    get_wholes,
)
from morel_search.results.renamed import current_member_settings

__all__ = ["FORMAT", "Accuracies", "ModelSettings", "Picked"]

FORMAT = 1
"""Format of the file. It is the format of a run folder, which has the same file in ``front/NUMBER``."""


class Accuracies(TypedDict, total=False):
    """Accuracies of one kind, as fractions; a key is missing when the value is not known."""

    clean_accuracy: float | None
    robust_accuracy: float | None
    images: int
    clean_interval: list[float]
    robust_interval: list[float]
    flags: str


class Picked(TypedDict, total=False):
    """Why a network was picked from its front, and the kind of accuracies that the rule compared."""

    why: str
    figures: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The settings of a network, as ``settings.json`` holds them.

    Attributes:
        format: Format of the file, at most :data:`FORMAT`.
        number: Number of the trial.
        epoch: The selected epoch, from 1.
        seed: Random seed of the training.
        train: The section ``train`` of the training: JSON values of
            :class:`~morel_search.training.settings.TrainSettings`.
        data: The section ``data``.
        network: The section ``network``.
        evaluation: The section ``evaluation``.
        select_epoch: The epoch selection rule.
        made_by: The command that wrote the folder; None in ``front/`` of a run.
        run: Name of the run.
        image_shape: Channels, height and width of the images.
        classes: Names of the classes, in the order of the logits.
        figures: The accuracies, by their kind: ``verified``, ``test``, ``validation``.
        picked: Why the network was picked; None if it was not.
        compute: The arithmetic: JSON values of :class:`~morel_search.training.compute_settings.Compute`.
        rungs: Epochs that the search evaluated for its early stopping.
        threads: Number of processor threads of the training.
        device: Device of the training: ``cpu``, ``cuda`` or ``mps``.
        versions: Versions of Python and of the packages, by name.
        commit: Commit of morel_search.
        mixture: The members of a mixture, its form and its cost: JSON values of
            :class:`~morel_search.results.mixtures.MixtureEntry`; empty for another network.
        unknown: Keys that this version does not know, with their values.
    """

    format: int = FORMAT
    number: int | None = None
    epoch: int | None = None
    seed: int | None = None
    train: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    network: Mapping[str, object] = field(default_factory=dict)
    evaluation: Mapping[str, object] = field(default_factory=dict)
    select_epoch: str | None = None
    made_by: str | None = None
    run: str | None = None
    image_shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] | None = None
    figures: Mapping[str, Accuracies] = field(default_factory=dict)
    picked: Picked | None = None
    compute: Mapping[str, object] | None = None
    rungs: tuple[int, ...] | None = None
    threads: int | None = None
    device: str | None = None
    versions: Mapping[str, str] | None = None
    commit: str | None = None
    mixture: Mapping[str, object] = field(default_factory=dict)
    unknown: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: object) -> ModelSettings:
        """Check the content of a ``settings.json`` file.

        Args:
            content: The parsed JSON.

        Raises:
            NetworkError: A key has the wrong type, or the format is newer than :data:`FORMAT`. The message is
                the second part of a sentence that begins with the path of the file.
        """
        if not isinstance(content, dict) or "network" not in content:
            raise NetworkError("is not the settings of a network: it has no key 'network'")
        try:
            return cls._checked(current_member_settings(content))
        except RunFolderError as error:
            raise NetworkError(str(error)) from None

    @classmethod
    def _checked(cls, values: Mapping[str, object]) -> ModelSettings:
        written = get_whole(values, "format")
        if written is None:
            raise NetworkError("is not the settings of a network: it has no whole number 'format'")
        if written > FORMAT:
            raise NetworkError(
                f"was written by a newer morel_search: it has format {written}, and this version reads "
                f"formats up to {FORMAT}; install a newer morel_search"
            )
        known = {field.name for field in fields(cls)}
        return cls(
            format=written,
            number=get_whole(values, "number"),
            epoch=get_whole(values, "epoch"),
            seed=get_whole(values, "seed"),
            train=get_object(values, "train"),
            data=get_object(values, "data"),
            network=get_object(values, "network"),
            evaluation=get_object(values, "evaluation"),
            select_epoch=get_text(values, "select_epoch"),
            made_by=get_text(values, "made_by"),
            run=get_text(values, "run"),
            image_shape=_shape(values),
            classes=tuple(get_texts(values, "classes")) or None,
            figures=_figures(values),
            picked=_picked(values),
            compute=get_object(values, "compute") or None,
            rungs=None if values.get("rungs") is None else tuple(get_wholes(values, "rungs")),
            threads=get_whole(values, "threads"),
            device=get_text(values, "device"),
            versions=_versions(values),
            commit=get_text(values, "commit"),
            mixture=get_object(values, "mixture"),
            unknown={key: value for key, value in values.items() if key not in known},
        )

    def to_json(self) -> dict[str, object]:
        """Return the content of ``settings.json``; values that are not known are left out."""
        values: dict[str, object] = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name != "unknown"
        }
        written = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
            if value is not None and value != {}
        }
        return {**written, **self.unknown}


def _shape(values: Mapping[str, object]) -> tuple[int, int, int] | None:
    numbers = get_wholes(values, "image_shape")
    if not numbers:
        return None
    if len(numbers) != 3:
        raise RunFolderError(f"is damaged: 'image_shape' must be three whole numbers, got {numbers}")
    return numbers[0], numbers[1], numbers[2]


def _versions(values: Mapping[str, object]) -> dict[str, str] | None:
    versions = get_object(values, "versions")
    return {name: get_text(versions, name, "versions.") or "" for name in versions} or None


def _picked(values: Mapping[str, object]) -> Picked | None:
    given = get_object(values, "picked")
    if not given:
        return None
    picked = Picked()
    if (why := get_text(given, "why", "picked.")) is not None:
        picked["why"] = why
    if (figures := get_text(given, "figures", "picked.")) is not None:
        picked["figures"] = figures
    return picked


def _figures(values: Mapping[str, object]) -> dict[str, Accuracies]:
    figures = get_object(values, "figures")
    return {kind: _accuracies(get_object(figures, kind, "figures."), f"figures.{kind}.") for kind in figures}


def _accuracies(given: Mapping[str, object], prefix: str) -> Accuracies:
    accuracies = Accuracies()
    if "clean_accuracy" in given:
        accuracies["clean_accuracy"] = get_number(given, "clean_accuracy", prefix)
    if "robust_accuracy" in given:
        accuracies["robust_accuracy"] = get_number(given, "robust_accuracy", prefix)
    if (images := get_whole(given, "images", prefix)) is not None:
        accuracies["images"] = images
    if (interval := _interval(given, "clean_interval", prefix)) is not None:
        accuracies["clean_interval"] = interval
    if (interval := _interval(given, "robust_interval", prefix)) is not None:
        accuracies["robust_interval"] = interval
    if (flags := get_text(given, "flags", prefix)) is not None:
        accuracies["flags"] = flags
    return accuracies


def _interval(values: Mapping[str, object], key: str, prefix: str) -> list[float] | None:
    value = values.get(key)
    if value is None:
        return None
    numbers = value if isinstance(value, list) else []
    ends = [end for end in numbers if isinstance(end, (int, float)) and not isinstance(end, bool)]
    if len(ends) != 2 or len(numbers) != 2:
        raise RunFolderError(f"is damaged: '{prefix}{key}' must be a list of two numbers, got {value!r}")
    return [float(end) for end in ends]
