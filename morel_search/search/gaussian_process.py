"""Gaussian processes of the objectives and the violated constraints, learned from all finished trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEWEST", "FinishedTrial", "Process", "TrialProcesses", "predict"]

Floats = NDArray[np.float64]

NEWEST = 400
"""Largest number of trials that a process knows, the newest ones: its time grows with their cube."""

NEWEST_TO_FIT = 200
"""Largest number of trials to which length scales and noise are fitted."""

FIRST_FIT = 10
GROWTH = 1.15
"""Length scales and noise are fitted anew when the number of trials has grown by this factor."""

ITERATIONS = 40
"""Largest number of steps of a fit."""


class Process(Protocol):
    """A Gaussian process of scikit-learn."""

    def fit(self, coordinates: Floats, values: Floats) -> object:
        """Condition the process on values."""

    def predict(self, points: Floats, *, return_std: bool) -> tuple[Floats, Floats]:
        """Return means and standard deviations."""


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """A finished trial, as the processes see it.

    Attributes:
        coordinates: Its parameters in the unit cube, shape (coordinates,).
        outputs: What is modelled: objectives by their index, and amounts of violated constraints by name.
        rung: The rung at which it was stopped, in epochs; infinity for one that ran to its end.
        feasible: Whether it satisfies the constraints.
        earlier: The rungs before that it reached, in epochs, and its outputs there.
    """

    coordinates: Floats
    outputs: Mapping[str, float]
    rung: float
    feasible: bool
    earlier: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


class TrialProcesses:
    """A Gaussian process for each output of the finished trials.

    - Trials that were stopped early are learned from too, and the others also at the rungs that they passed.
      The rung is one more coordinate, so a value at a rung is not taken for a value at the end.
    - Length scales and noise are fitted to the first trials, whose number grows in steps of 15 %. The
      processes therefore depend on the trials and their order alone, and a continued search has the same.

    Attributes:
        trials: The finished trials, in the order in which they were added.
    """

    def __init__(self) -> None:
        self.trials: list[FinishedTrial] = []
        self._kernels: dict[tuple[str, int], tuple[object, float]] = {}

    def process(self, output: str, running: Sequence[Floats]) -> Process:
        """Return the process of an output, which takes its expected values of running trials for measured.

        Args:
            output: Name of the output; at least one trial has it.
            running: Coordinates of the running trials, shape (coordinates,) each.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor

        trials = [trial for trial in self.trials if output in trial.outputs]
        signal, noise = self._kernel(output, trials)
        coordinates, values = _data(output, trials[-NEWEST:], self.trials)
        process: Process = GaussianProcessRegressor(signal, alpha=noise, optimizer=None, normalize_y=True)
        process.fit(coordinates, values)
        if running:
            points = np.array(running)
            expected = predict(process, points)[0]
            process.fit(np.concatenate([coordinates, _at_the_end(points)]), np.append(values, expected))
        return process

    def _kernel(self, output: str, trials: Sequence[FinishedTrial]) -> tuple[object, float]:
        """Return the kernel with its fitted length scales, and the variance of the noise.

        Both are those of standardised values.
        """
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        size = _size_to_fit(len(trials))
        if (output, size) not in self._kernels:
            first = trials[:size]
            coordinates, values = _data(output, first[-NEWEST_TO_FIT:], first)
            scales = np.full(coordinates.shape[1], 0.5)
            signal = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(scales, (0.05, 20.0), nu=2.5)
            noisy = signal + WhiteKernel(1e-2, (1e-5, 0.5))
            process = GaussianProcessRegressor(noisy, optimizer=_minimize, normalize_y=True)
            fitted = process.fit(coordinates, values).kernel_
            self._kernels[output, size] = (fitted.k1, float(fitted.k2.noise_level))
        return self._kernels[output, size]


def predict(process: Process, points: Floats) -> tuple[Floats, Floats]:
    """Return means and standard deviations, without noise, at the ends of trainings, shape (n,) each."""
    return process.predict(_at_the_end(points), return_std=True)


def _data(
    output: str, trials: Sequence[FinishedTrial], among: Sequence[FinishedTrial]
) -> tuple[Floats, Floats]:
    """Return the coordinates of trials, with their rung's, and their values of an output.

    Args:
        output: Name of the output.
        trials: The trials, which have it.
        among: The trials whose rungs are known: their order is the coordinate of a rung, between 0 and 1.

    Returns:
        Coordinates, shape (n, coordinates + 1), and values, shape (n,).
    """
    rungs = sorted({rung for trial in among for rung in (trial.rung, *trial.earlier)} - {math.inf})
    place = {rung: index / len(rungs) for index, rung in enumerate(rungs)} | {math.inf: 1.0}
    rows = [
        (np.append(trial.coordinates, place[rung]), outputs[output])
        for trial in trials
        for rung, outputs in (*trial.earlier.items(), (trial.rung, trial.outputs))
        if output in outputs
    ]
    return np.array([coordinates for coordinates, _ in rows]), np.array([value for _, value in rows])


def _at_the_end(points: Floats) -> Floats:
    return np.column_stack([points, np.ones(len(points))])


def _size_to_fit(count: int) -> int:
    """Return how many of the first trials length scales and noise are fitted to."""
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
