"""What the same search attains with other seeds: the empirical attainment function of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.comparison.runs import ComparedRun
from morel_search.analysis.comparison.settings import differing_settings

__all__ = ["FEWEST", "Attainment", "attainment", "attainments"]

FEWEST = 3
"""Smallest number of runs with the same settings whose attainment is shown."""

SEEDS = {"seed", "search.seed"}

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Attainment:
    """What runs with the same settings, but for the seed, attain.

    A pair of accuracies is attained by a run if one of its networks has at least both. Each array holds the
    corners of a region's border, in rising clean accuracy, shape (k, 2).

    Attributes:
        labels: The runs.
        any: Border of what at least one run attains.
        half: Border of what at least half of the runs attain, the median.
        all: Border of what every run attains.
    """

    labels: tuple[str, ...]
    any: Points
    half: Points
    all: Points


def attainments(runs: Sequence[ComparedRun]) -> list[Attainment]:
    """Return the attainment of each group of at least :data:`FEWEST` runs with the same settings.

    Their seeds and their machines may differ. The functions are those of Grunert da Fonseca, Fonseca and Hall
    (2001).
    """
    groups: list[list[ComparedRun]] = []
    for run in runs:
        group = next((group for group in groups if _same_but_seed(group[0], run)), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return [
        attainment(
            [run.label for run in group], [[network.accuracy for network in run.networks] for run in group]
        )
        for group in groups
        if len(group) >= FEWEST
    ]


def _same_but_seed(first: ComparedRun, second: ComparedRun) -> bool:
    rows = differing_settings([first.data.settings, second.data.settings])
    return all(key in SEEDS or key.startswith("hardware.") for key, _ in rows)


def attainment(labels: Sequence[str], fronts: Sequence[Sequence[tuple[float, float]]]) -> Attainment:
    """Return the attainment of runs.

    Args:
        labels: The runs.
        fronts: Clean and robust accuracy of the networks of each run.
    """
    points = np.array([point for front in fronts for point in front])
    sets = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
    # moocore minimizes; its percentile is the share of runs that attain a point.
    found = moocore.eaf(-points, sets=sets, percentiles=[0, 50, 100])
    borders = []
    for share in (0, 50, 100):
        border = -found[found[:, 2] == share, :2]
        borders.append(border[np.argsort(border[:, 0], kind="stable")])
    return Attainment(tuple(labels), *borders)
