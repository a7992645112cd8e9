"""What trains a finished network's configuration again, and doing so."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from morel_search.errors import NetworkError
from morel_search.training.selection import EPOCH_RULES, EpochResult, chosen_epoch
from morel_search.training.settings import (
    Compute,
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    TrainSettings,
)

if TYPE_CHECKING:
    from torch import nn

    from morel_search.training.datasets.loading import Development

__all__ = ["TrainingConfig", "read_section", "read_training_config", "train_from_config"]

PRECISIONS = ("float32", "tf32", "bfloat16")

Settings = TypeVar("Settings", TrainSettings, DataSettings, NetworkSettings, EvaluationSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What trains a network again.

    Attributes:
        seed: Seed of the training.
        epoch: The epoch that was kept.
        point: Rule that chose it, see :mod:`morel_search.training.selection`.
        train: The training.
        data: The images; relative paths start from the working directory.
        network: The network.
        evaluation: The attack that the epochs were compared by.
        compute: The arithmetic, None where it is not known.
        rungs: Epochs that the search evaluated for its early stopping.
        threads: Processor threads of the training, None where they are not known; they decide the last bits
            of sums.
        device: Where it was trained, None where that is not known.
    """

    seed: int
    epoch: int
    select_epoch: str
    train: TrainSettings
    data: DataSettings
    network: NetworkSettings
    evaluation: EvaluationSettings
    compute: Compute | None
    rungs: tuple[int, ...]
    threads: int | None
    device: str | None

    @property
    def also_evaluate(self) -> frozenset[int]:
        """Epochs to evaluate beside those that are due: where the search looked, so that the rule chooses among the same."""
        return frozenset({self.epoch, *self.rungs})


def read_training_config(settings: Mapping[str, Any], source: Path) -> TrainingConfig:
    """What :func:`morel_search.models.load.read_settings` gave, checked and typed.

    Args:
        settings: The settings.
        source: Where they come from, for the message.

    Raises:
        NetworkError: Something is missing, unknown or outside its limits.
    """
    try:
        recipe = TrainingConfig(
            seed=int(settings["seed"]),
            epoch=int(settings["epoch"]),
            select_epoch=str(settings["select_epoch"]),
            train=read_section(TrainSettings, settings["train"]),
            data=read_section(DataSettings, settings["data"]),
            network=read_section(NetworkSettings, settings["network"]),
            evaluation=read_section(EvaluationSettings, settings["evaluation"]),
            compute=_compute(settings.get("compute")),
            rungs=tuple(int(rung) for rung in settings.get("rungs") or ()),
            threads=settings.get("threads"),
            device=settings.get("device"),
        )
        if not 1 <= recipe.epoch <= recipe.train.epochs:
            raise ValueError(f"epoch {recipe.epoch} is none of {recipe.train.epochs}")
        if recipe.select_epoch not in EPOCH_RULES:
            raise ValueError(
                f"select_epoch must be one of {', '.join(EPOCH_RULES)}, got {recipe.select_epoch}"
            )
    except KeyError as error:
        raise NetworkError(
            f"{source} cannot be trained again: its settings have no {error.args[0]}"
        ) from error
    except (TypeError, ValueError) as error:
        raise NetworkError(f"{source} cannot be trained again: {error}") from error
    return recipe


def train_from_config(
    recipe: TrainingConfig,
    development: Development,
    *,
    compute: Compute,
    device: str = "cpu",
    on_epoch: Callable[[EpochResult], None] = lambda _: None,
) -> tuple[EpochResult, nn.Module]:
    """Train, and keep the epoch that the rule chooses; with the rule ``front`` the recipe's, after which nothing is left to do.

    Args:
        recipe: The configuration and the seed.
        development: Training and validation images.
        compute: The arithmetic.
        device: ``cpu``, ``cuda`` or ``mps``.
        on_epoch: Called after each epoch.

    Returns:
        The epoch that was kept, and its network on the CPU.

    Raises:
        TrainingError: The training diverged or did not fit into memory, or the network does not fit the
            images.
    """
    import torch

    from morel_search.training.trainer import Training

    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    training = Training(
        recipe.train,
        recipe.network,
        development,
        recipe.evaluation,
        seed=recipe.seed,
        device=device,
        augmentation=recipe.data.augmentation,
        also_evaluate=recipe.also_evaluate,
        compute=compute,
    )
    history: list[EpochResult] = []
    kept: tuple[EpochResult, nn.Module] | None = None
    for result in training:
        history.append(result)
        on_epoch(result)
        if recipe.select_epoch == "front" and result.epoch == recipe.epoch:
            return result, training.model.cpu()
        if recipe.select_epoch != "front" and chosen_epoch(history, recipe.select_epoch) is result:
            kept = result, copy.deepcopy(training.model).cpu()
    assert kept is not None, "the last epoch is evaluated"
    return kept


def read_section(kind: type[Settings], given: Any) -> Settings:
    """Settings from JSON values, where a rational is a text and a tuple a list.

    Raises:
        TypeError: They are no mapping, or a value has the wrong type.
        ValueError: A setting is unknown or outside its limits.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{kind.__name__} must be a mapping, got {given!r}")
    types, choices = (
        get_type_hints(kind),
        {field.name: field.metadata.get("choices") for field in dataclasses.fields(kind)},
    )
    unknown = [name for name in given if name not in types]
    if unknown:
        raise ValueError(f"this version of morel_search knows no setting {unknown[0]}")
    return kind(**{name: _value(name, types[name], choices[name], value) for name, value in given.items()})


_JSON: dict[Any, tuple[type, ...]] = {
    float: (int, float),
    int: (int,),
    bool: (bool,),
    str: (str,),
    Mapping: (dict,),
}
"""A setting's type to that of its JSON values."""


def _value(name: str, kind: Any, choices: Collection[str] | None, value: Any) -> Any:
    """A setting's value from its JSON form.

    Raises:
        TypeError: It is of another type than the setting.
        ValueError: It is none of the setting's names.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in kinds:
        return None
    (one,) = (member for member in kinds if member is not NoneType)
    if get_origin(one) is Literal:
        choices = get_args(one)
    if choices is not None and not (
        value in choices or (get_origin(one) is not Literal and isinstance(value, str) and ":" in value)
    ):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if one is Fraction:
        return Fraction(str(value))
    origin = get_origin(one) or one
    if origin is tuple:
        return tuple(value)
    wanted = _JSON.get(origin)
    if wanted is not None and (
        not isinstance(value, wanted) or (isinstance(value, bool) and origin is not bool)
    ):
        raise TypeError(f"{name} must be of the type {origin.__name__}, got {value!r}")
    return value


def _compute(given: Any) -> Compute | None:
    """The arithmetic as the run's settings have it, None where it is not known."""
    if not given:
        return None
    compute = Compute(**given)
    if compute.precision not in PRECISIONS:
        raise ValueError(
            f"compute.precision must be one of {', '.join(PRECISIONS)}, got {compute.precision!r}"
        )
    return compute
