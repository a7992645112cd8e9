"""The settings of a run: ``settings.json``, checked and typed.

This is the only module that knows the keys of the file. Format 1 has been extended since it was introduced: a
key that an older folder lacks has an empty value here, ``search.point`` is read as ``search.select_epoch``,
and keys that this version does not know are kept when the file is rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict, cast

from morel_search.errors import RunFolderError
from morel_search.results.json_values import (
    get_flag,
    get_list,
    get_named_objects,
    get_number,
    get_object,
    get_text,
    get_texts,
    get_whole,
    get_wholes,
    is_whole,
)
from morel_search.results.renamed import current_space

__all__ = ["FORMAT", "ComputeRecord", "Hardware", "ImageCounts", "RunSettings"]

FORMAT = 1
"""Format of a run folder; raised when a reader of the previous format would misread a folder."""


class ImageCounts(TypedDict, total=False):
    """Numbers of images of each split, and their shape."""

    train: int
    validation: int
    shape: list[int]
    classes: int


class Hardware(TypedDict, total=False):
    """The machine that ran the search; on a cluster the trials may have run on other machines."""

    cpu: str | None
    cores: int | None
    memory_gib: float | None
    gpus: list[str]
    platform: str


class ComputeRecord(TypedDict):
    """The arithmetic of the trainings: the fields of ``training.compute_settings.Compute``."""

    precision: str
    channels_last: bool
    compile: bool
    deterministic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The settings of a run, as ``settings.json`` holds them.

    Attributes:
        format: Format of the folder, at most :data:`FORMAT`.
        name: Name of the run.
        created: Time at which the run was created, in ISO 8601.
        finished: Time at which the search finished, in ISO 8601; None while it is running.
        status: ``running``, ``finished``, ``stopped`` or ``failed``.
        seed: Seed of the search.
        space: The resolved space file: the name of each section, with its content. See :meth:`section`.
        rungs: Epochs at which early stopping compares trials; empty without early stopping.
        images: Numbers of images; None in older folders.
        overrides: Changes to the space file from the command line, each ``section.key=value``.
        versions: Versions of Python and of the packages, by name.
        hardware: The machine.
        commit: Commit of morel_search, with ``+`` when files were changed; None outside a git checkout.
        device: Device of the trainings: ``cpu``, ``cuda`` or ``mps``.
        compute: Arithmetic of the trainings; None in older folders.
        command: The command that started the run.
        warnings: Warnings about the space file.
        unknown: Keys that this version does not know, with their values.
    """

    format: int = FORMAT
    name: str | None = None
    created: str | None = None
    finished: str | None = None
    status: str | None = None
    seed: int | None = None
    space: Mapping[str, object] = field(default_factory=dict)
    rungs: tuple[int, ...] = ()
    images: ImageCounts | None = None
    overrides: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=Hardware)
    commit: str | None = None
    device: str | None = None
    compute: ComputeRecord | None = None
    command: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unknown: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: object) -> RunSettings:
        """Check the content of a ``settings.json`` file.

        Args:
            values: The parsed JSON.

        Returns:
            The settings.

        Raises:
            RunFolderError: A key has the wrong type, or the format is newer than :data:`FORMAT`. The message
                is the second part of a sentence that begins with the path of the file.
        """
        if not isinstance(values, dict) or not is_whole(values.get("format")):
            raise RunFolderError("is not the settings of a run: it has no whole number 'format'")
        if values["format"] > FORMAT:
            raise RunFolderError(
                f"was written by a newer morel_search: it has format {values['format']}, and this version "
                f"reads formats up to {FORMAT}; install a newer morel_search"
            )
        return cls(
            format=values["format"],
            name=get_text(values, "name"),
            created=get_text(values, "created"),
            finished=get_text(values, "finished"),
            status=get_text(values, "status"),
            seed=get_whole(values, "seed"),
            space=_space(values),
            rungs=tuple(get_wholes(values, "rungs")),
            images=_images(values),
            overrides=tuple(get_texts(values, "overrides")),
            versions=_versions(values),
            hardware=_hardware(values),
            commit=get_text(values, "commit"),
            device=get_text(values, "device"),
            compute=_compute(values),
            command=tuple(get_texts(values, "command")),
            warnings=tuple(get_texts(values, "warnings")),
            unknown={key: value for key, value in values.items() if key not in _KEYS},
        )

    def to_json(self) -> dict[str, object]:
        """Return the content of ``settings.json``, with the keys in the order in which they are written."""
        values: dict[str, object] = {key: getattr(self, key) for key in _KEYS}
        for key in ("rungs", "overrides", "command", "warnings"):
            values[key] = list(getattr(self, key))
        for key in ("images", "compute"):
            if values[key] is None:
                del values[key]
        return {**values, **self.unknown}

    def section(self, name: str) -> Mapping[str, object]:
        """Return a section of the space, such as ``search``; empty when the space lacks it."""
        section = self.space.get(name)
        return section if isinstance(section, Mapping) else {}

    @property
    def parameters(self) -> list[Mapping[str, object]]:
        """The searched parameters, each with its ``name``, its ``type``, and its range or its ``choices``."""
        return self._items("parameters")

    @property
    def controls(self) -> list[Mapping[str, object]]:
        """The controls, each with its ``name`` and its ``overrides``."""
        return self._items("controls")

    def _items(self, name: str) -> list[Mapping[str, object]]:
        items = self.space.get(name)
        return list(items) if isinstance(items, list) else []

    @property
    def epochs(self) -> float | None:
        """Epochs of a training (``train.epochs``); None when the space lacks them."""
        epochs = self.section("train").get("epochs")
        return float(epochs) if isinstance(epochs, int | float) else None

    @property
    def select_epoch(self) -> str:
        """The epoch selection rule (``search.select_epoch``)."""
        return str(self.section("search").get("select_epoch", "best_sum"))

    @property
    def threads(self) -> int | None:
        """Processor threads of a training (``resources.cpu``); None when the space lacks them."""
        cores = self.section("resources").get("cpu")
        return max(1, int(cores)) if isinstance(cores, int | float) else None

    @property
    def validation_images(self) -> int | None:
        """Number of validation images; None in older folders."""
        return None if self.images is None else self.images.get("validation")


