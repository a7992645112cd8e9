"""What every tracker offers, and what it is told of the search whose trials it gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from morel_search._format import shortened, without_passwords
from morel_search._version import __version__
from morel_search.errors import TrackerError
from morel_search.tracking.records import Metric, TrialRecord
from morel_search.tracking.targets import Target

__all__ = ["SECONDS", "Search", "Tracker", "by_epoch", "sending_to"]

SECONDS = 30
"""Longest wait for an answer of a tracker's server, in seconds."""

LONGEST_REASON = 300
"""Largest number of characters of a library's error in a message."""


@dataclass(frozen=True, slots=True)
class Search:
    """The search whose trials are tracked.

    Attributes:
        name: Name of the run.
        search_id: Id of the search, the same in every copy of its run folder.
        begun: Start of the run, in seconds since 1970.
        commit: Commit of morel_search; empty when it is not known.
        folder: The run folder.
    """

    name: str
    search_id: str
    begun: float
    commit: str
    folder: Path

    @property
    def tags(self) -> dict[str, str]:
        """Tags of each of its trials."""
        tags = {"search": self.name, "search_id": self.search_id, "morel_search": __version__}
        return tags | ({"commit": self.commit} if self.commit else {})


class Tracker(Protocol):
    """A tracker, for the trials of one search.

    Every method raises :class:`TrackerError` when the tracker cannot be reached or takes no data.
    """

    def find(self, number: int, run_id: str | None, /) -> str | None:
        """Return the id of a trial in the tracker, or None if the tracker does not have it.

        Args:
            number: The trial.
            run_id: Its id when it was sent before; None when that is not known.
        """

    def send(self, record: TrialRecord, run_id: str | None) -> str:
        """Send a trial and return its id.

        Args:
            record: The trial, or what is new of it.
            run_id: Its id; None makes a new entry in the tracker.
        """


def by_epoch(metrics: tuple[Metric, ...]) -> Iterator[tuple[int, list[Metric]]]:
    """Yield the metrics epoch by epoch, in the order of the epochs."""
    ordered = sorted(metrics, key=lambda metric: metric.epoch)
    for epoch, group in groupby(ordered, key=lambda metric: metric.epoch):
        yield epoch, list(group)


@contextmanager
def sending_to(target: Target, *errors: type[Exception]) -> Iterator[None]:
    """Turn the errors of a tracker's library into one sentence.

    Args:
        target: The tracker.
        *errors: Base classes of the library's errors; errors of the system and of the network are added.

    Raises:
        TrackerError: One of them was raised.
    """
    expected: tuple[type[Exception], ...] = (OSError, ImportError, *errors)
    try:
        yield
    except expected as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = shortened(without_passwords(lines[0].strip()), LONGEST_REASON).rstrip(".")
        raise TrackerError(f"{target} cannot be used: {reason}") from error
