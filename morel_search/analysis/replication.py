"""What the front's networks and the controls are worth with other seeds: mean, spread, and the chance of each to be on the front."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.run_data import TEST, RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Replicated", "front_chances", "read_replication"]

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Replicated:
    """One network, trained again.

    Attributes:
        name: As its folder in ``front/`` is named.
        number: Its trial.
        member: Whether it is on the front.
        label: The control's name, else empty.
        own: Clean and robust accuracy of the network itself on the test split; None where they are not known.
        points: Those of its replicates, shape (n, 2), under the search's own attack.
        failed: Replicates that diverged or ran out of memory.
        chance: Of being on the front when each configuration is trained once, see :func:`front_chances`.
    """

    name: str
    number: int
    member: bool
    label: str
    own: tuple[float, float] | None
    points: Points
    failed: int
    chance: float

    @property
    def mean(self) -> tuple[float, float]:
        """Mean clean and robust accuracy of the replicates; NaN where all failed."""
        return (
            (float(self.points[:, 0].mean()), float(self.points[:, 1].mean()))
            if len(self.points)
            else (np.nan, np.nan)
        )

    @property
    def spread(self) -> tuple[float, float]:
        """Standard deviation of one training (n - 1 degrees of freedom); NaN of fewer than two replicates."""
        if len(self.points) < 2:
            return np.nan, np.nan
        clean, robust = self.points.std(axis=0, ddof=1)
        return float(clean), float(robust)


def front_chances(points: Sequence[Points], trainings: Sequence[int]) -> list[float]:
    """The probability of each configuration to be on the front when each is trained once.

    A training of a configuration is one of its replicates, each as likely as the other, and independent of
    the others; so the probability is exact: the mean, over a configuration's replicates, of the product over
    all others of the share of their replicates that does not dominate it. A failed replicate dominates
    nothing and is on no front.

    Args:
        points: Clean and robust accuracy of each configuration's replicates, each of shape (n, 2).
        trainings: How many replicates each has, failed ones included; at least 1.
    """
    chances = []
    for index, own in enumerate(points):
        alone = np.ones(len(own))
        for other, (rivals, count) in enumerate(zip(points, trainings, strict=True)):
            if other != index and len(rivals) and len(own):
                better = (rivals[None] >= own[:, None]).all(axis=2) & (rivals[None] > own[:, None]).any(
                    axis=2
                )
                alone *= 1.0 - better.sum(axis=1) / count
        chances.append(float(alone.sum()) / trainings[index])
    return chances


def read_replication(run_data: RunData, flagged: Collection[str] = ()) -> tuple[Replicated, ...]:
    """The networks of the front, from the most accurate to the most robust, then the controls, as far as they were trained again.

    Args:
        run_data: The run.
        flagged: Names of networks that fool the search's attack: they are left out.
    """
    rows = run_data.run.read_replicates()
    wanted = _wanted(run_data)
    found = {
        name: rows[rows["network"] == name]
        for name in wanted
        if name not in flagged and (rows["network"] == name).any()
    }
    points = [own.dropna(subset=TEST)[TEST].to_numpy(dtype=float) for own in found.values()]
    chances = front_chances(points, [len(own) for own in found.values()])
    return tuple(
        Replicated(name, *wanted[name], one, len(own) - len(one), chance)
        for (name, own), one, chance in zip(found.items(), points, chances, strict=True)
    )


def _wanted(run_data: RunData) -> dict[str, tuple[int, bool, str, tuple[float, float] | None]]:
    wanted: dict[str, tuple[int, bool, str, tuple[float, float] | None]] = {}
    for rows, member in ((run_data.front, True), (run_data.controls, False)):
        for _, row in rows.iterrows():
            label = str(row["name"]) if row["origin"] == "control" else ""
            wanted.setdefault(
                run_data.network(row["number"], row["epoch"]), (int(row["number"]), member, label, _own(row))
            )
    return wanted


def _own(row: pd.Series[float]) -> tuple[float, float] | None:
    clean, robust = (float(row[column]) for column in TEST)
    return None if np.isnan(clean) or np.isnan(robust) else (clean, robust)
