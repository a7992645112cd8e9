"""The copy of the teacher in the run folder, which every machine and every resumed search reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._consent import names_code
from morel_search.errors import NetworkError, RunFolderError
from morel_search.results.folder import RunFolder
from morel_search.results.reading import read_regular

if TYPE_CHECKING:
    from morel_search.training.settings import TrainSettings
    from morel_search.workflows.request import Request

__all__ = ["copy_teacher", "copy_to_read", "copy_used_by", "with_teacher_noted"]


def copy_to_read(request: Request) -> Path | None:
    """Return the copy that stands in for a teacher's folder that is gone; only a resumed run has one.

    The folder itself is read as long as it is there, so that a changed one is noticed.
    """
    teacher = request.space.train.teacher
    if not request.resume or teacher is None or names_code(teacher) or Path(teacher).expanduser().is_dir():
        return None
    return RunFolder(request.results / request.name).teacher


def with_teacher_noted(request: Request, sha256: str | None) -> Request:
    """Return the request with the fingerprint of the teacher in its space."""
    train = replace(request.space.train, teacher_sha256=sha256 or request.space.train.teacher_sha256)
    return replace(request, space=replace(request.space, train=train))


def copy_teacher(train: TrainSettings, run: RunFolder) -> None:
    """Copy the teacher's folder into the run folder, unless it is there; an import path has no copy.

    Args:
        train: Settings with the fingerprint of a teacher that a training needs.
        run: The run's folder, whose lock is held.

    Raises:
        NetworkError: The folder cannot be read.
        RunFolderError: The copy cannot be written.
    """
    from morel_search.models.teacher import teacher_files

    if train.teacher is None or train.teacher_sha256 is None or names_code(train.teacher):
        return
    if (run.teacher / "settings.json").exists():
        return
    for path in teacher_files(Path(train.teacher).expanduser()):
        try:
            content = read_regular(path)
        except (OSError, ValueError) as error:
            raise NetworkError(f"train.teacher {train.teacher} cannot be copied: {error}") from error
        run.write_bytes(run.teacher / path.name, content)


def copy_used_by(folder: Path, train: TrainSettings) -> Path | None:
    """Return the copy of the teacher with which the network in a folder of a run was trained; None without.

    Args:
        folder: ``front/NUMBER``, ``controls/NUMBER`` or ``picked/NUMBER`` of a run, or another folder.
        train: The settings of the network's training.
    """
    parents = folder.resolve().parents
    run = RunFolder(parents[1] if len(parents) > 1 else parents[0])
    try:
        known = run.read_settings().section("train").get("teacher_sha256")
    except RunFolderError:
        return None
    return run.teacher if known is not None and known == train.teacher_sha256 else None
