"""The settings of a run: ``settings.json``, checked and typed.

This is the only module that knows the keys of the file. Format 1 has been extended since it was introduced: a
key that an older folder lacks has an empty value here, ``search.point`` is read as ``search.select_epoch``,
and keys that this version does not know are kept when the file is rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar, cast

from morel_search.errors import RunFolderError
from morel_search.results.renamed import current_space

__all__ = ["FORMAT", "ComputeRecord", "Hardware", "ImageCounts", "RunSettings"]

FORMAT = 1
"""Format of a run folder; raised when a reader of the previous format would misread a folder."""

T = TypeVar("T")


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
    """The arithmetic of the trainings: the fields of :class:`morel_search.training.settings.Compute`."""

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
        if not isinstance(values, dict) or not _is_whole(values.get("format")):
            raise RunFolderError("is not the settings of a run: it has no whole number 'format'")
        if values["format"] > FORMAT:
            raise RunFolderError(
                f"was written by a newer morel_search: it has format {values['format']}, and this version "
                f"reads formats up to {FORMAT}; install a newer morel_search"
            )
        return cls(
            format=values["format"],
            name=_get(values, "name", _is_text, "a text", None),
            created=_get(values, "created", _is_text, "a text", None),
            finished=_get(values, "finished", _is_text, "a text", None),
            status=_get(values, "status", _is_text, "a text", None),
            seed=_get(values, "seed", _is_whole, "a whole number", None),
            space=_space(values),
            rungs=tuple(_get(values, "rungs", _is_whole_list, "a list of whole numbers", [])),
            images=_images(values),
            overrides=tuple(_get(values, "overrides", _is_text_list, "a list of texts", [])),
            versions=_versions(values),
            hardware=_hardware(values),
            commit=_get(values, "commit", _is_text, "a text", None),
            device=_get(values, "device", _is_text, "a text", None),
            compute=_compute(values),
            command=tuple(_get(values, "command", _is_text_list, "a list of texts", [])),
            warnings=tuple(_get(values, "warnings", _is_text_list, "a list of texts", [])),
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
        return list(cast(list[Mapping[str, object]], self.space.get("parameters") or []))

    @property
    def controls(self) -> list[Mapping[str, object]]:
        """The controls, each with its ``name`` and its ``overrides``."""
        return list(cast(list[Mapping[str, object]], self.space.get("controls") or []))

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
_LISTS = ("parameters", "controls")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_section(value: object) -> bool:
    return isinstance(value, dict)


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_whole_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_whole, value))


def _get(
    values: Mapping[str, object],
    key: str,
    check: Callable[[object], bool],
    expected: str,
    default: T,
    prefix: str = "",
) -> T:
    """Return the value of a key, and the default when the key is missing or null.

    Raises:
        RunFolderError: The value does not pass the check.
    """
    value = values.get(key)
    if value is None:
        return default
    if not check(value):
        raise RunFolderError(f"is damaged: '{prefix}{key}' must be {expected}, got {_short(value)}")
    return cast(T, value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _section(values: Mapping[str, object], key: str, prefix: str = "") -> dict[str, object]:
    empty: dict[str, object] = {}
    return _get(values, key, _is_section, "an object", empty, prefix)


def _space(values: Mapping[str, object]) -> Mapping[str, object]:
    space = _section(values, "space")
    for name in _SECTIONS:
        _section(space, name, "space.")
    for name in _LISTS:
        entries: list[object] = _get(
            space, name, lambda value: isinstance(value, list), "a list of objects", [], "space."
        )
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict) or not _is_text(entry.get("name")):
                raise RunFolderError(
                    f"is damaged: 'space.{name}[{index}]' must be an object with the text 'name', "
                    f"got {_short(entry)}"
                )
    return current_space(space)


def _images(values: Mapping[str, object]) -> ImageCounts | None:
    images = _section(values, "images")
    for key in ("train", "validation", "classes"):
        _get(images, key, _is_whole, "a whole number", None, "images.")
    _get(images, "shape", _is_whole_list, "a list of whole numbers", None, "images.")
    return cast(ImageCounts, images) if images else None


def _versions(values: Mapping[str, object]) -> Mapping[str, str]:
    versions = _section(values, "versions")
    return {name: _get(versions, name, _is_text, "a text", "", "versions.") for name in versions}


def _hardware(values: Mapping[str, object]) -> Hardware:
    hardware = _section(values, "hardware")
    for key in ("cpu", "platform"):
        _get(hardware, key, _is_text, "a text", None, "hardware.")
    _get(hardware, "cores", _is_whole, "a whole number", None, "hardware.")
    _get(hardware, "memory_gib", _is_number, "a number", None, "hardware.")
    _get(hardware, "gpus", _is_text_list, "a list of texts", None, "hardware.")
    return cast(Hardware, hardware)


def _compute(values: Mapping[str, object]) -> ComputeRecord | None:
    compute = _section(values, "compute")
    if not compute:
        return None
    known: dict[str, object] = {
        "precision": _get(compute, "precision", _is_text, "a text", "float32", "compute.")
    }
    for key in ("channels_last", "compile", "deterministic"):
        known[key] = _get(compute, key, _is_flag, "true or false", False, "compute.")
    return cast(ComputeRecord, {**compute, **known})
