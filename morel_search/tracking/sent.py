"""What a tracker has been sent: one file for each tracker in ``trackers/`` of the run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.json_values import read_json
from morel_search.tracking.records import TrialRecord
from morel_search.tracking.targets import Target

__all__ = ["FOLDER", "Sent", "SentTrial"]

FOLDER = "trackers"
"""Folder of these files in the run folder."""

FORMAT = 1


@dataclass(frozen=True, slots=True)
class SentTrial:
    """What a tracker has been sent of a trial.

    Attributes:
        run_id: Its id in the tracker.
        curves: Digest of the metrics of its epochs and of its parameters.
        metrics: Its other metrics, by ``NAME@EPOCH``.
        tags: Its tags.
        files: Size and time of each file, by its path in the run folder.
    """

    run_id: str
    curves: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: TrialRecord, run_id: str) -> SentTrial:
        """Describe a whole record."""
        return cls(
            run_id,
            _digest(record),
            {_key(metric.name, metric.epoch): metric.value for metric in record.metrics},
            dict(record.tags),
            {name: _stamp(path) for name, path in record.files.items()},
        )

    def with_id(self, run_id: str) -> SentTrial:
        """Return it with the id that the tracker gave the trial."""
        return replace(self, run_id=run_id)

    def news(self, record: TrialRecord) -> TrialRecord | None:
        """Return the part of a record that was not sent; None when all of it was."""
        now = SentTrial.of(record, self.run_id)
        if now == self:
            return None
        same = now.curves == self.curves
        return replace(
            record,
            parameters={} if same else record.parameters,
            curves=() if same else record.curves,
            metrics=tuple(
                metric
                for metric in record.metrics
                if self.metrics.get(_key(metric.name, metric.epoch)) != metric.value
            ),
            tags={} if now.tags == self.tags else record.tags,
            files={
                name: path for name, path in record.files.items() if self.files.get(name) != now.files[name]
            },
        )


class Sent:
    """What a tracker has been sent of a run.

    Args:
        run: The run folder.
        target: The tracker.

    Raises:
        RunFolderError: The file is damaged or cannot be read.
    """

    def __init__(self, run: RunFolder, target: Target) -> None:
        self._run, self.path = run, run.path / FOLDER / f"{target.key}.json"
        self.trials: dict[int, SentTrial] = _read(self.path)

    def write(self) -> None:
        """Replace the file."""
        trials = {
            str(number): {
                "id": trial.run_id,
                "curves": trial.curves,
                "metrics": dict(trial.metrics),
                "tags": dict(trial.tags),
                "files": dict(trial.files),
            }
            for number, trial in sorted(self.trials.items())
        }
        self._run.write_json(self.path, {"format": FORMAT, "trials": trials})


def _read(path: Path) -> dict[int, SentTrial]:
    try:
        values = read_json(path)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"it has no format {FORMAT}")
        return {int(number): _trial(trial) for number, trial in values["trials"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise os_error_sentence("read", path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunFolderError(
            f"{path} is damaged: {error}; delete it, and every trial is sent again"
        ) from error


def _trial(values: Mapping[str, object]) -> SentTrial:
    metrics, tags, files = (values[key] for key in ("metrics", "tags", "files"))
    if not (isinstance(metrics, dict) and isinstance(tags, dict) and isinstance(files, dict)):
        raise ValueError("metrics, tags and files must be objects")
    return SentTrial(str(values["id"]), str(values["curves"]), metrics, tags, files)


def _key(name: str, epoch: int) -> str:
    return f"{name}@{epoch}"


def _digest(record: TrialRecord) -> str:
    told = [[metric.name, metric.epoch, metric.value] for metric in record.curves]
    text = json.dumps([told, {name: str(value) for name, value in record.parameters.items()}])
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"
