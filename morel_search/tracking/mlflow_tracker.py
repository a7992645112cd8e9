"""MLflow: one experiment for each search, and one run for each trial."""

from __future__ import annotations

import os
import time
from itertools import islice
from typing import TYPE_CHECKING

from morel_search.errors import TrackerError
from morel_search.tracking.records import TrialRecord
from morel_search.tracking.targets import Target
from morel_search.tracking.tracker import SECONDS, Search, sending_to

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MlflowTracker", "check"]

MOST_METRICS = 1000
"""Largest number of metrics that MLflow takes at once."""

LONGEST_PARAMETER = 6000
"""Largest number of characters of a parameter in MLflow."""

SEARCH_TAG, TRIAL_TAG = "search_id", "trial"
"""Tags of a run in MLflow, by which it is found again."""


def check(target: Target) -> None:
    """Ask the server or the database for one experiment.

    Raises:
        TrackerError: There is no answer.
    """
    with sending_to(target, *_errors()):
        _client(target).search_experiments(max_results=1)


class MlflowTracker:
    """Runs of MLflow in the experiment that has the name of the search.

    Args:
        target: Its place is a tracking URI; empty for MLflow's default, such as ``MLFLOW_TRACKING_URI``.
        search: The search.

    Raises:
        TrackerError: The server or the database cannot be used.
    """

    def __init__(self, target: Target, search: Search) -> None:
        self._target, self._search = target, search
        with sending_to(target, *_errors()):
            self._client = _client(target)
            self._experiment = self._experiment_id()
            self._runs = self._existing()

    def find(self, number: int, run_id: str | None) -> str | None:
        """Return the id of the trial's run; None if MLflow has none, or if it was deleted there."""
        return run_id if run_id in self._runs.values() else self._runs.get(number)

    def send(self, record: TrialRecord, run_id: str | None) -> str:
        """Make a run, or add to it, and return its id."""
        from mlflow.entities import Metric, Param, RunTag

        begun, now = self._search.begun, time.time()
        with sending_to(self._target, *_errors()):
            if run_id is None:
                run = self._client.create_run(
                    self._experiment,
                    start_time=round(1000 * begun),
                    run_name=record.title,
                    tags={
                        **self._search.tags,
                        TRIAL_TAG: str(record.number),
                        "mlflow.source.name": "morel_search",
                    },
                )
                run_id = run.info.run_id
                self._runs[record.number] = run_id
            parameters = [
                Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in record.parameters.items()
            ]
            tags = [RunTag(name, text) for name, text in record.tags.items()]
            self._client.log_batch(run_id, params=parameters, tags=tags)
            # The same time for the same epoch: MLflow keeps only one of two equal metrics.
            times = [
                begun + metric.seconds if metric.seconds is not None else begun for metric in record.curves
            ]
            metrics = iter(
                Metric(metric.name, metric.value, round(1000 * moment), metric.epoch)
                for metric, moment in zip(
                    (*record.curves, *record.metrics), (*times, *[now] * len(record.metrics)), strict=True
                )
            )
            while batch := list(islice(metrics, MOST_METRICS)):
                self._client.log_batch(run_id, metrics=batch)
            for name, path in record.files.items():
                self._client.log_artifact(run_id, str(path), name.rpartition("/")[0])
            if "state" in record.tags:
                status = "FAILED" if record.tags["state"] == "FAIL" else "FINISHED"
                ended = round(1000 * (begun + (record.seconds or 0.0)))
                self._client.set_terminated(run_id, status, end_time=ended)
        return run_id

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._search.name)
        if found is None:
            return str(self._client.create_experiment(self._search.name))
        if found.lifecycle_stage != "active":
            raise TrackerError(
                f"{self._target} has deleted the experiment {self._search.name}; restore it there, or delete "
                "it permanently"
            )
        return str(found.experiment_id)

    def _existing(self) -> dict[int, str]:
        """Return the runs of this search in MLflow, by their trials."""
        known: dict[int, str] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                filter_string=f"tags.{SEARCH_TAG} = '{self._search.search_id}'",
                max_results=1000,
                page_token=token,
            )
            for run in page:
                number = run.data.tags.get(TRIAL_TAG, "")
                if number.isdecimal():
                    known[int(number)] = run.info.run_id
            token = page.token
            if not token:
                return known


def _client(target: Target) -> MlflowClient:
    # MLflow's own defaults wait four minutes for a server that is away, and send usage data.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SECONDS))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(target.place or None)


def _errors() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError
