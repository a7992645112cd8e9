"""Sending a run to a tracker: every trial that the tracker lacks, and what is new of the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from morel_search.analysis.run_data import read_run_data
from morel_search.results.files import hold_lock, os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.links import check_inside
from morel_search.tracking import mlflow_tracker, tensorboard_tracker, wandb_tracker
from morel_search.tracking.records import search_id, started, trial_records
from morel_search.tracking.sent import FOLDER, Sent, SentTrial
from morel_search.tracking.targets import Target
from morel_search.tracking.tracker import Search, Tracker

__all__ = ["Counts", "check_target", "send_run"]

SECONDS_BETWEEN_WRITES = 2.0
"""Least time between two writings of the record of what was sent."""

CHECKS: dict[str, Callable[[Target], None]] = {
    "tensorboard": tensorboard_tracker.check,
    "mlflow": mlflow_tracker.check,
    "wandb": wandb_tracker.check,
}

TRACKERS: dict[str, Callable[[Target, Search], Tracker]] = {
    "tensorboard": tensorboard_tracker.TensorBoardTracker,
    "mlflow": mlflow_tracker.MlflowTracker,
    "wandb": wandb_tracker.WandbTracker,
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many trials were sent.

    Attributes:
        new: Trials that the tracker did not have.
        updated: Trials of which something was new.
        same: Trials of which nothing was new.
    """

    new: int = 0
    updated: int = 0
    same: int = 0


def check_target(target: Target) -> None:
    """Check that a tracker can be used.

    Raises:
        TrackerError: It cannot: its library, its server, its key or its folder is missing.
    """
    CHECKS[target.tracker](target)


def send_run(run: RunFolder, target: Target) -> Counts:
    """Send the finished trials of a run to a tracker.

    A second call sends only what is new: further trials, test and verified accuracies, weights. What was sent
    is recorded in the run folder, also when sending fails half-way.

    Args:
        run: The run folder; its search may be running.
        target: The tracker.

    Raises:
        TrackerError: The tracker cannot be reached, or takes no data.
        RunFolderError: The folder is damaged, or cannot be written, or another process is sending it.
    """
    run_data = read_run_data(run)
    search = Search(
        name=run.name,
        search_id=search_id(run_data),
        begun=started(run_data),
        commit=run_data.settings.commit or "",
        folder=run.path,
    )
    records = trial_records(run_data)
    check_inside(run.path, run.path / FOLDER / target.key)
    try:
        (run.path / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise os_error_sentence("write", run.path / FOLDER, error) from error
    with hold_lock(run.path / FOLDER / f"{target.key}.lock"):
        sent = Sent(run, target)
        tracker = TRACKERS[target.tracker](target, search)
        counts = {"new": 0, "updated": 0, "same": 0}
        written = time.monotonic()
        try:
            for record in records:
                before = sent.trials.get(record.number)
                run_id = tracker.find(record.number, before.run_id if before else None)
                known = before if before is not None and before.run_id == run_id else None
                news = record if known is None else known.news(record)
                if news is None:
                    counts["same"] += 1
                    continue
                counts["new" if run_id is None else "updated"] += 1
                stamped = SentTrial.of(record, "")
                run_id = tracker.send(news, run_id)
                sent.trials[record.number] = stamped.with_id(run_id)
                if time.monotonic() > written + SECONDS_BETWEEN_WRITES:
                    sent.write()
                    written = time.monotonic()
        finally:
            sent.write()
    return Counts(**counts)
