"""Early stopping of trials: learning curves at the rungs, and the trials that are exempt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from morel_search.config import Space
from morel_search.search.pareto import Point
from morel_search.search.seeds import derive_seed
from morel_search.search.successive_halving import AsyncSuccessiveHalving, rungs_of
from morel_search.training.selection import EpochResult, chosen_epoch

__all__ = ["EarlyStopping", "RungProgress", "points_at_rungs"]

EXEMPTION = 0x5EED
"""Separates the draw of exempt trials from other draws of a trial's seed."""


@dataclass(frozen=True, slots=True)
class RungProgress:
    """The rungs of a running trial, and the decision at the last one.

    Attributes:
        rung: The highest rung that the trial has reached, in epochs.
        stopped: Whether it is stopped there.
        exempt_at: The rung at which it would have been stopped if it were not exempt.
    """

    rung: int | None = None
    stopped: bool = False
    exempt_at: int | None = None


class EarlyStopping:
    """Decides after each epoch whether a trial continues.

    At a rung, trials are compared by the epoch that is selected among those up to the rung, by the same rule
    as at the end of a training. The decision is made once, when the trial reaches the rung. Controls are
    exempt, and so is a share of the other trials (``early_stopping.run_through``), drawn by the seed.

    Args:
        space: Its early stopping, epoch selection rule, seed and number of epochs are used.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._halving = AsyncSuccessiveHalving(space.early_stopping, rungs_of(space))
        self._progress: dict[int, RungProgress] = {}

    @property
    def levels(self) -> tuple[int, ...]:
        """The rungs, in epochs."""
        return self._halving.levels

    def advance(
        self, number: int, history: Sequence[EpochResult], epochs: int, *, exempt: bool = False
    ) -> bool:
        """Record the rungs that a running trial has reached and return whether it is stopped.

        Args:
            number: The trial's number.
            history: Results of all its epochs so far.
            epochs: Its number of epochs; it is not stopped after the last one.
            exempt: Whether it is never stopped.
        """
        progress = self._progress.get(number, RungProgress())
        last = history[-1].epoch if history else 0
        for level in self._record_rungs(number, history):
            inferior = (
                level < epochs
                and not exempt
                and progress.exempt_at is None
                and not self._halving.rank_of(number, level).continues
            )
            drawn = inferior and self.runs_through(number)
            # A trial beyond the rung had continued there, before its driver or its worker was killed.
            stopped = inferior and not drawn and level == last
            progress = RungProgress(level, stopped=stopped, exempt_at=level if drawn else progress.exempt_at)
            self._progress[number] = progress
        return progress.stopped

    def recall(self, number: int, history: Sequence[EpochResult]) -> None:
        """Record the rungs of a finished trial of an earlier start."""
        self._record_rungs(number, history)

    def stopped(self, number: int) -> bool:
        """Return whether a running trial was stopped at the last rung that it reached."""
        return self._progress.get(number, RungProgress()).stopped

    def leave(self, number: int) -> RungProgress:
        """Remove a trial that no longer runs and return its progress; its points stay at the rungs."""
        return self._progress.pop(number, RungProgress())

    def runs_through(self, number: int) -> bool:
        """Return whether a trial is drawn to be exempt."""
        draw = derive_seed(self._space.search.seed, number, EXEMPTION) / 2**31
        return draw < self._space.early_stopping.run_through

    def _record_rungs(self, number: int, history: Sequence[EpochResult]) -> list[int]:
        """Record the rungs that a trial has newly reached, and return them."""
        new = [level for level in self.levels if not self._halving.recorded(number, level)]
        reached = points_at_rungs(history, new, self._space.search.select_epoch)
        for level, point in reached.items():
            self._halving.record(number, level, point)
        return list(reached)


def points_at_rungs(
    history: Sequence[EpochResult], levels: Iterable[int], select_epoch: str
) -> dict[int, Point]:
    """Return the accuracies under the quick attack with which a trial is compared at each rung.

    They are those of the epoch that is selected among the epochs up to the rung.

    Args:
        history: Results of all its epochs so far.
        levels: Rungs, in epochs; those that it has not reached are left out.
        select_epoch: Epoch selection rule, see :mod:`morel_search.training.selection`.
    """
    points: dict[int, Point] = {}
    last = history[-1].epoch if history else 0
    for level in levels:
        chosen = chosen_epoch([result for result in history if result.epoch <= level], select_epoch)
        if level > last or chosen is None:
            continue
        if chosen.clean_accuracy is not None and chosen.robust_accuracy is not None:
            points[level] = (chosen.clean_accuracy, chosen.robust_accuracy)
    return points
