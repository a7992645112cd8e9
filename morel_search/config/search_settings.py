"""Settings of the search: sampler, early stopping, resources of one training, verification."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from morel_search._values import JsonValue
from morel_search.training.limits import check_limits, setting

__all__ = ["EarlyStoppingSettings", "ResourceSettings", "SearchSettings", "VerifySettings"]

SMALLEST_SHARE = 0.01
"""Smallest share of a processor core or of a GPU; Ray counts shares of 0.0001, and each training is a process
with its own copy of torch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Sampler, budget and limits of the search."""

    trials: int = setting(
        100,
        doc="number of trainings that the search proposes; controls and enqueued trials come on top",
        ge=1,
    )
    sampler: Literal["nsga2", "nsga3", "tpe", "random", "gp"] = setting(
        "nsga2", doc="sampler that proposes configurations: nsga2, nsga3, tpe, random or gp"
    )
    population: int = setting(
        20, doc="nsga2, nsga3: population size; tpe, gp: number of random trainings at the start", ge=2
    )
    children: int = setting(
        64,
        doc="nsga2, nsga3: number of children of a proposal; they evolve in a model (Gaussian processes of "
        "all finished trainings), and the best in it is trained. The model and TPE take turns with NSGA-II; "
        "1 means NSGA-II alone",
        ge=1,
        le=1000,
    )
    crossover: Literal["sbx", "uniform", "blxalpha", "vsbx", "undx", "spx"] = setting(
        "sbx", doc="nsga2, nsga3: crossover operator: sbx, uniform, blxalpha, vsbx, undx or spx"
    )
    crossover_prob: float = setting(
        1.0, doc="nsga2, nsga3: probability that a child has two parents instead of one", ge=0, le=1
    )
    swapping_prob: float = setting(
        0.5, doc="nsga2, nsga3: probability that a parameter is taken from the other parent", ge=0, le=1
    )
    mutation: Literal["polynomial", "uniform"] = setting(
        "polynomial",
        doc="nsga2, nsga3: mutation operator: polynomial (small changes) or uniform (a new random value)",
    )
    mutation_prob: float | None = setting(
        None,
        doc="nsga2, nsga3: probability that a parameter is mutated; null means 1 / number of parameters",
        ge=0,
        le=1,
    )
    seed: int = setting(
        0, doc="random seed of the search; the seeds of all trainings are derived from it", ge=0, le=2**32 - 1
    )
    select_epoch: Literal["last", "best_robust", "best_sum", "front"] = setting(
        "best_sum",
        doc="epoch selection rule, on validation accuracies: last, best_robust, best_sum (clean + "
        "robust), or front (every epoch that no other epoch of the training dominates)",
    )
    warmup: Literal["tpe", "sobol", "random"] = setting(
        "tpe",
        doc="nsga2, nsga3: sampler of the first trainings: tpe (learns from the first ten), sobol (covers "
        "the space evenly) or random",
    )
    warmup_trials: int | None = setting(
        None,
        doc="nsga2, nsga3: minimum number of trainings of the warm-up, which in any case lasts until a "
        "population has finished; null means no minimum, but for tpe with children: 1 two fifths of trials, "
        "at most 80",
        ge=1,
    )
    start_from: str | list[JsonValue] | None = setting(
        None,
        doc="configurations to train first, on top of trials: a list of mappings of parameters to "
        "values, or the folder of a run whose front is taken",
        values="list of mappings, text, or null",
    )
    max_hours: float | None = setting(
        None, doc="stop after this many hours; the hours before a resume count", gt=0
    )
    max_gpu_hours: float | None = setting(
        None, doc="stop after this many GPU-hours: hours of training x resources.gpu", gt=0
    )
    max_epoch_minutes: float | None = setting(
        None,
        doc="time limit of one epoch, in minutes; a training that exceeds it is restarted once from its last "
        "checkpoint on a new worker, and fails the second time. null means 50 times the slowest epoch "
        "measured so far, at least 30 minutes; 6 hours before any epoch is measured",
        gt=0,
    )
    patience: int | None = setting(
        None,
        doc="stop if this many trainings in a row do not raise the hypervolume by min_improvement",
        ge=1,
    )
    min_improvement: float = setting(
        0.001, doc="smallest rise of the hypervolume that patience counts as an improvement", ge=0
    )
    max_failures: int = setting(5, doc="stop if this many trainings in a row fail", ge=1)

    @property
    def is_genetic(self) -> bool:
        """Whether the sampler is a genetic one, which has a population, operators and a warm-up."""
        return self.sampler in ("nsga2", "nsga3")

    @property
    def least_warmup(self) -> int:
        """The least number of trials that the sampler of the warm-up proposes; 0 without a minimum."""
        if not self.is_genetic:
            return 0
        if self.warmup_trials is not None:
            return self.warmup_trials
        return min(80, 2 * self.trials // 5) if self.warmup == "tpe" and self.children == 1 else 0

    def __post_init__(self) -> None:
        check_limits(self)
        parents = 3 if self.crossover in ("undx", "spx") else 2
        if self.population < parents:
            raise ValueError(
                f"population must be >= {parents} for {self.crossover}, which takes {parents} parents, "
                f"got {self.population}"
            )


GRACE = 9
"""The first rung lies after 1 / GRACE of the epochs, if ``early_stopping.grace`` is null. Earlier rungs
predict the end too badly on the shipped space of the digits (benchmarks/early_stopping.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStoppingSettings:
    """Early stopping of trainings by asynchronous successive halving."""

    enabled: bool = setting(True, doc="stop trainings early that rank low in both accuracies at a rung")
    keep: Fraction | None = setting(
        Fraction(3, 5),
        doc="share of the trainings that continue at each rung, the best ones; null means 1 / eta, which "
        "is successive halving",
        gt=0,
        lt=1,
    )
    grace: int | None = setting(
        None, doc="epochs of the first rung; null means a ninth of all epochs, rounded", ge=1
    )
    eta: int = setting(3, doc="each rung has eta times the epochs of the one before", ge=2)
    rungs: int | None = setting(
        2, doc="maximum number of rungs; null means every rung below the last epoch", ge=1
    )
    min_peers: int = setting(
        3, doc="number of trainings that a rung must have seen before it stops one, at least 1 / keep", ge=2
    )
    ranking: Literal["crowding", "epsilon_net"] = setting(
        "crowding",
        doc="order within one non-dominated front of a rung: crowding (crowding distance) or "
        "epsilon_net (farthest point first)",
    )
    run_through: float = setting(
        0.05,
        doc="share of the trainings that are never stopped, to measure what early stopping loses",
        ge=0,
        le=1,
    )

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def share(self) -> Fraction:
        """Share of the trainings that continue at a rung; 1 without early stopping."""
        if not self.enabled:
            return Fraction(1)
        return Fraction(1, self.eta) if self.keep is None else self.keep

    def levels(self, epochs: int) -> tuple[int, ...]:
        """Return the rungs: the epochs after which trials are compared, grace x eta^k below the last epoch.

        Args:
            epochs: Number of epochs of a training.
        """
        level, levels = self.grace or max(1, round(epochs / GRACE)), list[int]()
        while self.enabled and level < epochs and (self.rungs is None or len(levels) < self.rungs):
            levels.append(level)
            level *= self.eta
        return tuple(levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """Resources that one training occupies."""

    cpu: float = setting(
        1.0, doc="CPU cores of one training: a whole number, or a fraction below 1", ge=SMALLEST_SHARE
    )
    gpu: float = setting(
        0.0,
        doc="GPUs of one training: 0, a fraction of at least 0.01 (with 0.25, four trainings share a GPU), "
        "or a whole number",
        ge=0,
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", doc="device of a training: cpu, cuda, mps, or auto (cuda if gpu is above 0, else cpu)"
    )
    concurrent: int | None = setting(
        None, doc="maximum number of trainings at the same time; null means as many as fit", ge=1
    )

    def __post_init__(self) -> None:
        check_limits(self)
        for name, value in (("cpu", self.cpu), ("gpu", self.gpu)):
            if value > 1 and value != int(value):
                raise ValueError(f"{name} must be a whole number, or a fraction below 1, got {value:g}")
        if 0 < self.gpu < SMALLEST_SHARE:
            raise ValueError(f"gpu must be 0, or at least {SMALLEST_SHARE}, got {self.gpu:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """Verification of the front and the controls on the test split, after the search."""

    enabled: bool = setting(
        True,
        doc="verify the front at the end of a search; python -m morel_search.verify verifies at any time",
    )
    minutes: float | None = setting(
        None,
        doc="time limit of the verification at the end of a search, in minutes; null means a quarter "
        "of the search's time, at least two minutes",
        gt=0,
    )
    images: int | None = setting(None, doc="number of test images; null means all", ge=1)
    seed: int = setting(
        0, doc="random seed of the attacks and of the order of the images", ge=0, le=2**32 - 1
    )
    replicates: int = setting(
        0,
        doc="number of times that each network of the front and each control is trained again with "
        "another random seed",
        ge=0,
    )

    def __post_init__(self) -> None:
        check_limits(self)
