"""Simulated searches: the results of each training are known beforehand, and time is simulated.

Each worker runs one training at a time. An epoch counts towards the budget when it ends; trainings that are
running when the budget is spent are discarded. As in a real search, trainings finish in another order than
they start.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import moocore
import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from morel_search.config import load_space
from morel_search.search.distributions import distributions

__all__ = ["CURVES", "Curves", "Method", "Problem", "Run", "Training", "Zdt", "simulate"]

HERE = Path(__file__).parent
CURVES = HERE / "curves.csv"

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Training:
    """The results of a training.

    Attributes:
        points: After each epoch, the accuracies of the epoch that is selected up to then.
        epoch_time: Simulated time of an epoch.
        failed: Whether the training fails after these epochs.
        expected: What is expected of the network on other images; None if its figures have no noise.
    """

    points: Sequence[Point]
    epoch_time: float
    failed: bool = False
    expected: Point | None = None


class Method(Protocol):
    """A search method."""

    def ask(self, number: int) -> dict[str, Any]:
        """Return the configuration of the training with this number."""

    def report(self, number: int, epoch: int, point: Point) -> bool:
        """Take the result of an epoch that is not the last one; return whether the training continues."""

    def done(self, number: int, point: Point | None) -> None:
        """Take the final result of a training; None when it failed."""


class Problem(Protocol):
    """A search problem.

    Attributes:
        name: Its name in the table.
        space: The parameters, as distributions of Optuna.
        epochs: Epochs of a whole training.
        budget: Budget of a search, in epochs.
        population: Population size of the genetic methods.
        steps: Number of equidistant shares of the budget at which the quality is recorded.
    """

    name: str
    space: dict[str, BaseDistribution]
    epochs: int
    budget: int
    population: int
    steps: int

    def configuration_key(self, params: Mapping[str, Any]) -> Hashable:
        """Return a key that is equal for equal configurations."""

    def training(self, params: Mapping[str, Any], seed: int, number: int) -> Training:
        """Return the training of a configuration."""

    def quality(self, trainings: Sequence[Training]) -> float:
        """Return the normalised hypervolume of trainings that ran to their end."""


@dataclass(slots=True)
class Run:
    """The result of a search.

    Attributes:
        started: Number of trainings that were started.
        finished: Number of trainings that ran to their end.
        values: The quality at each recorded share of the budget.
    """

    started: int = 0
    finished: int = 0
    values: list[float] = field(default_factory=list)


def simulate(problem: Problem, method: Method, workers: int, seed: int) -> Run:
    """Run one search.

    Args:
        problem: The problem.
        method: The method, which has a seed of its own.
        workers: Number of trainings that run at the same time.
        seed: Seed of the durations of the trainings, where the configuration does not determine them.
    """
    run = Run()
    events: list[tuple[float, int, int]] = []  # time at which an epoch ends, number of the training, epoch
    trainings: dict[int, Training] = {}
    finished: list[Training] = []
    quality, spent = 0.0, 0

    def start(now: float) -> None:
        number = run.started
        run.started += 1
        trainings[number] = problem.training(method.ask(number), seed, number)
        heapq.heappush(events, (now + trainings[number].epoch_time, number, 1))

    for _ in range(workers):
        start(0.0)
    while spent < problem.budget:
        now, number, epoch = heapq.heappop(events)
        training = trainings[number]
        spent += 1
        if epoch >= len(training.points):
            ended = True
            method.done(number, None if training.failed else training.points[-1])
            if not training.failed:
                run.finished += 1
                finished.append(training)
                quality = problem.quality(finished)
        else:
            ended = not method.report(number, epoch, training.points[epoch - 1])
        while (
            len(run.values) < problem.steps
            and spent * problem.steps >= (len(run.values) + 1) * problem.budget
        ):
            run.values.append(quality)
        if not ended:
            heapq.heappush(events, (now + training.epoch_time, number, epoch + 1))
        elif spent < problem.budget:
            del trainings[number]
            start(now)
    return run


@dataclass
class Zdt:
    """ZDT1 to ZDT3 (Zitzler, Deb and Thiele, 2000) with ten variables, negated to be maximised.

    A training is one unit of the budget. Its duration depends on the seed and its number, and is the same for
    all methods. The quality is the hypervolume with the reference point (1.1, 11), which no configuration
    reaches, divided by that of the true front.
    """

    name: str
    epochs: int = 1
    budget: int = 200
    population: int = 20
    steps: int = 20

    def __post_init__(self) -> None:
        self.space: dict[str, BaseDistribution] = {
            f"x{index}": FloatDistribution(0.0, 1.0) for index in range(10)
        }
        ends = np.linspace(0.0, 1.0, 20001)
        self._best = self._volume([(-first, -self._second(first, 1.0)) for first in ends])

    def configuration_key(self, params: Mapping[str, Any]) -> Hashable:
        return tuple(round(1000 * params[name]) for name in self.space)

    def training(self, params: Mapping[str, Any], seed: int, number: int) -> Training:
        first = params["x0"]
        g = 1.0 + sum(params[f"x{index}"] for index in range(1, 10))  # 9 variables, so the usual factor 9 / 9
        time = float(np.random.default_rng((seed, number)).lognormal(0.0, 0.5))
        return Training([(-first, -self._second(first, g))], time)

    def quality(self, trainings: Sequence[Training]) -> float:
        return self._volume([training.points[-1] for training in trainings]) / self._best

    def _second(self, first: float, g: float) -> float:
        ratio = first / g
        terms = {
            "zdt1": np.sqrt(ratio),
            "zdt2": ratio**2,
            "zdt3": np.sqrt(ratio) + ratio * np.sin(10 * np.pi * first),
        }
        return float(g * (1.0 - terms[self.name]))

    @staticmethod
    def _volume(points: Sequence[Point]) -> float:
        return float(moocore.hypervolume(np.array(points), ref=(-1.1, -11.0), maximise=True))


@dataclass
class Curves:
    """Recorded trainings of each configuration of ``curves.yaml``: both accuracies after every epoch.

    The selected epoch of a training is the one with the largest sum of both accuracies so far. An epoch is
    one unit of the budget; its duration depends on the configuration. The quality is the hypervolume above
    (0, 0), divided by that of all trainings.
    """

    path: Path = CURVES
    name: str = "curves"
    epochs: int = 27
    budget: int = 60 * 27
    population: int = 12
    steps: int = 40

    def __post_init__(self) -> None:
        self.space = distributions(load_space(HERE / "curves.yaml"))
        table = pd.read_csv(self.path, dtype=str, keep_default_na=False)
        times = np.random.default_rng(27).lognormal(0.0, 0.3, size=1 + table["number"].astype(int).max())
        self._trainings = {
            self._key(row): self._recorded(row, float(times[int(row["number"])]))
            for row in table.to_dict("records")
        }
        size = int(np.prod([_size(distribution) for distribution in self.space.values()]))
        if len(self._trainings) != size:
            raise SystemExit(
                f"{self.path} holds {len(self._trainings)} of {size} configurations: run "
                f"benchmarks/record_curves.py"
            )
        self._best = self._volume(
            [training.points[-1] for training in self._trainings.values() if not training.failed]
        )

    def configuration_key(self, params: Mapping[str, Any]) -> Hashable:
        return tuple(sorted(params.items()))

    def training(self, params: Mapping[str, Any], seed: int, number: int) -> Training:  # noqa: ARG002
        return self._trainings[self._key(params)]

    def quality(self, trainings: Sequence[Training]) -> float:
        return self._volume([training.points[-1] for training in trainings]) / self._best

    def _key(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(params[name]) for name in self.space)

    def _recorded(self, row: Mapping[str, str], time: float) -> Training:
        clean, robust = ([int(count) for count in row[name].split()] for name in ("clean", "robust"))
        images, failed = int(row["images"]), bool(row["failure"])
        points: list[Point] = []
        best = (-1, -1)  # the rule best_sum of this project: of equal sums, the higher robust accuracy
        for counts in zip(clean, robust, strict=True):
            best = max(best, counts, key=lambda pair: (sum(pair), pair[1]))
            points.append((best[0] / images, best[1] / images))
        if not failed and len(points) != self.epochs:
            raise SystemExit(
                f"{self.path}: training {row['number']} has {len(points)} of {self.epochs} epochs"
            )
        return Training(points, time, failed)

    @staticmethod
    def _volume(points: Sequence[Point]) -> float:
        return float(moocore.hypervolume(np.array(points), ref=(0.0, 0.0), maximise=True))


def _size(distribution: Any) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return int((distribution.high - distribution.low) // distribution.step) + 1
