"""The plan of a trial, as the study stores it, and the settings that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, fields, replace
from typing import Any

from optuna.trial import FrozenTrial

from morel_search._values import SettingValue
from morel_search.config import Space
from morel_search.config.searchable import TrialSettings
from morel_search.errors import RunFolderError
from morel_search.results.renamed import RENAMED_ORIGINS
from morel_search.search.distributions import Params, decode
from morel_search.training.settings import TrainSettings

__all__ = ["Assignment", "TrialPlan", "assignment_of", "check_stored", "read_plan"]


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """The origin and the random seed of a trial; the values of its parameters are stored by Optuna.

    Attributes:
        origin: ``search``, ``control``, ``enqueued`` (from ``search.start_from``) or ``replicate``.
        name: Name of the control; empty for other origins.
        seed: Random seed of the training.
        in_space: Whether the configuration is a point of the search space, so that it can be a parent.
    """

    origin: str
    name: str
    seed: int
    in_space: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial and its settings.

    Attributes:
        number: The trial's number in the study.
        plan: Its origin and random seed.
        values: Settings by name: the active parameters, or the overrides of a control.
        settings: All settings of the training.
    """

    number: int
    plan: TrialPlan
    values: Mapping[str, SettingValue]
    settings: TrialSettings

    @property
    def train(self) -> TrainSettings:
        """Settings of the training, without the network and the augmentation."""
        return self.settings.train


def assignment_of(space: Space, number: int, plan: TrialPlan, params: Params) -> Assignment:
    """Return a trial with its settings.

    Args:
        space: The space.
        number: The trial's number.
        plan: Its plan.
        params: Optuna's values; they are not used for a control.
    """
    if plan.origin == "control":
        control = next(control for control in space.controls if control.name == plan.name)
        return Assignment(number, plan, dict(control.overrides), space.control_trial(control))
    values = decode(space, params)
    return Assignment(number, plan, values, space.trial_settings(values))


def read_plan(trial: FrozenTrial) -> TrialPlan:
    """Return the plan that a trial was written with.

    Raises:
        RunFolderError: The trial was not written by this project, or by a newer version of it.
    """
    names = {field.name for field in fields(TrialPlan)}
    plan = TrialPlan(**check_stored(trial, trial.user_attrs.get("plan"), required=names, known=names))
    return replace(plan, origin=RENAMED_ORIGINS.get(plan.origin, plan.origin))


def check_stored(
    trial: FrozenTrial, stored: object, *, required: Set[str], known: Set[str]
) -> Mapping[str, Any]:
    """Return JSON values that are stored with a trial, if they have the expected keys.

    Args:
        trial: The trial; errors name it.
        stored: The parsed JSON.
        required: Keys that every version of this project has written.
        known: Keys that this version can read.

    Raises:
        RunFolderError: The value is not a mapping, lacks a required key, or has an unknown key.
    """
    if not isinstance(stored, dict) or not required <= stored.keys():
        raise RunFolderError(f"trial {trial.number} of the study was not written by morel_search")
    if unknown := stored.keys() - known:
        raise RunFolderError(
            f"trial {trial.number} of the study was written by a newer morel_search: this version does not "
            f"know {', '.join(sorted(unknown))}; install that version"
        )
    return stored
