"""Searches without trainings: what a training would report is known beforehand, and time is simulated.

Workers take a training each. A training's epochs end one after the other; an epoch counts as spent when it
ends. What still runs when the budget is spent is dropped. A search therefore meets trainings that finish in
another order than they were started.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import moocore
import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from morel_search.config import load_space
from morel_search.search.distributions import distributions

__all__ = ["CURVES", "PROBLEMS", "Curves", "Method", "Problem", "Run", "Training", "Zdt", "simulate"]

HERE = Path(__file__).parent
CURVES = HERE / "curves.csv"

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Training:
    """What a training would report.

    Attributes:
        points: After each epoch, the accuracies that the training stands for so far.
        epoch_time: Simulated time of an epoch.
        failed: Whether it fails after these epochs instead of coming to its end.
    """

    points: Sequence[Point]
    epoch_time: float
    failed: bool = False


class Method(Protocol):
    """A way to search."""

    def ask(self, number: int) -> dict[str, Any]:
        """The configuration of the training of that number."""

    def report(self, number: int, epoch: int, point: Point) -> bool:
        """A training has come to an epoch that is not its last; whether it goes on."""

    def done(self, number: int, point: Point | None) -> None:
        """A training has come to its end, with that point, or failed."""


class Problem(Protocol):
    """What is searched.

    Attributes:
        name: Its name in the table.
        space: Optuna's distributions.
        epochs: Epochs of a whole training.
        budget: Epochs that a search may spend.
        population: Of the genetic methods.
        steps: At how many equidistant shares of the budget the quality is noted.
    """

    name: str
    space: dict[str, BaseDistribution]
    epochs: int
    budget: int
    population: int
    steps: int

    def configuration_key(self, params: Mapping[str, Any]) -> Hashable:
        """Equal for equal configurations."""

    def training(self, params: Mapping[str, Any], seed: int, number: int) -> Training:
        """What a configuration would report."""

    def quality(self, points: Sequence[Point]) -> float:
        """The normalised hypervolume of trainings that came to their end."""


@dataclass(slots=True)
class Run:
    """What a search came to.

    Attributes:
        started: Trainings that were begun.
        finished: Those that came to their end.
        values: The quality at each noted share of the budget.
    """

    started: int = 0
    finished: int = 0
    values: list[float] = field(default_factory=list)


def simulate(problem: Problem, method: Method, workers: int, seed: int) -> Run:
    """One search. The seed decides how long trainings take where the configuration does not.

    The method has its own.
    """
    run = Run()
    events: list[tuple[float, int, int]] = []  # when an epoch ends, the training's number, the epoch
    trainings: dict[int, Training] = {}
    points: list[Point] = []
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
            over = True
            method.done(number, None if training.failed else training.points[-1])
            if not training.failed:
                run.finished += 1
                points.append(training.points[-1])
                quality = problem.quality(points)
        else:
            over = not method.report(number, epoch, training.points[epoch - 1])
        while (
            len(run.values) < problem.steps
            and spent * problem.steps >= (len(run.values) + 1) * problem.budget
        ):
            run.values.append(quality)
        if not over:
            heapq.heappush(events, (now + training.epoch_time, number, epoch + 1))
        elif spent < problem.budget:
            del trainings[number]
            start(now)
    return run


@dataclass
class Zdt:
    """ZDT1 to ZDT3 (Zitzler, Deb and Thiele 2000) in ten variables, negated, so that both objectives are maximised.

    A training is one unit of budget; how long it takes is drawn from (seed, number), the same for all
    methods. The hypervolume is that above (1.1, 11), which no configuration reaches, divided by the true
    front's.
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
        self._best = self._volume([(-one, -self._second(one, 1.0)) for one in ends])

    def configuration_key(self, params: Mapping[str, Any]) -> Hashable:
        return tuple(round(1000 * params[name]) for name in self.space)

    def training(self, params: Mapping[str, Any], seed: int, number: int) -> Training:
        first = params["x0"]
        g = 1.0 + sum(params[f"x{index}"] for index in range(1, 10))  # 9 variables, so the usual factor 9 / 9
        time = float(np.random.default_rng((seed, number)).lognormal(0.0, 0.5))
        return Training([(-first, -self._second(first, g))], time)

    def quality(self, points: Sequence[Point]) -> float:
        return self._volume(points) / self._best

    def _second(self, first: float, g: float) -> float:
        ratio = first / g
        falls = {
            "zdt1": np.sqrt(ratio),
            "zdt2": ratio**2,
            "zdt3": np.sqrt(ratio) + ratio * np.sin(10 * np.pi * first),
        }
        return float(g * (1.0 - falls[self.name]))

    @staticmethod
    def _volume(points: Sequence[Point]) -> float:
        return float(moocore.hypervolume(np.array(points), ref=(-1.1, -11.0), maximise=True))


@dataclass
class Curves:
    """Recorded trainings, each configuration of ``curves.yaml`` once: clean and robust accuracy after every epoch.

    A training stands for its epoch with the largest sum of both so far. An epoch is one unit of budget; how
    long it takes depends on the configuration. The hypervolume is that above (0, 0), divided by that of all
    trainings together.
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
        self._best = self._volume([one.points[-1] for one in self._trainings.values() if not one.failed])

    def configuration_key(self, params: Mapping[str, Any]) -> Hashable:
        return tuple(sorted(params.items()))

    def training(self, params: Mapping[str, Any], seed: int, number: int) -> Training:  # noqa: ARG002
        return self._trainings[self._key(params)]

    def quality(self, points: Sequence[Point]) -> float:
        return self._volume(points) / self._best

    def _key(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(params[name]) for name in self.space)

    def _recorded(self, row: Mapping[str, str], time: float) -> Training:
        clean, robust = ([int(count) for count in row[name].split()] for name in ("clean", "robust"))
        images, failed = int(row["images"]), bool(row["failure"])
        points: list[Point] = []
        best = (-1, -1)  # the project's rule best_sum: of equal sums the more robust epoch
        for both in zip(clean, robust, strict=True):
            best = max(best, both, key=lambda one: (sum(one), one[1]))
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


PROBLEMS: dict[str, Callable[[Path], Problem]] = {
    "zdt1": lambda _: Zdt("zdt1"),
    "zdt2": lambda _: Zdt("zdt2"),
    "zdt3": lambda _: Zdt("zdt3"),
    "curves": Curves,
}
"""Made from the path of the recorded curves."""
