"""Early stopping in two objectives: what trainings had reached at the same epoch, and which of them go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from morel_search.config import EarlyStoppingSettings
from morel_search.search.points import Point
from morel_search.search.ranking import positions

__all__ = ["Ladder", "Standing", "rung_levels"]


def rung_levels(settings: EarlyStoppingSettings, epochs: int) -> tuple[int, ...]:
    """The epochs at which trainings of so many epochs are compared: grace x eta^k below the last epoch; none when switched off."""
    if not settings.enabled:
        return ()
    level = settings.grace or math.ceil(epochs / settings.eta**2)
    levels: list[int] = []
    while level < epochs and (settings.rungs is None or len(levels) < settings.rungs):
        levels.append(level)
        level *= settings.eta
    return tuple(levels)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a training stands at a rung.

    Attributes:
        position: How many trainings are ahead of it.
        peers: How many have been there, itself counted.
        places: How many may go on.
        enough: Whether there are peers enough to decide.
    """

    position: int
    peers: int
    places: int
    enough: bool

    @property
    def goes_on(self) -> bool:
        """Whether the rule lets it train on."""
        return not self.enough or self.position < self.places


class Ladder:
    """Multi-objective successive halving without waiting (Schmucker et al. 2021, arXiv 2106.12639).

    A training that comes to a rung is recorded first, then ranked among all that have been there; the first ceil(n / eta) go on. All of
    the rung's front go on unless there are more of them than places. Values of different rungs never meet.

    Args:
        settings: eta, ranking and the number of peers it takes.
        levels: The rungs, in epochs.
    """

    def __init__(self, settings: EarlyStoppingSettings, levels: tuple[int, ...]) -> None:
        self._settings, self.levels = settings, levels
        self._reached: dict[int, dict[int, Point]] = {level: {} for level in levels}

    @property
    def min_peers(self) -> int:
        """How many trainings a rung must have seen before it stops one."""
        return max(self._settings.eta, self._settings.min_peers or 0)

    def record(self, number: int, level: int, point: Point) -> None:
        """A training has come to a rung with the best it has had so far."""
        self._reached[level][number] = point

    def recorded(self, number: int, level: int) -> bool:
        """Whether a training has come to that rung."""
        return number in self._reached[level]

    def standing(self, number: int, level: int) -> Standing:
        """Where a recorded training stands now."""
        reached: Mapping[int, Point] = self._reached[level]
        numbers = list(reached)
        places = positions(np.array([reached[one] for one in numbers]), self._settings.ranking)
        count = len(numbers)
        return Standing(
            position=int(places[numbers.index(number)]),
            peers=count,
            places=math.ceil(count / self._settings.eta),
            enough=count >= self.min_peers,
        )
