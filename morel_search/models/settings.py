"""The ``settings.json`` beside the weights of a network, checked and typed.

Only this module knows the keys of the file. A key that an older file lacks has an empty value, ``point`` is
read as ``select_epoch``, and keys that this version does not know are kept when the file is written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypedDict

from morel_search._values import JsonObject, JsonValue
from morel_search.errors import NetworkError
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
        compute: The arithmetic: JSON values of :class:`~morel_search.training.settings.Compute`.
        rungs: Epochs that the search evaluated for its early stopping.
        threads: Number of processor threads of the training.
        device: Device of the training: ``cpu``, ``cuda`` or ``mps``.
        versions: Versions of Python and of the packages, by name.
        commit: Commit of morel_search.
        unknown: Keys that this version does not know, with their values.
    """

    format: int = FORMAT
    number: int | None = None
    epoch: int | None = None
    seed: int | None = None
    train: JsonObject = field(default_factory=dict)
    data: JsonObject = field(default_factory=dict)
    network: JsonObject = field(default_factory=dict)
    evaluation: JsonObject = field(default_factory=dict)
    select_epoch: str | None = None
    made_by: str | None = None
    run: str | None = None
    image_shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] | None = None
    figures: Mapping[str, Accuracies] = field(default_factory=dict)
    picked: Picked | None = None
    compute: JsonObject | None = None
    rungs: tuple[int, ...] | None = None
    threads: int | None = None
    device: str | None = None
    versions: Mapping[str, str] | None = None
    commit: str | None = None
    unknown: JsonObject = field(default_factory=dict)

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
        values: JsonObject = current_member_settings(content)
        written = _whole(values, "format")
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
            number=_whole(values, "number"),
            epoch=_whole(values, "epoch"),
            seed=_whole(values, "seed"),
            train=_object(values, "train") or {},
            data=_object(values, "data") or {},
            network=_object(values, "network") or {},
            evaluation=_object(values, "evaluation") or {},
            select_epoch=_text(values, "select_epoch"),
            made_by=_text(values, "made_by"),
            run=_text(values, "run"),
            image_shape=_shape(values),
            classes=_classes(values),
            figures=_figures(values),
            picked=_picked(values),
            compute=_object(values, "compute"),
            rungs=_wholes(values, "rungs"),
            threads=_whole(values, "threads"),
            device=_text(values, "device"),
            versions=_versions(values),
            commit=_text(values, "commit"),
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


def _damaged(key: str, expected: str, value: object) -> NetworkError:
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return NetworkError(f"is damaged: {key!r} must be {expected}, got {shown}")


def _text(values: JsonObject, key: str) -> str | None:
    value = values.get(key)
    if value is None or isinstance(value, str):
        return value
    raise _damaged(key, "a text", value)


def _whole(values: JsonObject, key: str) -> int | None:
    value = values.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _damaged(key, "a whole number", value)


def _object(values: JsonObject, key: str) -> JsonObject | None:
    value = values.get(key)
    if value is None or isinstance(value, dict):
        return value
    raise _damaged(key, "an object", value)


def _wholes(values: JsonObject, key: str) -> tuple[int, ...] | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, int) and not isinstance(item, bool)]
        if len(numbers) == len(value):
            return tuple(numbers)
    raise _damaged(key, "a list of whole numbers", value)


def _shape(values: JsonObject) -> tuple[int, int, int] | None:
    numbers = _wholes(values, "image_shape")
    if numbers is None:
        return None
    if len(numbers) != 3:
        raise _damaged("image_shape", "a list of three whole numbers", list(numbers))
    return numbers[0], numbers[1], numbers[2]


def _classes(values: JsonObject) -> tuple[str, ...] | None:
    value = values.get("classes")
    if value is None:
        return None
    if isinstance(value, list):
        names = [item for item in value if isinstance(item, str)]
        if len(names) == len(value):
            return tuple(names)
    raise _damaged("classes", "a list of texts", value)


def _versions(values: JsonObject) -> dict[str, str] | None:
    given = _object(values, "versions")
    return None if given is None else {name: _text(given, name) or "" for name in given}


def _picked(values: JsonObject) -> Picked | None:
    given = _object(values, "picked")
    if given is None:
        return None
    picked = Picked()
    if (why := _text(given, "why")) is not None:
        picked["why"] = why
    if (figures := _text(given, "figures")) is not None:
        picked["figures"] = figures
    return picked


def _figures(values: JsonObject) -> dict[str, Accuracies]:
    given = _object(values, "figures") or {}
    return {kind: _accuracies(_object(given, kind) or {}) for kind in given}


def _accuracies(given: JsonObject) -> Accuracies:
    accuracies = Accuracies()
    if "clean_accuracy" in given:
        accuracies["clean_accuracy"] = _number(given, "clean_accuracy")
    if "robust_accuracy" in given:
        accuracies["robust_accuracy"] = _number(given, "robust_accuracy")
    if (images := _whole(given, "images")) is not None:
        accuracies["images"] = images
    if (interval := _interval(given, "clean_interval")) is not None:
        accuracies["clean_interval"] = interval
    if (interval := _interval(given, "robust_interval")) is not None:
        accuracies["robust_interval"] = interval
    if (flags := _text(given, "flags")) is not None:
        accuracies["flags"] = flags
    return accuracies


def _number(values: JsonObject, key: str) -> float | None:
    value = values.get(key)
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise _damaged(key, "a number", value)


def _interval(values: JsonObject, key: str) -> list[float] | None:
    value: JsonValue = values.get(key)
    if value is None:
        return None
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, (int, float)) and not isinstance(item, bool)]
        if len(numbers) == len(value) == 2:
            return [float(number) for number in numbers]
    raise _damaged(key, "a list of two numbers", value)
