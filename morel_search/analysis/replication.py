"""Networks trained again with other seeds: mean, spread, and probability of being on the front."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morel_search._dominance import dominates
from morel_search._format import points, with_interval
from morel_search.analysis.differences import difference_words
from morel_search.analysis.intervals import LEVEL, Difference, wilson
from morel_search.analysis.run_data import TEST, RunData

__all__ = ["Replicated", "front_chances", "read_replication", "replication_words"]

LIKELY = 0.5
"""Probability above which a network is listed as likely to be on the front."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Replicated:
    """A network and its replicates: trainings of the same configuration with other seeds.

    Attributes:
        name: Name of the network and of its folder in ``front/``.
        number: Number of the trial.
        member: Whether the network is on the front.
        label: Name of the control; empty for other trials.
        own: Clean and robust test accuracy of the network itself; None when they are not known.
        points: Clean and robust test accuracies of the replicates under the attack of the search, shape (n,
            2).
        failed: Number of replicates that diverged or ran out of memory.
        chance: Probability of being on the front when each configuration is trained once; see
            :func:`front_chances`.
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
    def labelled_name(self) -> str:
        """``12 (trades)`` for a control, ``12`` for another network."""
        return f"{self.name} ({self.label})" if self.label else self.name

    @property
    def trainings(self) -> int:
        """Number of replicates, failed ones included."""
        return len(self.points) + self.failed

    @property
    def chance_interval(self) -> tuple[float, float]:
        """95 % interval of the probability of being on the front: Wilson's, for the number of replicates.

        The probability is a mean over the replicates of values from 0 to 1, whose variance is at most that of
        a coin. In simulated fronts of 4 to 12 networks the interval includes the true probability in at least
        95 % of the cases with 3 to 10 replicates, and in at least 93 % with 2, although it leaves out the
        spread of the other networks.
        """
        return wilson(self.chance * self.trainings, self.trainings)

    @property
    def chance_text(self) -> str:
        """The probability with its interval, as ``66.7% (20.8% to 93.9%)``."""
        return with_interval(self.chance, self.chance_interval)

    @property
    def mean(self) -> tuple[float, float]:
        """Mean clean and robust accuracy of the replicates; NaN when all of them failed."""
        if not len(self.points):
            return np.nan, np.nan
        return float(self.points[:, 0].mean()), float(self.points[:, 1].mean())

    @property
    def spread(self) -> tuple[float, float]:
        """Sample standard deviation of the replicates; NaN for fewer than two."""
        if len(self.points) < 2:
            return np.nan, np.nan
        clean, robust = self.points.std(axis=0, ddof=1)
        return float(clean), float(robust)


def front_chances(points: Sequence[Points], trainings: Sequence[int]) -> list[float]:
    """Compute the probability of each configuration of being on the front when each is trained once.

    A training of a configuration is one of its replicates, each with the same probability, and is independent
    of the trainings of the other configurations. The probability is therefore exact: for each replicate of a
    configuration, take the product, over all other configurations, of the fraction of their replicates that
    do not dominate it; the probability is the mean of these products. A failed replicate dominates nothing
    and is not on the front.

    Args:
        points: Clean and robust accuracies of the replicates of each configuration, each of shape (n, 2).
        trainings: Number of replicates of each configuration, failed ones included; at least 1.
    """
    chances = []
    for index, own in enumerate(points):
        nondominated = np.ones(len(own))
        for other, (rivals, count) in enumerate(zip(points, trainings, strict=True)):
            if other != index and len(rivals) and len(own):
                dominated = dominates(rivals[None], own[:, None])
                nondominated *= 1.0 - dominated.sum(axis=1) / count
        chances.append(float(nondominated.sum()) / trainings[index])
    return chances


def read_replication(run_data: RunData, flagged: Collection[str] = ()) -> tuple[Replicated, ...]:
    """Read the replicates of a run.

    Args:
        run_data: The run.
        flagged: Names of networks with signs of gradient masking; they are left out.

    Returns:
        The members of the front, from the highest to the lowest clean accuracy, then the controls; networks
        without a replicate are left out.
    """
    rows = run_data.run.read_replicates()
    replicated = [
        (network, rows[rows["network"] == network.name])
        for network in run_data.networks
        if network.name not in flagged and (rows["network"] == network.name).any()
    ]
    accuracies = [own.dropna(subset=TEST)[TEST].to_numpy(dtype=float) for _, own in replicated]
    chances = front_chances(accuracies, [len(own) for _, own in replicated])
    return tuple(
        Replicated(
            network.name,
            network.number,
            network.member,
            network.label,
            network.test,
            succeeded,
            len(own) - len(succeeded),
            chance,
        )
        for (network, own), succeeded, chance in zip(replicated, accuracies, chances, strict=True)
    )


def replication_words(replicated: Sequence[Replicated]) -> list[str]:
    """Return sentences on the effect of the seed, the selection bias, and the probabilities of the front."""
    lines = []
    spreads = np.array([network.spread for network in replicated if len(network.points) > 1])
    if len(spreads):
        clean, robust = np.sqrt((spreads**2).mean(axis=0))
        lines.append(
            f"Between seeds, the standard deviation of clean accuracy is {points(clean)} and that of robust "
            f"accuracy is {points(robust)}."
        )
    biased = [
        network
        for network in replicated
        if network.member and network.own is not None and len(network.points)
    ]
    if biased:
        clean_words, robust_words = (
            difference_words(_bias(biased, axis), f"{name} accuracy")
            for axis, name in enumerate(("clean", "robust"))
        )
        lines.append(
            f"On average, the networks of the front have {clean_words} and {robust_words} than their "
            "replicates (95% intervals for the effect of the seed)."
        )
    members = [network for network in replicated if network.member]
    if members:
        groups: dict[str, list[str]] = {"likely": [], "unlikely": [], "not decided": []}
        for network in members:
            low, high = network.chance_interval
            groups["likely" if low > LIKELY else "unlikely" if high < LIKELY else "not decided"].append(
                network.labelled_name
            )
        counts = sorted({network.trainings for network in members})
        count = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        listed = "; ".join(f"{group}: {', '.join(names) or 'none'}" for group, names in groups.items())
        lines.append(
            f"Would these settings be on the front again, if each were trained once more? By the 95% "
            f"intervals, from {count} replicate{'' if count == '1' else 's'} of each network, {listed}."
        )
    if failed := sum(network.failed for network in replicated):
        lines.append(f"{failed} of the trainings failed; the reasons are in replicates.csv.")
    return lines


def _bias(networks: Sequence[Replicated], axis: int) -> Difference:
    """Compute the mean of the networks' own accuracies, which are known, minus those of their replicates.

    The interval is that of Student's t with the standard deviation between seeds, pooled over the networks;
    NaN when no network has two replicates.
    """
    from scipy.special import stdtrit

    own = np.array([network.own for network in networks], dtype=float)
    value = float((own - [network.mean for network in networks])[:, axis].mean())
    counts = np.array([len(network.points) for network in networks])
    freedom = int((counts - 1).sum())
    if not freedom:
        return Difference(value, np.nan, np.nan, np.nan)
    squares = sum(float(((network.points[:, axis] - network.mean[axis]) ** 2).sum()) for network in networks)
    error = np.sqrt(squares / freedom * (1 + 1 / counts).sum()) / len(networks)
    half_width = float(stdtrit(freedom, (1 + LEVEL) / 2) * error)
    return Difference(value, value - half_width, value + half_width, np.nan)