_KEYS = (
    *("format", "name", "created", "finished", "status", "seed", "space", "rungs", "images", "overrides"),
    *("versions", "hardware", "commit", "device", "compute", "command", "warnings"),
)
_SECTIONS = (
    *("data", "network", "train", "evaluation", "search", "early_stopping", "verify", "compute", "resources"),
    "constraints",
)
_NUMBERS_OF_TRAIN = ("epochs", "batch_size")


def _check_parameter(parameter: Mapping[str, object], prefix: str) -> None:
    for key in ("type", "kind"):
        get_text(parameter, key, prefix)
    for key in ("low", "high", "step"):
        if not isinstance(parameter.get(key), str):  # a rational is a text
            get_number(parameter, key, prefix)
    get_flag(parameter, "log", prefix)
    get_list(parameter, "choices", prefix)
    when = get_object(parameter, "when", prefix)
    for name, condition in when.items():
        if not isinstance(condition, dict):  # a range: {"low": 0.05, "high": 0.2}
            get_list(when, name, f"{prefix}when.")


def _space(values: Mapping[str, object]) -> Mapping[str, object]:
    space = get_object(values, "space")
    for name in _SECTIONS:
        get_object(space, name, "space.")
    for index, parameter in enumerate(get_named_objects(space, "parameters", "space.")):
        _check_parameter(parameter, f"space.parameters[{index}].")
    for index, control in enumerate(get_named_objects(space, "controls", "space.")):
        get_object(control, "overrides", f"space.controls[{index}].")
    get_named_objects(space, "rivals", "space.")
    for name in _NUMBERS_OF_TRAIN:
        get_number(get_object(space, "train"), name, "space.train.")
    return current_space(space)


def _images(values: Mapping[str, object]) -> ImageCounts | None:
    images = get_object(values, "images")
    for key in ("train", "validation", "classes"):
        get_whole(images, key, "images.")
    get_wholes(images, "shape", "images.")
    return cast(ImageCounts, images) if images else None


def _versions(values: Mapping[str, object]) -> Mapping[str, str]:
    versions = get_object(values, "versions")
    return {name: get_text(versions, name, "versions.") or "" for name in versions}


def _hardware(values: Mapping[str, object]) -> Hardware:
    hardware = get_object(values, "hardware")
    for key in ("cpu", "platform"):
        get_text(hardware, key, "hardware.")
    get_whole(hardware, "cores", "hardware.")
    get_number(hardware, "memory_gib", "hardware.")
    get_texts(hardware, "gpus", "hardware.")
    return cast(Hardware, hardware)


def _compute(values: Mapping[str, object]) -> ComputeRecord | None:
    compute = get_object(values, "compute")
    if not compute:
        return None
    known: dict[str, object] = {"precision": get_text(compute, "precision", "compute.") or "float32"}
    for key in ("channels_last", "compile", "deterministic"):
        known[key] = bool(get_flag(compute, key, "compute."))
    return cast(ComputeRecord, {**compute, **known})
