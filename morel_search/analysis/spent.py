"""What the trainings of a run cost: trainings, epochs, core-hours and GPU-hours."""

from __future__ import annotations

from dataclasses import dataclass

from morel_search._format import number_of
from morel_search.analysis.run_data import RunData

__all__ = ["HOUR", "Spent", "hours_of_training", "spent"]

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Spent:
    """The cost of all trials of a run, controls, stopped and failed trials included.

    Attributes:
        trainings: Number of trials that trained at least one epoch.
        complete: Number of them that ran to their end with a result.
        stopped: Number of them that were stopped early.
        failed: Number of trials that failed, before or after their first epoch.
        epochs: Number of all their epochs.
        core_hours: Hours of training times the processor cores of one training (``resources.cpu``).
        gpu_hours: Hours of training times the GPUs of one training (``resources.gpu``).
    """

    trainings: int
    complete: int
    stopped: int
    failed: int
    epochs: int
    core_hours: float
    gpu_hours: float


def spent(run_data: RunData) -> Spent:
    """Compute the cost of a run from its trials; replicates and the verification are not part of it."""
    trials = run_data.trials
    hours = float(trials["seconds"].sum()) / HOUR
    cores, gpus = hours_of_training(run_data)
    return Spent(
        trainings=int((trials["epochs"].fillna(0) > 0).sum()),
        complete=len(run_data.complete),
        stopped=len(run_data.stopped),
        failed=len(run_data.failed),
        epochs=int(trials["epochs"].fillna(0).sum()),
        core_hours=hours * cores,
        gpu_hours=hours * gpus,
    )


def hours_of_training(run_data: RunData) -> tuple[float, float]:
    """Return the core-hours and the GPU-hours of an hour of training; by default one core."""
    resources = run_data.section("resources")
    cores, gpus = number_of(resources.get("cpu", 1)), number_of(resources.get("gpu", 0))
    return 1.0 if cores is None else cores, 0.0 if gpus is None else gpus
