"""The settings of the search itself: who proposes, who is stopped early, what one training occupies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from morel_search.training.settings import check_limits, setting

__all__ = ["EarlyStoppingSettings", "ResourceSettings", "SearchSettings", "VerifySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How the next trainings are chosen, and how many."""

    trials: int = setting(100, doc="trainings that the search proposes (the controls come on top)", ge=1)
    sampler: Literal["nsga2", "nsga3", "tpe", "random", "gp"] = setting(
        "nsga2", doc="who proposes: nsga2, nsga3, tpe, random, gp"
    )
    population: int = setting(
        20, doc="nsga2, nsga3: trainings in a generation; tpe, gp: random trainings to begin with", ge=2
    )
    crossover: Literal["sbx", "uniform", "blxalpha", "vsbx", "undx", "spx"] = setting(
        "sbx", doc="nsga2, nsga3: how two parents are mixed: sbx, uniform, blxalpha, vsbx, undx, spx"
    )
    crossover_prob: float = setting(
        1.0, doc="nsga2, nsga3: probability that a child has two parents instead of one", ge=0, le=1
    )
    swapping_prob: float = setting(
        0.5, doc="nsga2, nsga3: probability that a parameter comes from the other parent", ge=0, le=1
    )
    mutation: Literal["polynomial", "uniform"] = setting(
        "polynomial", doc="nsga2, nsga3: polynomial (small changes) or uniform (a value drawn anew)"
    )
    mutation_prob: float | None = setting(
        None,
        doc="nsga2, nsga3: probability that a parameter is mutated; null means 1 / number of parameters",
        ge=0,
        le=1,
    )
    seed: int = setting(0, doc="seed of the search and of every training", ge=0, le=2**32 - 1)
    select_epoch: Literal["last", "best_robust", "best_sum", "front"] = setting(
        "best_sum",
        doc="which epoch a training stands for, on the validation split: last, best_robust, best_sum (clean + robust), "
        "or front (each epoch that no other of the training dominates)",
    )
    warmup: Literal["sobol", "random", "tpe"] = setting(
        "sobol",
        doc="nsga2, nsga3: who proposes until there is a population: sobol (spread evenly), random, tpe",
    )
    warmup_trials: int | None = setting(
        None,
        doc="nsga2, nsga3: so many trainings belong to the warm-up at the least; null means 4 x population for tpe, else the population",
        ge=1,
    )
    start_from: str | list[Any] | None = setting(
        None,
        doc="configurations to begin with, on top of trials: mappings of parameters to values, or the folder of a run whose front is taken",
        values="list of mappings, text, or null",
    )
    max_hours: float | None = setting(
        None, doc="stop after so many hours, those of earlier starts counted", gt=0
    )
    max_gpu_hours: float | None = setting(
        None, doc="stop after so many hours of training x resources.gpu", gt=0
    )
    patience: int | None = setting(
        None,
        doc="stop when so many trainings in a row did not raise the hypervolume by min_improvement",
        ge=1,
    )
    min_improvement: float = setting(
        0.001, doc="patience: the least rise of the hypervolume that counts", ge=0
    )
    max_failures: int = setting(5, doc="stop when so many trainings in a row fail", ge=1)

    def __post_init__(self) -> None:
        check_limits(self)
        parents = 3 if self.crossover in ("undx", "spx") else 2
        if self.population < parents:
            raise ValueError(
                f"population must be >= {parents} for {self.crossover}, which mixes {parents} parents, got {self.population}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStoppingSettings:
    """Which trainings are not trained to their end."""

    enabled: bool = setting(True, doc="whether trainings that are behind are stopped")
    eta: int = setting(
        3,
        doc="one in so many goes on at each rung, and each rung lies at so many times the epochs of the one before",
        ge=2,
    )
    grace: int | None = setting(None, doc="epochs before the first rung; null means epochs / eta^2", ge=1)
    rungs: int | None = setting(None, doc="rungs at most; null means all below the last epoch", ge=1)
    min_peers: int | None = setting(
        None, doc="trainings that a rung has seen before it stops one, at least eta; null means eta", ge=1
    )
    ranking: Literal["crowding", "epsilon_net"] = setting(
        "crowding",
        doc="who is ahead inside a rung's front: crowding (distance), epsilon_net (farthest first)",
    )
    run_through: float = setting(
        0.05,
        doc="share of the trainings that run to the end regardless, to measure what stopping costs",
        ge=0,
        le=1,
    )

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """What one training occupies."""

    cpu: float = setting(1.0, doc="CPU cores of a training: a whole number, or a fraction below 1", gt=0)
    gpu: float = setting(
        0.0, doc="GPUs of a training: 0, a fraction (0.25: four share one), or a whole number", ge=0
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", doc="where a training computes: cpu, cuda, mps, or auto (cuda where gpu is above 0, else cpu)"
    )
    concurrent: int | None = setting(None, doc="trainings at the same time; null means as many as fit", ge=1)

    def __post_init__(self) -> None:
        check_limits(self)
        for name, value in (("cpu", self.cpu), ("gpu", self.gpu)):
            if value > 1 and value != int(value):
                raise ValueError(f"{name} must be a whole number, or a fraction below 1, got {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """How the front and the controls are attacked on the test split once the search is over."""

    enabled: bool = setting(
        True,
        doc="whether a search ends with its verification; python -m morel_search.verify does it at any time",
    )
    minutes: float | None = setting(
        None,
        doc="when the verification at the end of a search stops; null means after a quarter of the search's time, at least two minutes",
        gt=0,
    )
    images: int | None = setting(None, doc="images of the test split; null means all", ge=1)
    seed: int = setting(0, doc="seed of the attacks and of the order of the images", ge=0, le=2**32 - 1)
    replicates: int = setting(
        0, doc="how often each network of the front and each control is trained again with another seed", ge=0
    )

    def __post_init__(self) -> None:
        check_limits(self)
