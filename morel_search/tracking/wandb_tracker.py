"""Weights & Biases: one project, one group for each search, and one run for each trial."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.errors import TrackerError
from morel_search.results.links import check_inside
from morel_search.tracking.records import TrialRecord
from morel_search.tracking.targets import Target
from morel_search.tracking.tracker import SECONDS, Search, by_epoch, sending_to

if TYPE_CHECKING:
    import wandb

__all__ = ["WandbTracker", "check"]

PROJECT = "morel_search"
"""Project of the runs, unless the user or ``WANDB_PROJECT`` names another one."""

FINISH_SECONDS = 600
"""Longest wait for the upload of a trial, with its weights, in seconds."""

UNTRACKED_MODES = ("offline", "dryrun", "disabled")


def check(target: Target) -> None:
    """Check the key and the server; in offline mode, only that the library can be imported.

    Raises:
        TrackerError: There is no key, or the server does not accept it.
    """
    with sending_to(target):
        import wandb
    with sending_to(target, wandb.Error, ValueError):
        _parts(target)
        if wandb.setup().settings.mode in UNTRACKED_MODES:
            return
        try:
            _ = wandb.Api(timeout=SECONDS).viewer
        except wandb.Error as error:
            reason = (str(error).splitlines() or [""])[0].strip().rstrip(".")
            raise TrackerError(
                f"{target} cannot be used: {reason}; WANDB_MODE=offline writes files for 'wandb sync' instead"
            ) from error


class WandbTracker:
    """Runs of Weights & Biases.

    Args:
        target: Its place is ``PROJECT`` or ``ENTITY/PROJECT``.
        search: The search.
    """

    def __init__(self, target: Target, search: Search) -> None:
        self._target, self._search = target, search
        self._entity, self._project = _parts(target)

    def find(self, _number: int, run_id: str | None, /) -> str | None:
        """Return the id under which the trial was sent; W&B itself is not asked."""
        return run_id

    def send(self, record: TrialRecord, run_id: str | None) -> str:
        """Write a run, or add to it, and return its id."""
        import wandb

        run_id = run_id or f"{self._search.search_id}-{record.number}"
        folder = Path(os.environ.get("WANDB_DIR") or self._search.folder)
        if folder == self._search.folder:
            check_inside(folder, folder / "wandb" / run_id)
        with sending_to(self._target, wandb.Error, ValueError):
            run = wandb.init(
                entity=self._entity,
                project=self._project,
                group=self._search.name,
                job_type="trial",
                name=record.title,
                id=run_id,
                resume="allow",
                dir=folder,
                config={**record.parameters},
                allow_val_change=True,
                settings=_settings(),
            )
            try:
                self._log(run, record)
            finally:
                run.finish(exit_code=1 if record.tags.get("state") == "FAIL" else 0)
        return run_id

    def _log(self, run: wandb.Run, record: TrialRecord) -> None:
        import wandb

        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        for metrics in (record.curves, record.metrics):
            for epoch, group in by_epoch(metrics):
                seconds = group[0].seconds
                moment = time.time() if seconds is None else self._search.begun + seconds
                run.log(
                    {"epoch": epoch, "_timestamp": moment, **{metric.name: metric.value for metric in group}}
                )
        if record.tags:
            run.summary.update({**self._search.tags, "trial": record.number, **record.tags})
            run.tags = tuple(
                record.tags[name] for name in ("state", "origin", "control") if name in record.tags
            )
        for name, path in record.files.items():
            artifact = wandb.Artifact(f"{self._search.name}-{name.split('/')[1]}", type="model")
            artifact.add_file(str(path), name=path.name)
            run.log_artifact(artifact)


def _settings() -> wandb.Settings:
    """Return settings of a run that only carries numbers: nothing is recorded of this process."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        init_timeout=SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )


def _parts(target: Target) -> tuple[str | None, str]:
    """Return entity and project.

    Raises:
        TrackerError: The place is neither ``PROJECT`` nor ``ENTITY/PROJECT``.
    """
    *entity, project = target.place.split("/")
    if len(entity) > 1 or (target.place and not all((*entity, project))):
        raise TrackerError(f"{target} is not PROJECT or ENTITY/PROJECT; without a place, it is {PROJECT}")
    return (entity[0] if entity else None), project or os.environ.get("WANDB_PROJECT") or PROJECT
