"""A network as a folder that stands by itself: weights, settings, and a page that says what it is."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder

if TYPE_CHECKING:
    from torch import nn

    from morel_search.analysis.members import Figures

__all__ = ["check_target", "figures_json", "run_around", "settings_of", "write_export"]

CARD = "README.md"
_SAME = ("made_by", "run", "number", "epoch", "seed")
"""What two exports of one network have in common."""


def run_around(folder: Path) -> RunFolder | None:
    """The run that a folder is ``front/NUMBER`` or ``controls/NUMBER`` of, where it is one."""
    place = folder.resolve().parent
    run = RunFolder(place.parent)
    return run if place in (run.front_models, run.control_models) and run.settings.is_file() else None


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings beside a network's weights, with what the run around it knows of its trainings.

    Raises:
        NetworkError: They are missing, damaged or of a newer format.
        RunFolderError: Those of the run are.
    """
    from morel_search.models.load import read_settings

    settings, run = read_settings(folder), run_around(folder)
    if run is None:
        return settings
    known = run.read_settings()
    around = {
        "run": known.name,
        "compute": known.compute,
        "rungs": list(known.rungs),
        "threads": known.threads,
        "device": known.device,
        "versions": dict(known.versions) or None,
        "commit": known.commit,
    }
    return {
        **settings,
        **{name: value for name, value in around.items() if value is not None and name not in settings},
    }


def figures_json(figures: Mapping[str, Figures]) -> dict[str, Any]:
    """Figures by their kind, as ``settings.json`` holds them; what is not known is left out."""

    def plain(one: Figures) -> dict[str, Any]:
        values = {
            "clean_accuracy": one.clean,
            "robust_accuracy": one.robust,
            "images": one.images,
            "clean_interval": one.clean_interval,
            "robust_interval": one.robust_interval,
            "flags": one.flags or None,
        }
        return {name: value for name, value in values.items() if value is not None}

    return {kind: plain(one) for kind, one in figures.items()}


def check_target(target: Path, settings: Mapping[str, Any] | None = None) -> None:
    """Refuse to write over anything but an earlier export of the same network.

    Args:
        target: The folder that is to be written.
        settings: Those of the network; None refuses every folder that is not empty.

    Raises:
        RunFolderError: The folder holds something else, or is none.
    """
    from morel_search.errors import NetworkError
    from morel_search.models.load import read_settings

    try:
        there = sorted(entry.name for entry in target.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise os_error_sentence("write", target, error) from error
    if not there:
        return
    other = [name for name in there if name not in _own_files()]
    if settings is None or other:
        raise RunFolderError(
            f"{target} exists already and holds {(other or there)[0]}: name another folder with --out"
        )
    try:
        before = read_settings(target)
    except NetworkError as error:
        raise RunFolderError(f"{target} exists already: {error}; name another folder with --out") from error
    if any(before.get(name) != settings.get(name) for name in _SAME):
        raise RunFolderError(
            f"{target} holds another network: trial {before.get('number')}, epoch {before.get('epoch')}, "
            f"seed {before.get('seed')} "
            f"of {before.get('run', 'an unknown run')}; name another folder with --out"
        )


def write_export(
    target: Path, model: nn.Module, settings: Mapping[str, Any], formats: Sequence[str] = ()
) -> None:
    """Write a network's folder, all of it or nothing; a folder of that name is replaced, see :func:`check_target`.

    Args:
        target: The folder.
        model: The network, on any device.
        settings: What becomes ``settings.json``; ``image_shape``, ``classes`` and ``figures`` are among it.
        formats: Names in :data:`morel_search.models.formats.FORMATS`, to be written too.

    Raises:
        RunFolderError: It cannot be written.
        NetworkError: The network cannot be had in one of the formats.
    """
    from morel_search.models.formats import FORMATS
    from morel_search.models.load import SETTINGS, WEIGHTS, weights_bytes
    from morel_search.models.model_card import model_card

    with _replaced(target.absolute()) as folder:
        files = RunFolder(folder)
        files.write_bytes(WEIGHTS, weights_bytes(model))
        files.write_json(SETTINGS, settings)
        for name in formats:
            file, write = FORMATS[name]
            write(model, settings["image_shape"], folder / file)
        files.write_text(
            CARD, model_card(settings, target.absolute().name, [FORMATS[name][0] for name in formats])
        )


def _own_files() -> set[str]:
    from morel_search.models.formats import FORMATS
    from morel_search.models.load import SETTINGS, WEIGHTS

    return {WEIGHTS, SETTINGS, CARD, *(file for file, _ in FORMATS.values())}


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """An empty folder that takes the target's place in the end.

    After an error there is none, and the target is as it was.
    """
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            _take_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise os_error_sentence("write", target, error) from error


def _take_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    before = temporary.with_suffix(".old")
    target.rename(before)
    try:
        temporary.rename(target)
    except OSError:
        before.rename(target)
        raise
    shutil.rmtree(before, ignore_errors=True)
