"""The space: everything a space file says, as frozen data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from morel_search.config.describe import describe_space, identity_of
from morel_search.config.parameter import Parameter
from morel_search.errors import SpaceError
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings, check_limits, setting

__all__ = ["Control", "ResourceSettings", "SearchSettings", "Space"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How the next trainings are chosen, and how many."""

    trials: int = setting(40, doc="trainings that the search proposes (the controls come on top)", ge=1)
    sampler: Literal["nsga2", "nsga3", "tpe", "random", "gp"] = setting("nsga2", doc="who proposes: nsga2, nsga3, tpe, random, gp")
    population: int = setting(12, doc="nsga2, nsga3: trainings in a generation; tpe, gp: random trainings to begin with", ge=2)
    crossover: Literal["sbx", "uniform", "blxalpha", "vsbx", "undx", "spx"] = setting(
        "sbx", doc="nsga2, nsga3: how two parents are mixed: sbx, uniform, blxalpha, vsbx, undx, spx"
    )
    crossover_prob: float = setting(1.0, doc="nsga2, nsga3: probability that a child has two parents instead of one", ge=0, le=1)
    swapping_prob: float = setting(0.5, doc="nsga2, nsga3: probability that a parameter comes from the other parent", ge=0, le=1)
    mutation: Literal["polynomial", "uniform"] = setting(
        "polynomial", doc="nsga2, nsga3: polynomial (small changes) or uniform (a value drawn anew)"
    )
    mutation_prob: float | None = setting(
        None, doc="nsga2, nsga3: probability that a parameter is mutated; null means 1 / number of parameters", ge=0, le=1
    )
    seed: int = setting(0, doc="seed of the search and of every training", ge=0, le=2**32 - 1)
    point: Literal["last", "best_robust", "best_sum"] = setting(
        "best_sum", doc="which epoch a training stands for: last, best_robust, best_sum (clean + robust), on the validation split"
    )
    max_failures: int = setting(5, doc="stop when so many trainings in a row fail", ge=1)

    def __post_init__(self) -> None:
        check_limits(self)
        parents = 3 if self.crossover in ("undx", "spx") else 2
        if self.population < parents:
            raise ValueError(f"population must be >= {parents} for {self.crossover}, which mixes {parents} parents, got {self.population}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """What one training occupies."""

    cpu: float = setting(1.0, doc="CPU cores of a training: a whole number, or a fraction below 1", gt=0)
    gpu: float = setting(0.0, doc="GPUs of a training: 0, a fraction (0.25: four share one), or a whole number", ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", doc="where a training computes: cpu, cuda, mps, or auto (cuda where gpu is above 0, else cpu)"
    )
    concurrent: int | None = setting(None, doc="trainings at the same time; null means as many as fit", ge=1)

    def __post_init__(self) -> None:
        check_limits(self)
        for name, value in (("cpu", self.cpu), ("gpu", self.gpu)):
            if value > 1 and value != int(value):
                raise ValueError(f"{name} must be a whole number, or a fraction below 1, got {value:g}")


@dataclass(frozen=True, slots=True)
class Control:
    """A training with known settings that is run beside the search at the same budget.

    Attributes:
        name: Its name in the tables.
        overrides: Fields of the training settings; the space's ``train`` holds for the others.
    """

    name: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A checked space file.

    Attributes:
        path: The file.
        text: Its text, exactly as given.
        overrides: The ``--set`` texts that were laid over it.
        data: Which images, and how they are split.
        network: Which network.
        train: The training settings that hold where nothing is searched.
        evaluation: The attack that scores every training.
        parameters: What is searched; each comes after those that its ``when`` names.
        search: How the next trainings are chosen.
        resources: What one training occupies.
        controls: Trainings beside the search.
        warnings: What is allowed and looks wrong, a sentence each.
    """

    path: Path
    text: str
    overrides: tuple[str, ...]
    data: DataSettings
    network: NetworkSettings
    train: TrainSettings
    evaluation: EvaluationSettings
    parameters: tuple[Parameter, ...]
    search: SearchSettings
    resources: ResourceSettings
    controls: tuple[Control, ...]
    warnings: tuple[str, ...] = ()

    def active(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values that count: those whose ``when`` holds, and the ``when`` of those it names, and so on.

        Args:
            values: A value for each parameter, or for the active ones alone.

        Raises:
            SpaceError: A name is not a parameter of this space.
        """
        unknown = sorted(set(values) - {parameter.name for parameter in self.parameters})
        if unknown:
            raise SpaceError([f"{name} is not a parameter of this space" for name in unknown], str(self.path))
        kept: dict[str, Any] = {}
        for parameter in self.parameters:
            holds = all(other in kept and kept[other] in allowed for other, allowed in parameter.when.items())
            if holds and parameter.name in values:
                kept[parameter.name] = values[parameter.name]
        return kept

    def train_settings(self, values: Mapping[str, Any]) -> TrainSettings:
        """The training settings with these parameter values; a parameter that is inactive or has no value keeps that of ``train``.

        Raises:
            SpaceError: A name is not a parameter, or the values do not go together.
        """
        return self._replace(self.active(values), "these values")

    def control_settings(self, control: Control) -> TrainSettings:
        """The training settings of a control.

        Raises:
            SpaceError: The settings do not go together.
        """
        return self._replace(control.overrides, f"controls.{control.name}")

    def describe(self) -> dict[str, Any]:
        """Everything that was decided, as JSON values; rationals are texts such as ``"8/255"``."""
        return describe_space(self)

    def identity(self) -> dict[str, Any]:
        """The part of :meth:`describe` that may not change when a run is resumed."""
        return identity_of(self.describe())

    def _replace(self, values: Mapping[str, Any], place: str) -> TrainSettings:
        try:
            return dataclasses.replace(self.train, **values)
        except ValueError as error:
            raise SpaceError([f"{place}: {error}"], str(self.path)) from None
