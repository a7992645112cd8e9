"""A network as a folder of its own: weights, settings and model card."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from morel_search.analysis.members import Figures, Member
    from morel_search.models.settings import Accuracies, ModelSettings

__all__ = ["check_target", "figures_json", "free_target", "run_around", "settings_of", "write_export"]

CARD = "README.md"
_SAME = ("made_by", "run", "number", "epoch", "seed", "mixture")
"""Settings that are equal in all exports of one network."""


def run_around(folder: Path) -> RunFolder | None:
    """Return the run that has a folder in ``front/``, ``controls/`` or ``mixtures/``; None if no run has."""
    place = folder.resolve().parent
    run = RunFolder(place.parent)
    places = (run.front_models, run.control_models, run.mixture_models)
    return run if place in places and run.settings.is_file() else None


def settings_of(folder: Path) -> ModelSettings:
    """Return the settings of a network, completed from the settings of the run around its folder.

    Raises:
        NetworkError: The settings of the network are missing, damaged or of a newer format.
        RunFolderError: The settings of the run are.
    """
    from morel_search.models.load import read_settings

    settings, run = read_settings(folder), run_around(folder)
    if run is None:
        return settings
    known = run.read_settings()
    return replace(
        settings,
        run=known.name if settings.run is None else settings.run,
        compute=known.compute if settings.compute is None else settings.compute,
        rungs=known.rungs if settings.rungs is None else settings.rungs,
        threads=known.threads if settings.threads is None else settings.threads,
        device=known.device if settings.device is None else settings.device,
        versions=(known.versions or None) if settings.versions is None else settings.versions,
        commit=known.commit if settings.commit is None else settings.commit,
    )


def figures_json(member: Member) -> dict[str, Accuracies]:
    """Return accuracies by their kind, as ``settings.json`` holds them; unknown values are left out.

    Signs of gradient masking stand with the most reliable kind.
    """
    accuracies = {kind: _accuracies(figures) for kind, figures in member.figures.items()}
    if member.flags:
        accuracies[member.kind]["flags"] = member.flags
    return accuracies


def _accuracies(figures: Figures) -> Accuracies:
    accuracies: Accuracies = {"clean_accuracy": figures.clean, "robust_accuracy": figures.robust}
    if figures.images is not None:
        accuracies["images"] = figures.images
    if figures.clean_interval is not None:
        accuracies["clean_interval"] = list(figures.clean_interval)
    if figures.robust_interval is not None:
        accuracies["robust_interval"] = list(figures.robust_interval)
    return accuracies


def check_target(
    target: Path, settings: ModelSettings | None = None, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Check that a folder is missing, empty, or an earlier export of the same network that nobody changed.

    Args:
        target: The folder to write.
        settings: Settings of the network; None refuses every folder that is not empty.
        weights: Its weights and buffers: two runs of the same name, with the same seed, have networks whose
            settings name the same trial.

    Raises:
        RunFolderError: The folder has other content, or is not a folder.
    """
    from morel_search.errors import NetworkError
    from morel_search.models.load import read_settings, same_weights

    try:
        names = sorted(entry.name for entry in target.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise os_error_sentence("write", target, error) from error
    if not names:
        return
    other = [name for name in names if name not in _own_files()]
    if settings is None or other:
        raise RunFolderError(
            f"{target} exists already and holds {(other or names)[0]}; name another folder with --out"
        )
    try:
        before = read_settings(target)
    except NetworkError as error:
        raise RunFolderError(f"{target} exists already: {error}; name another folder with --out") from error
    if any(getattr(before, name) != getattr(settings, name) for name in _SAME):
        raise RunFolderError(
            f"{target} holds another network; name another folder with --out"
            if before.mixture or settings.mixture
            else f"{target} holds another network: trial {before.number}, epoch {before.epoch}, seed "
            f"{before.seed} of {before.run or 'an unknown run'}; name another folder with --out"
        )
    if not same_weights(target, weights or {}):
        raise RunFolderError(
            f"{target} holds other weights, though of the same trial of a run of the same name; name another "
            "folder with --out"
        )
    if CARD in names and not _is_card(target / CARD, before):
        raise RunFolderError(
            f"{target / CARD} is not as it was written, and would be lost; name another folder with --out"
        )


def _is_card(path: Path, settings: ModelSettings) -> bool:
    """Return whether a file is the model card that this version writes for the network."""
    from morel_search.models.model_card import model_card

    try:
        text = path.read_text("utf-8")
    except ValueError:
        return False
    return text == model_card(settings, path.absolute().parent.name, [*_formats_in(path.parent).values()])


def _formats_in(folder: Path) -> dict[str, str]:
    """Return the further formats in which a folder has its network, with their files."""
    from morel_search.models.formats import FORMATS

    return {name: file for name, (file, _) in FORMATS.items() if (folder / file).is_file()}


def write_export(
    target: Path, model: nn.Module, settings: ModelSettings, formats: Sequence[str] = ()
) -> None:
    """Write the folder of a network completely, or not at all after an error.

    An existing folder is replaced; see :func:`check_target`. Its files in other formats are kept: they hold
    the same network.

    Args:
        target: The folder.
        model: The network, on any device.
        settings: The content of ``settings.json``, with ``image_shape``, ``classes`` and ``figures``.
        formats: Further formats to write, keys of :data:`morel_search.models.formats.FORMATS`.

    Raises:
        RunFolderError: The folder cannot be written.
        NetworkError: The network cannot be written in one of the formats.
    """
    from morel_search.models.formats import FORMATS
    from morel_search.models.load import SETTINGS, WEIGHTS, weights_bytes
    from morel_search.models.model_card import model_card

    with _replaced(target.absolute()) as folder:
        files = RunFolder(folder)
        files.write_bytes(WEIGHTS, weights_bytes(model))
        files.write_json(SETTINGS, settings.to_json())
        for name in formats:
            file, write = FORMATS[name]
            write(model, settings.image_shape or (), folder / file)
        for name, file in _formats_in(target).items():
            if name not in formats:
                shutil.copyfile(target / file, folder / file)
        files.write_text(CARD, model_card(settings, target.absolute().name, [*_formats_in(folder).values()]))


def _own_files() -> set[str]:
    from morel_search.models.formats import FORMATS
    from morel_search.models.load import SETTINGS, WEIGHTS

    return {WEIGHTS, SETTINGS, CARD, *(file for file, _ in FORMATS.values())}


def free_target(target: Path) -> Path:
    """Return a folder, or one with ``-2`` or a later number after its name if something has come into it.

    Args:
        target: A folder that was missing or empty when the work began whose result is written now.
    """
    for number in count(1):
        free = target if number == 1 else target.with_name(f"{target.name}-{number}")
        try:
            check_target(free)
        except RunFolderError:
            if os.path.lexists(free):  # else no name is free, and the write says why
                continue
        return free
    raise AssertionError


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces the target at the end of the block.

    After an error it is deleted, and the target is unchanged. A link in the place of the target stays.
    """
    target = target.resolve() if target.is_symlink() else target
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            _move(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise os_error_sentence("write", target, error) from error


def _move(temporary: Path, target: Path) -> None:
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
    for path in before.iterdir():  # what somebody has put there since the folder was checked
        if path.name not in _own_files():
            path.rename(target / path.name)
    shutil.rmtree(before, ignore_errors=True)
