"""Early stopping of a search's trials: the ladder fed with learning curves, and who is spared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from morel_search.config import Space
from morel_search.search.seeds import derive_seed
from morel_search.search.successive_halving import AsyncSuccessiveHalving, rungs_of
from morel_search.training.selection import EpochResult, chosen_epoch

__all__ = ["EarlyStopping", "RungProgress"]

SPARING = 0x5EED
"""Sets the draw of who runs through apart from the other draws of a trial."""


@dataclass(frozen=True, slots=True)
class RungProgress:
    """What early stopping did with a trial.

    Attributes:
        rung: The highest rung it reached, in epochs.
        stopped: Whether it was stopped there.
        exempt_at: The rung where it would have been stopped if it did not belong to those that run through.
    """

    rung: int | None = None
    stopped: bool = False
    exempt_at: int | None = None


class EarlyStopping:
    """Decides after each epoch whether a trial goes on.

    A rung compares the best that trials had had by then, by the same rule that makes a training one point.
    The decision is taken when a trial comes to a rung, and only then. Controls always run through, as does a
    share of the trials that the seed decides.

    Args:
        space: Its early stopping, rule, seed and epochs are read.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.ladder = AsyncSuccessiveHalving(space.early_stopping, rungs_of(space))
        self._progress: dict[int, RungProgress] = {}

    @property
    def levels(self) -> tuple[int, ...]:
        """The rungs, in epochs."""
        return self.ladder.levels

    def advance(
        self, number: int, history: Sequence[EpochResult], epochs: int, *, exempt: bool = False
    ) -> bool:
        """Record the rungs that a running trial has come to; whether it is to be stopped.

        Args:
            number: The trial.
            history: All its epochs so far.
            epochs: How many epochs it is to have; at its end it is not stopped any more.
            exempt: Whether it is not to be stopped, whatever it does.
        """
        progress = self._progress.get(number, RungProgress())
        last = history[-1].epoch if history else 0
        for level in self._climb(number, history):
            behind = (
                level < epochs
                and not exempt
                and progress.exempt_at is None
                and not self.ladder.rank_of(number, level).continues
            )
            through = behind and self.runs_through(number)
            # A trial that is past the rung was let go there, before its driver or its worker died.
            stopped = behind and not through and level == last
            progress = RungProgress(
                level, stopped=stopped, exempt_at=level if through else progress.exempt_at
            )
            self._progress[number] = progress
        return progress.stopped

    def recall(self, number: int, history: Sequence[EpochResult]) -> None:
        """Record the rungs of a trial of an earlier start."""
        self._climb(number, history)

    def stopped(self, number: int) -> bool:
        """Whether a running trial was stopped at the rung that it came to last."""
        return self._progress.get(number, RungProgress()).stopped

    def leave(self, number: int) -> RungProgress:
        """Let go of a trial that is over; what it had reached stays."""
        return self._progress.pop(number, RungProgress())

    def runs_through(self, number: int) -> bool:
        """Whether a trial belongs to the share that is never stopped."""
        return (
            derive_seed(self._space.search.seed, number, SPARING) / 2**31
            < self._space.early_stopping.run_through
        )

    def _climb(self, number: int, history: Sequence[EpochResult]) -> list[int]:
        """Record every rung that is new, and return these."""
        climbed = []
        last = history[-1].epoch if history else 0
        for level in self.levels:
            if level > last or self.ladder.recorded(number, level):
                continue
            results = [result for result in history if result.epoch <= level]
            chosen = chosen_epoch(results, self._space.search.select_epoch)
            if chosen is None or chosen.clean_accuracy is None or chosen.robust_accuracy is None:
                continue
            self.ladder.record(number, level, (chosen.clean_accuracy, chosen.robust_accuracy))
            climbed.append(level)
        return climbed
