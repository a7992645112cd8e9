"""A model of the objectives, learned from all finished trials, that chooses one of several children."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from morel_search.search.distributions import Params
from morel_search.search.optuna_private import UnitCube

__all__ = ["Surrogate"]

Floats = NDArray[np.float64]
Generator = np.random.Generator

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
"""Distance of the hypervolume's reference point from the front's worst corner, as a share of its span."""

INACTIVE = 0.5
"""Coordinate of a parameter that is not active: the middle of the unit cube."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A finished trial.

    Attributes:
        coordinates: Its parameters in the unit cube, shape (coordinates,).
        values: Its objectives.
        outputs: What is modelled: objectives by their index, and amounts of violated constraints by name.
        rung: The rung at which it was stopped; infinity for one that ran to its end.
        feasible: Whether it satisfies the constraints.
    """

    coordinates: Floats
    values: tuple[float, ...]
    outputs: Mapping[str, float]
    rung: float
    feasible: bool


class Surrogate:
    """Gaussian processes over all finished trials: one for each objective and one for each constraint.

    - They learn from trials that were stopped early too. The rung is one more coordinate, so a value at a
      rung is not taken for a value at the end.
    - They have a noise term, because the accuracies depend on the seed of the training.
    - Length scales and noise are fitted to the first trials, whose number grows in steps of 15 %. The model
      therefore depends on the trials and their order alone, and a continued search has the same one.

    Args:
        space: Name to distribution of every parameter.
        active: Function from Optuna's values to the names of the active parameters; None means all of them.
            Values of inactive parameters are ignored.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        active: Callable[[Params], Collection[str]] | None = None,
    ) -> None:
        varied = {name: distribution for name, distribution in space.items() if not distribution.single()}
        self._cube = UnitCube(varied)
        self._names = np.repeat(
            list(varied),
            [len(UnitCube({name: distribution}).bounds) for name, distribution in varied.items()],
        )
        self._active = active
        self._trials: list[_Trial] = []
        self._constraints: set[str] = set()
        self._kernels: dict[tuple[str, int], tuple[Any, float]] = {}

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
            values: The objectives, which are maximized.
            rung: The rung at which the trial was stopped, in epochs; infinity for one that ran to its end.
            violations: Name of a constraint to the amount by which it is violated (0 or less: satisfied).
        """
        violations = violations or {}
        self._constraints |= violations.keys()
        outputs = {**{str(index): value for index, value in enumerate(values)}, **violations}
        feasible = all(value <= 0 for value in violations.values())
        self._trials.append(_Trial(self._coordinates(params), tuple(values), outputs, rung, feasible))

    def choose(self, children: Sequence[Params], running: Sequence[Params], seed: int) -> int:
        """Return the index of the child with the largest gain of hypervolume.

        The objectives of the children are drawn from the model (Thompson sampling), so workers that ask at
        the same time receive different children. Those of the running trials are drawn too, and count as
        known: a child gains nothing by repeating them.

        Args:
            children: Configurations to choose from, at least one.
            running: Configurations that are being trained.
            seed: Random seed of the draw.
        """
        from threadpoolctl import threadpool_limits  # comes with scikit-learn

        count = len(children)
        points = np.array([self._coordinates(params) for params in (*children, *running)])
        objectives = [str(index) for index in range(len(self._trials[0].values))]
        draws = len(objectives) + len(self._constraints) + 1
        seeds = iter(np.random.SeedSequence(seed).generate_state(draws))
        with threadpool_limits(1):  # the other cores train; and any number of cores gives the same numbers
            drawn = np.column_stack([self._draw(points, name, next(seeds)) for name in objectives])
            violated = np.zeros(len(points))
            for name in sorted(self._constraints):
                violated += np.maximum(0.0, self._draw(points, name, next(seeds)))
        ended = [trial.values for trial in self._trials if trial.rung == math.inf and trial.feasible]
        expected = drawn[count:][violated[count:] == 0]
        known = np.concatenate([np.array(ended).reshape(-1, len(objectives)), expected])
        feasible = np.flatnonzero(violated[:count] == 0)
        if not len(feasible):
            return int(violated[:count].argmin())
        return int(feasible[_largest_gain(known, drawn[feasible], np.random.default_rng(next(seeds)))])

    def _coordinates(self, params: Params) -> Floats:
        coordinates = self._cube.transform({name: params[name] for name in dict.fromkeys(self._names)})
        if self._active is not None:
            coordinates[~np.isin(self._names, list(self._active(params)))] = INACTIVE
        return coordinates

    def _draw(self, points: Floats, output: str, seed: int) -> Floats:
        """Draw the values of configurations at the end of their trainings, without noise, shape (points,)."""
        from sklearn.gaussian_process import GaussianProcessRegressor

        known = [trial for trial in self._trials if output in trial.outputs]
        signal, noise = self._kernel(output, known)
        model = GaussianProcessRegressor(signal, alpha=noise, optimizer=None, normalize_y=True)
        model.fit(*self._data(output, known[-NEWEST:]))
        draws: Floats = model.sample_y(np.column_stack([points, np.ones(len(points))]), random_state=seed)
        return draws[:, 0]

    def _kernel(self, output: str, known: Sequence[_Trial]) -> tuple[Any, float]:
        """Return the kernel with its fitted length scales, and the variance of the noise.

        Both are those of standardised values.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        size = _size_to_fit(len(known))
        if (output, size) not in self._kernels:
            coordinates, values = self._data(output, known[:size][-NEWEST_TO_FIT:])
            scales = np.full(coordinates.shape[1], 0.5)
            signal = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(scales, (0.05, 20.0), nu=2.5)
            noisy = signal + WhiteKernel(1e-2, (1e-5, 0.5))
            model = GaussianProcessRegressor(noisy, optimizer=_minimize, normalize_y=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a length scale at its bound: the parameter has no effect
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


def _size_to_fit(count: int) -> int:
    """Return the number of trials to which the model of so many trials is fitted."""
    size = min(count, FIRST_FIT)
    while math.ceil(size * GROWTH) <= count:
        size = math.ceil(size * GROWTH)
    return size


def _minimize(function: Any, start: Floats, bounds: Floats) -> tuple[Floats, float]:
    """Minimise as scikit-learn's Gaussian process does, in a limited number of steps."""
    from scipy.optimize import minimize

    found = minimize(
        function, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": ITERATIONS}
    )
    return found.x, found.fun


def _largest_gain(known: Floats, drawn: Floats, rng: Generator) -> int:
    """Return the index of the drawn point that adds most hypervolume to the known ones.

    The reference point lies a little outside the corner of the front's two ends. If no point adds any, one of
    the best rank is chosen at random.

    Args:
        known: Objectives of known solutions, shape (k, m).
        drawn: Objectives of candidates, shape (n, m).
        rng: Random generator.
    """
    both = np.concatenate([known, drawn])
    front = known[moocore.is_nondominated(known, maximise=True)] if len(known) else drawn
    span = front.max(axis=0) - front.min(axis=0)
    reference = front.min(axis=0) - MARGIN * span - 1e-3 * np.ptp(both, axis=0) - 1e-12
    front = front if len(known) else known

    def volume(points: Floats) -> float:
        inside = points[(points > reference).all(axis=1)]
        return float(moocore.hypervolume(inside, ref=reference, maximise=True)) if len(inside) else 0.0

    gains = np.array([volume(np.concatenate([front, point[None]])) for point in drawn]) - volume(front)
    if gains.max() > 0:
        return int(gains.argmax())
    ranks = moocore.pareto_rank(drawn, maximise=True)
    return int(rng.choice(np.flatnonzero(ranks == ranks.min())))
