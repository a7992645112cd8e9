"""The space: everything a space file says, as frozen data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morel_search.config.constraints import Constraint
from morel_search.config.describe import SECTIONS, describe_space, identity_of
from morel_search.config.parameter import Parameter
from morel_search.config.search_settings import (
    EarlyStoppingSettings,
    ResourceSettings,
    SearchSettings,
    VerifySettings,
)
from morel_search.errors import SpaceError
from morel_search.training.settings import (
    ComputeSettings,
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    TrainSettings,
)

__all__ = ["Configuration", "Control", "Space"]

Configuration = Mapping[str, Any]
"""Values of some or all parameters."""


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
        early_stopping: Which trainings are not trained to their end.
        constraints: What a network of the front must keep to.
        verify: How the front is verified afterwards.
        compute: In which arithmetic trainings compute.
        resources: What one training occupies.
        controls: Trainings beside the search.
        enqueued: Configurations that ``search.start_from`` lists; they are trained first.
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
    early_stopping: EarlyStoppingSettings
    constraints: tuple[Constraint, ...]
    verify: VerifySettings
    compute: ComputeSettings
    resources: ResourceSettings
    controls: tuple[Control, ...]
    enqueued: tuple[Configuration, ...] = ()
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
        sections = {name: getattr(self, name) for name in SECTIONS}
        controls = {control.name: control.overrides for control in self.controls}
        return describe_space(sections, self.parameters, self.constraints, controls)

    def identity(self) -> dict[str, Any]:
        """The part of :meth:`describe` that may not change when a run is resumed."""
        return identity_of(self.describe())

    def _replace(self, values: Mapping[str, Any], location: str) -> TrainSettings:
        try:
            return dataclasses.replace(self.train, **values)
        except ValueError as error:
            raise SpaceError([f"{location}: {error}"], str(self.path)) from None
