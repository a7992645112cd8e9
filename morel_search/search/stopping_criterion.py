"""When a search ends before its number of trials: time, GPU time, and a front that no longer moves."""

from __future__ import annotations

from collections import deque

from morel_search.config import SearchSettings

__all__ = ["StoppingCriterion"]

HOUR = 3600.0


class StoppingCriterion:
    """Says whether a search is to end, and why.

    Args:
        settings: ``max_hours``, ``max_gpu_hours``, ``patience`` and ``min_improvement``.
        gpus: GPUs that one training occupies.
    """

    def __init__(self, settings: SearchSettings, gpus: float) -> None:
        self._settings, self._gpus = settings, gpus
        self._volumes: deque[float] = deque(maxlen=(settings.patience or 0) + 1)

    def finished(self, hypervolume: float) -> None:
        """A training is over; the front has this hypervolume now."""
        self._volumes.append(hypervolume)

    def spent(self, elapsed: float, trained: float) -> str:
        """Which time is used up, as a reason; empty where none is.

        Args:
            elapsed: Seconds of the search.
            trained: Seconds of all its trainings together.
        """
        settings = self._settings
        if settings.max_hours is not None and elapsed >= settings.max_hours * HOUR:
            return f"search.max_hours ({settings.max_hours:g}) is used up"
        if settings.max_gpu_hours is not None and trained * self._gpus >= settings.max_gpu_hours * HOUR:
            return f"search.max_gpu_hours ({settings.max_gpu_hours:g}) is used up"
        return ""

    def stale(self) -> str:
        """Whether the front no longer moves, as a reason; empty where it does."""
        patience, least = self._settings.patience, self._settings.min_improvement
        if patience is None or len(self._volumes) <= patience or self._rise() >= max(least, 1e-12):
            return ""
        return (
            f"the hypervolume rose by less than {least:g} in the last {patience} trainings (search.patience)"
        )

    def _rise(self) -> float:
        return self._volumes[-1] - self._volumes[0]
