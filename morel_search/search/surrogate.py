"""A model of the accuracies, learned from all finished trials, in which the children of a proposal evolve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Container, Hashable, Mapping, Sequence

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import ndtr

from morel_search.search.distributions import Params, ParamValue
from morel_search.search.gaussian_process import NEWEST, FinishedTrial, TrialProcesses, predict
from morel_search.search.optuna_private import UnitCube

__all__ = ["Surrogate", "gains_of"]

Floats = NDArray[np.float64]
Generator = np.random.Generator
Gain = Callable[[Floats], Floats]
"""Function from coordinates, shape (n, coordinates), to expected gains of hypervolume, shape (n,)."""

MARGIN = 0.1
"""Distance of the hypervolume's reference point from the worst values, as a share of the span of all."""

DRAWS = 16
"""Pairs of draws from the model over which a gain is averaged."""

GENERATIONS = 10
"""Generations that follow the children, judged by the model alone."""

PARENTS = 20
"""Number of the best configurations whose children are the next of these generations."""

INACTIVE = 0.5
"""Coordinate of a parameter that is not active: the middle of the unit cube."""


class Surrogate:
    """Proposes configurations by the Gaussian processes of two objectives and of each constraint.

    The processes have a noise term, because the accuracies depend on the seed of the training. The front is
    that of their expected values, so a training that was lucky does not hide configurations that are as good.

    Args:
        space: Name to distribution of every parameter.
        configuration_key: Function from Optuna's values to a key that is equal for equal configurations.
        active: Function from Optuna's values to the names of the active parameters; None means all of them.
            The model ignores values of inactive parameters.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        configuration_key: Callable[[Params], Hashable],
        active: Callable[[Params], Collection[str]] | None = None,
    ) -> None:
        varied = {name: distribution for name, distribution in space.items() if not distribution.single()}
        self._fixed = {
            name: _only_value(distribution) for name, distribution in space.items() if distribution.single()
        }
        self._cube, self._names = UnitCube(varied), list(varied)
        widths = [len(UnitCube({name: distribution}).bounds) for name, distribution in varied.items()]
        self._column = np.repeat(np.arange(len(varied)), widths)
        self._numeric = np.array(widths) == 1
        self._key, self._active = configuration_key, active
        self._processes = TrialProcesses()
        self._constraints: set[str] = set()

    def add(
        self,
        params: Params,
        values: Sequence[float],
        *,
        rung: float = math.inf,
        violations: Mapping[str, float] | None = None,
        earlier: Mapping[int, Sequence[float]] | None = None,
    ) -> None:
        """Add a finished trial.

        Args:
            params: Optuna's values.
            values: The two objectives, which are maximized.
            rung: The rung at which the trial was stopped, in epochs; infinity for one that ran to its end.
            violations: Name of a constraint to the amount by which it is violated (0 or less: satisfied).
            earlier: The rungs before that it reached, in epochs, and the objectives there.
        """
        violations = violations or {}
        self._constraints |= violations.keys()
        outputs = {**{str(index): value for index, value in enumerate(values)}, **violations}
        feasible = all(value <= 0 for value in violations.values())
        at_rungs = {
            level: {str(index): value for index, value in enumerate(objectives)}
            for level, objectives in (earlier or {}).items()
        }
        self._processes.trials.append(FinishedTrial(self._seen(params), outputs, rung, feasible, at_rungs))

    def best(
        self,
        children: Sequence[Params],
        running: Sequence[Params],
        known: Container[Hashable],
        seed: int,
    ) -> dict[str, ParamValue] | None:
        """Return the best configuration that evolves from children in the model.

        The best one has the largest expected gain of hypervolume. The children are the first generation;
        the :data:`GENERATIONS` that follow are made from the best of all before by crossover and
        mutation.

        Running trials count with their expected values, as if these were measured. Workers that ask at the
        same time are therefore sent to different places.

        Args:
            children: Configurations to begin with, without parameters of a single value.
            running: Configurations that are being trained.
            known: Keys of the configurations that are not to be returned.
            seed: Random seed of the evolution.

        Returns:
            The configuration, without parameters of a single value; None if everything that was found is
            known.
        """
        from threadpoolctl import threadpool_limits  # scikit-learn's

        rng = np.random.default_rng(seed)
        found: dict[Hashable, dict[str, ParamValue]] = {}
        coordinates, gains = np.zeros((0, len(self._column))), np.zeros(0)
        generation = [dict(child) for child in children]
        # One thread: the other cores train, and any number of cores gives the same numbers.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a variance that is 0, or minus a rounding error
            gain = self._gain([self._seen(params) for params in running], rng)
            for index in range(GENERATIONS + 1):
                new = {self._key(self._fixed | params): params for params in generation}
                new = {key: params for key, params in new.items() if key not in found}
                if new:
                    found |= new
                    raw = np.array([self._cube.transform(params) for params in new.values()])
                    seen = np.array([self._seen(params) for params in new.values()])
                    coordinates, gains = np.concatenate([coordinates, raw]), np.append(gains, gain(seen))
                if index < GENERATIONS:
                    best = coordinates[np.argsort(-gains, kind="stable")[:PARENTS]]
                    generation = [
                        self._cube.untransform(child) for child in self._vary(best, len(children), rng)
                    ]
        order = np.argsort(-gains, kind="stable")
        every = list(found.items())
        configurations = [every[index] for index in order]
        return next((params for key, params in configurations if key not in known), None)

    def _seen(self, params: Params) -> Floats:
        """Return the coordinates that the model sees, shape (coordinates,)."""
        coordinates = self._cube.transform({name: params[name] for name in self._names})
        if self._active is not None:
            active = self._active(self._fixed | dict(params))
            seen = np.array([name in active for name in self._names])[self._column]
            coordinates = np.where(seen, coordinates, INACTIVE)
        return coordinates

    def _vary(self, parents: Floats, count: int, rng: Generator) -> Floats:
        """Return children of configurations, as coordinates, shape (count, coordinates).

        A numeric parameter of a child is that of one parent or, in every second child, lies on the line
        through both (BLX-0.25); a categorical one is that of one parent. One parameter of a child is mutated
        on average: a numeric one by a normal number whose scale is drawn between 0.001 and 0.3 of the range.
        """
        size = (count, len(self._names))
        first, second = (parents[rng.integers(len(parents), size=count)] for _ in range(2))
        blended = rng.random((count, 1)) < 0.5
        share = np.where(self._numeric & blended, rng.uniform(-0.25, 1.25, size), np.round(rng.random(size)))
        children = first + share[:, self._column] * (second - first)
        mutated = rng.random(size) < 1 / len(self._names)
        steps = 10 ** rng.uniform(-3.0, -0.5, size) * rng.normal(size=size)
        children += np.where(mutated & self._numeric, steps, 0.0)[:, self._column]
        other_choice = (mutated & ~self._numeric)[:, self._column]
        return np.clip(np.where(other_choice, rng.random(children.shape), children), 0.0, 1.0)

    def _gain(self, running: Sequence[Floats], rng: Generator) -> Gain:
        """Return the function that gives the expected gain of hypervolume of configurations.

        It is averaged over antithetic draws. A small part of it prefers, where no draw gains anything, the
        configuration whose expected values are nearest to the front; and of those that probably violate
        constraints, the one that violates them least.
        """
        trials = self._processes.trials
        models = {
            name: self._processes.process(name, running) for name in ("0", "1", *sorted(self._constraints))
        }

        def objectives(points: Floats) -> tuple[Floats, Floats]:
            first, second = (predict(models[name], points) for name in ("0", "1"))
            return np.column_stack([first[0], second[0]]), np.column_stack([first[1], second[1]])

        ended = [trial.coordinates for trial in trials if trial.rung == math.inf and trial.feasible]
        solutions = [*ended[-NEWEST:], *running]
        values = objectives(np.array(solutions))[0] if solutions else np.zeros((0, 2))
        front = values[moocore.is_nondominated(values, maximise=True)] if solutions else values
        front = front[np.argsort(front[:, 0])]
        every = np.array([[trial.outputs["0"], trial.outputs["1"]] for trial in trials])
        reference = every.min(axis=0) - MARGIN * np.ptp(every, axis=0) - 1e-12
        draws = rng.normal(size=(DRAWS, 2))
        draws = np.concatenate([draws, -draws])

        def gain(points: Floats) -> Floats:
            means, errors = objectives(points)
            drawn = means[:, None] + errors[:, None] * draws
            expected: Floats = gains_of(front, reference, drawn).mean(axis=1)
            if len(front):
                expected -= 1e-9 * np.maximum(0, front - means[:, None]).max(axis=2).min(axis=1)
            for name in sorted(self._constraints):
                mean, error = predict(models[name], points)
                chance = ndtr(-mean / np.maximum(error, 1e-12))
                largest = max(abs(trial.outputs.get(name, 0.0)) for trial in trials) or 1.0
                expected = expected * chance - 1e-6 * np.maximum(0, mean) / largest
            return expected

        return gain


def _only_value(distribution: BaseDistribution) -> ParamValue:
    """Return the value of a distribution that has a single one."""
    if isinstance(distribution, CategoricalDistribution):
        choice: ParamValue = distribution.choices[0]
        return choice
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return distribution.low


def gains_of(front: Floats, reference: Floats, points: Floats) -> Floats:
    """Return the hypervolume that each point alone adds to a front of two maximized objectives.

    Args:
        front: Non-dominated points in the rising order of the first objective, shape (k, 2).
        reference: Reference point, shape (2,).
        points: Points, shape (..., 2).

    Returns:
        The gains, shape (...).
    """
    first, second = points[..., :1], points[..., 1:]
    # Between two neighbours of the front, the height of the dominated region is that of the right one.
    begins = np.maximum(reference[0], np.append(-np.inf, front[:, 0]))
    ends = np.append(front[:, 0], np.inf)
    heights = np.maximum(reference[1], np.append(front[:, 1], -np.inf))
    widths = np.maximum(0, np.minimum(first, ends) - begins)
    gains: Floats = (widths * np.maximum(0, second - heights)).sum(axis=-1)
    return gains
