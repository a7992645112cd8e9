"""The space: the content of a space file as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from morel_search._values import SettingValue
from morel_search.config.constraints import Constraint
from morel_search.config.describe import SpaceDescription, identity_of, parameter_json, settings_json
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_rational
from morel_search.config.rivals import Rival
from morel_search.config.search_settings import (
    EarlyStoppingSettings,
    ResourceSettings,
    SearchSettings,
    VerifySettings,
)
from morel_search.config.searchable import TrialSettings
from morel_search.errors import SpaceError
from morel_search.training.compute_settings import ComputeSettings
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings

__all__ = ["Configuration", "Control", "Space"]

Configuration: TypeAlias = Mapping[str, SettingValue]
"""Values of some or all parameters."""


@dataclass(frozen=True, slots=True)
class Control:
    """A training with known settings that runs beside the search, with the same number of epochs.

    Attributes:
        name: Name of the control in tables and in the report.
        overrides: Settings of the training that differ from the ``train`` of the space.
    """

    name: str
    overrides: Mapping[str, SettingValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A checked space file.

    Attributes:
        path: The file.
        text: The text of the file, unchanged.
        overrides: The ``--set`` texts that replaced values of the file.
        data: The data set and its splits.
        network: The network.
        train: The settings of a training that are not searched.
        evaluation: The attack on the validation split that scores every training.
        parameters: The searched settings; each follows those that its ``when`` names.
        search: The sampler, and the limits of the search.
        early_stopping: The rule that stops trainings early.
        constraints: Bounds that a network of the front must satisfy.
        verify: The verification of the front after the search.
        compute: The arithmetic of trainings.
        resources: The resources of one training.
        controls: Trainings with known settings beside the search.
        rivals: Networks that this search does not train, verified beside the front.
        enqueued: Configurations that ``search.start_from`` lists; they are trained first.
        warnings: Sentences about settings that are allowed but probably a mistake.
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
    rivals: tuple[Rival, ...] = ()
    enqueued: tuple[Configuration, ...] = ()
    warnings: tuple[str, ...] = ()

    def active(self, values: Mapping[str, SettingValue]) -> dict[str, SettingValue]:
        """Return the values of the active parameters.

        A parameter is active if it has no ``when``, or if all its conditions hold: each other parameter is
        active and has a value that meets the condition, and each setting of ``train`` that is not searched
        has one.

        Args:
            values: A value for each parameter, or only for the active ones.

        Raises:
            SpaceError: A name is not a parameter of this space.
        """
        searched = {parameter.name for parameter in self.parameters}
        unknown = sorted(set(values) - searched)
        if unknown:
            raise SpaceError([f"{name} is not a parameter of this space" for name in unknown], str(self.path))
        base = self.base
        active: dict[str, SettingValue] = {}
        for parameter in self.parameters:
            holds = all(
                (other in active and active[other] in condition)
                if other in searched
                else base.value(other) in condition
                for other, condition in parameter.when.items()
            )
            if holds and parameter.name in values:
                active[parameter.name] = values[parameter.name]
        return active

    @property
    def base(self) -> TrialSettings:
        """The settings of a training without the values of the parameters."""
        return TrialSettings(train=self.train, network=self.network, data=self.data)

    def train_settings(self, values: Mapping[str, SettingValue]) -> TrainSettings:
        """Return the training settings with these values of the parameters.

        A parameter that is inactive or has no value keeps the value of ``train``.

        Raises:
            SpaceError: A name is not a parameter, or the values contradict each other.
        """
        return self.trial_settings(values).train

    def trial_settings(self, values: Mapping[str, SettingValue]) -> TrialSettings:
        """Return all settings of a training with these values of the parameters, as :meth:`train_settings`.

        Raises:
            SpaceError: A name is not a parameter, or the values contradict each other.
        """
        return self._replace(self.active(values), "these values")

    def control_settings(self, control: Control) -> TrainSettings:
        """Return the training settings of a control.

        Raises:
            SpaceError: The settings contradict each other.
        """
        return self.control_trial(control).train

    def control_trial(self, control: Control) -> TrialSettings:
        """Return all settings of a control; a searched option of the network has its value of ``network``.

        Raises:
            SpaceError: The settings contradict each other.
        """
        return self._replace(control.overrides, f"controls.{control.name}")

    def describe(self) -> SpaceDescription:
        """Return all settings, with defaults, as JSON values; rationals are texts such as ``"8/255"``."""
        return SpaceDescription(
            data=settings_json(asdict(self.data)),
            network=settings_json(asdict(self.network)),
            train=settings_json(asdict(self.train)),
            evaluation=settings_json(asdict(self.evaluation)),
            search=settings_json(asdict(self.search)),
            early_stopping=settings_json(asdict(self.early_stopping)),
            verify=settings_json(asdict(self.verify)),
            compute=settings_json(asdict(self.compute)),
            resources=settings_json(asdict(self.resources)),
            parameters=[parameter_json(parameter) for parameter in self.parameters],
            constraints={
                constraint.name: f"{constraint.sign} {format_rational(constraint.bound)}"
                for constraint in self.constraints
            },
            controls=[
                {"name": control.name, "overrides": settings_json(control.overrides)}
                for control in self.controls
            ],
            rivals=[rival.describe() for rival in self.rivals],
        )

    def identity(self) -> dict[str, object]:
        """Return the part of :meth:`describe` that must not change when a run is resumed."""
        return identity_of(self.describe())

    def _replace(self, values: Mapping[str, SettingValue], location: str) -> TrialSettings:
        try:
            return self.base.replaced(values)
        except ValueError as error:
            raise SpaceError([f"{location}: {error}"], str(self.path)) from None
