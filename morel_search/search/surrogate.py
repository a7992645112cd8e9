"""A model of the accuracies, learned from all finished trials, in which the children of a proposal evolve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import ndtr

from morel_search.search.distributions import Params, ParamValue
from morel_search.search.optuna_private import UnitCube

__all__ = ["Surrogate", "gains_of"]

Floats = NDArray[np.float64]
Generator = np.random.Generator
Gain = Callable[[Floats], Floats]
"""Function from coordinates, shape (n, coordinates), to expected gains of hypervolume, shape (n,)."""

NEWEST = 400
"""Largest number of trials that the model knows, the newest ones: its time grows with their cube."""

NEWEST_TO_FIT = 200
"""Largest number of trials to which length scales and noise are fitted."""

FIRST_FIT = 10
GROWTH = 1.15
"""Length scales and noise are fitted anew when the number of trials has grown by this factor."""

ITERATIONS = 40
"""Largest number of steps of a fit."""

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


class _Process(Protocol):
    """A Gaussian process of scikit-learn."""

    def fit(self, coordinates: Floats, values: Floats) -> object: ...

    def predict(self, points: Floats, *, return_std: bool) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True, slots=True)
class _Trial:
    """A finished trial.

    Attributes:
        coordinates: Its parameters in the unit cube, shape (coordinates,).
        outputs: What is modelled: objectives by their index, and amounts of violated constraints by name.
        rung: The rung at which it was stopped; infinity for one that ran to its end.
        feasible: Whether it satisfies the constraints.
    """

    coordinates: Floats
    outputs: Mapping[str, float]
    rung: float
    feasible: bool


class Surrogate:
    """Gaussian processes over all finished trials: one for each of two objectives and for each constraint.

    - They learn from trials that were stopped early too. The rung is one more coordinate, so a value at a
      rung is not taken for a value at the end.
    - They have a noise term, because the accuracies depend on the seed of the training. The front is that of
      their expected values, so a training that was lucky does not hide configurations that are as good.
    - Length scales and noise are fitted to the first trials, whose number grows in steps of 15 %. The model
      therefore depends on the trials and their order alone, and a continued search has the same one.

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
        self._trials: list[_Trial] = []
        self._constraints: set[str] = set()
        self._kernels: dict[tuple[str, int], tuple[object, float]] = {}

    def add(
        self,
        params: Params,
        values: Sequence[float],
        *,
        rung: float = math.inf,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Add a finished trial.

        Args:
            params: Optuna's values.
            values: The two objectives, which are maximized.
            rung: The rung at which the trial was stopped, in epochs; infinity for one that ran to its end.
            violations: Name of a constraint to the amount by which it is violated (0 or less: satisfied).
        """
        violations = violations or {}
        self._constraints |= violations.keys()
        outputs = {**{str(index): value for index, value in enumerate(values)}, **violations}
        feasible = all(value <= 0 for value in violations.values())
        self._trials.append(_Trial(self._seen(params), outputs, rung, feasible))

    def best(
        self,
        children: Sequence[Params],
        running: Sequence[Params],
        known: Container[Hashable],
        seed: int,
        generations: int = GENERATIONS,
    ) -> dict[str, ParamValue] | None:
        """Return the best configuration that evolves from children in the model.

        The best one has the largest expected gain of hypervolume. The children are the first generation;
        those that follow are made from the best of all before by crossover and mutation.

        Running trials count with their expected values, as if these were measured. Workers that ask at the
        same time are therefore sent to different places.

        Args:
            children: Configurations to begin with, without parameters of a single value.
            running: Configurations that are being trained.
            known: Keys of the configurations that are not to be returned.
            seed: Random seed of the evolution.
            generations: Number of generations that follow the children.

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
            for index in range(generations + 1):
                new = {self._key(self._fixed | params): params for params in generation}
                new = {key: params for key, params in new.items() if key not in found}
                if new:
                    found |= new
                    raw = np.array([self._cube.transform(params) for params in new.values()])
                    seen = np.array([self._seen(params) for params in new.values()])
                    coordinates, gains = np.concatenate([coordinates, raw]), np.append(gains, gain(seen))
                if index < generations:
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
        models = {name: self._model(name, running) for name in ("0", "1", *sorted(self._constraints))}

        def objectives(points: Floats) -> tuple[Floats, Floats]:
            first, second = (_predict(models[name], points) for name in ("0", "1"))
            return np.column_stack([first[0], second[0]]), np.column_stack([first[1], second[1]])

        ended = [trial.coordinates for trial in self._trials if trial.rung == math.inf and trial.feasible]
        solutions = [*ended[-NEWEST:], *running]
        values = objectives(np.array(solutions))[0] if solutions else np.zeros((0, 2))
        front = values[moocore.is_nondominated(values, maximise=True)] if solutions else values
        front = front[np.argsort(front[:, 0])]
        every = np.array([[trial.outputs["0"], trial.outputs["1"]] for trial in self._trials])
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
                mean, error = _predict(models[name], points)
                chance = ndtr(-mean / np.maximum(error, 1e-12))
                largest = max(abs(trial.outputs.get(name, 0.0)) for trial in self._trials) or 1.0
                expected = expected * chance - 1e-6 * np.maximum(0, mean) / largest
            return expected

        return gain

    def _model(self, output: str, running: Sequence[Floats]) -> _Process:
        """Return the process of an output, which takes its expected values of running trials for measured."""
        from sklearn.gaussian_process import GaussianProcessRegressor

        trials = [trial for trial in self._trials if output in trial.outputs]
        signal, noise = self._kernel(output, trials)
        coordinates, values = self._data(output, trials[-NEWEST:])
        model: _Process = GaussianProcessRegressor(signal, alpha=noise, optimizer=None, normalize_y=True)
        model.fit(coordinates, values)
        if running:
            points = np.array(running)
            expected = _predict(model, points)[0]
            model.fit(np.concatenate([coordinates, _at_the_end(points)]), np.append(values, expected))
        return model

    def _kernel(self, output: str, trials: Sequence[_Trial]) -> tuple[object, float]:
        """Return the kernel with its fitted length scales, and the variance of the noise.

        Both are those of standardised values.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        size = _size_to_fit(len(trials))
        if (output, size) not in self._kernels:
            coordinates, values = self._data(output, trials[:size][-NEWEST_TO_FIT:])
            scales = np.full(coordinates.shape[1], 0.5)
            signal = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(scales, (0.05, 20.0), nu=2.5)
            noisy = signal + WhiteKernel(1e-2, (1e-5, 0.5))
            model = GaussianProcessRegressor(noisy, optimizer=_minimize, normalize_y=True)
            fitted = model.fit(coordinates, values).kernel_
            self._kernels[output, size] = (fitted.k1, float(fitted.k2.noise_level))
        return self._kernels[output, size]

    def _data(self, output: str, trials: Sequence[_Trial]) -> tuple[Floats, Floats]:
        """Return the coordinates of trials, with their rung's, and their values of an output.

        Returns:
            Coordinates, shape (n, coordinates + 1), and values, shape (n,).
        """
        rungs = sorted({trial.rung for trial in self._trials} - {math.inf})
        place = {rung: index / len(rungs) for index, rung in enumerate(rungs)} | {math.inf: 1.0}
        coordinates = [np.append(trial.coordinates, place[trial.rung]) for trial in trials]
        return np.array(coordinates), np.array([trial.outputs[output] for trial in trials])


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


def _predict(model: _Process, points: Floats) -> tuple[Floats, Floats]:
    """Return means and standard deviations, without noise, at the ends of trainings, shape (n,) each."""
    return model.predict(_at_the_end(points), return_std=True)


def _at_the_end(points: Floats) -> Floats:
    return np.column_stack([points, np.ones(len(points))])


def _size_to_fit(count: int) -> int:
    """Return the number of trials to which the model of so many trials is fitted."""
    size = min(count, FIRST_FIT)
    while math.ceil(size * GROWTH) <= count:
        size = math.ceil(size * GROWTH)
    return size


def _minimize(
    function: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: Floats
) -> tuple[Floats, float]:
    """Minimise as scikit-learn's Gaussian process does, in a limited number of steps."""
    from scipy.optimize import minimize

    found = minimize(
        function, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": ITERATIONS}
    )
    return found.x, found.fun
