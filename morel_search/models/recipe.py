"""Training the configuration of a finished network again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from morel_search._consent import Consent, import_paths
from morel_search._format import shortened
from morel_search.errors import NetworkError
from morel_search.models.sections import read_section
from morel_search.models.settings import ModelSettings
from morel_search.training.compute_settings import Compute
from morel_search.training.selection import EPOCH_RULES, EpochResult, chosen_epoch
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings

if TYPE_CHECKING:
    from torch import nn

    from morel_search.training.datasets.loading import Development

__all__ = ["TrainingConfig", "read_training_config", "train_from_config"]

PRECISIONS = ("float32", "tf32", "bfloat16")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The configuration of a training.

    Attributes:
        seed: Random seed of the training.
        epoch: The selected epoch, from 1.
        select_epoch: The epoch selection rule, see :mod:`morel_search.training.selection`.
        train: Settings of the training.
        data: Settings of the data; relative paths start from the current folder.
        network: Settings of the network.
        evaluation: Settings of the evaluation on the validation split.
        compute: The arithmetic; None when it is not known.
        rungs: Epochs that the search evaluated for its early stopping.
        threads: Number of processor threads of the training, on which the rounding of sums depends; None when
            it is not known.
        device: Device of the training; None when it is not known.
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
        """Epochs that are evaluated in addition to ``evaluation.every``, as in the search.

        The rule then selects among the same epochs.
        """
        return frozenset({self.epoch, *self.rungs})


def read_training_config(settings: ModelSettings, source: Path, consent: Consent) -> TrainingConfig:
    """Check the settings of a network and return the configuration of its training.

    Args:
        settings: The settings, see :func:`morel_search.models.load.read_settings`.
        source: Their folder, for the message.
        consent: The code that may be run: a network and an objective of your own are code.

    Raises:
        NetworkError: A setting is missing, unknown or outside its limits.
        UntrustedCodeError: The settings name code without consent.
    """
    if settings.mixture:
        raise NetworkError(
            f"{source} is a mixture, which was not trained; train its members again and mix them, or name a "
            "member and give the mixture as --teacher, which makes one network of it"
        )
    try:
        config = TrainingConfig(
            seed=_required("seed", settings.seed),
            epoch=_required("epoch", settings.epoch),
            select_epoch=_required("select_epoch", settings.select_epoch),
            train=read_section(TrainSettings, _required("train", settings.train or None)),
            data=read_section(DataSettings, _required("data", settings.data or None)),
            network=read_section(NetworkSettings, _required("network", settings.network or None)),
            evaluation=read_section(EvaluationSettings, _required("evaluation", settings.evaluation or None)),
            compute=_compute(settings.compute),
            rungs=settings.rungs or (),
            threads=settings.threads,
            device=settings.device,
        )
        if not 1 <= config.epoch <= config.train.epochs:
            raise ValueError(f"epoch must be 1 to {config.train.epochs} (train.epochs), got {config.epoch}")
        if config.select_epoch not in EPOCH_RULES:
            raise ValueError(
                f"select_epoch must be one of {', '.join(EPOCH_RULES)}, got {shortened(config.select_epoch)}"
            )
    except (TypeError, ValueError) as error:
        raise NetworkError(f"{source} cannot be trained again: {error}") from error
    consent.check([config.network.name, config.train.accuracy_loss], source)
    consent.check(import_paths(config.train.teacher), source)
    return config


def _required(name: str, value: T | None) -> T:
    """Return a value that must be known.

    Raises:
        ValueError: It is not.
    """
    if value is None:
        raise ValueError(f"its settings have no {name}")
    return value


def train_from_config(
    config: TrainingConfig,
    development: Development,
    *,
    compute: Compute,
    device: str = "cpu",
    on_epoch: Callable[[EpochResult], None] = lambda _: None,
    teacher: nn.Module | None = None,
) -> tuple[EpochResult, nn.Module]:
    """Train a configuration, and return the selected epoch, under the final attack too, and its network.

    With the rule ``front``, the selected epoch is ``config.epoch``, and the training ends after it.

    Args:
        config: The configuration with the seed.
        development: Training and validation images.
        compute: The arithmetic.
        device: ``cpu``, ``cuda`` or ``mps``.
        on_epoch: Function that is called after each epoch.
        teacher: The teacher, see :func:`morel_search.models.teacher.load_teacher`.

    Returns:
        The selected epoch, and its network on the CPU.

    Raises:
        TrainingError: The training diverged or ran out of memory, or the network does not fit the images.
    """
    import torch

    from morel_search.training.trainer import Training

    if config.threads:
        torch.set_num_threads(config.threads)
    training = Training(
        config.train,
        config.network,
        development,
        config.evaluation,
        seed=config.seed,
        device=device,
        augmentation=config.data.augmentation,
        extra_share=config.data.extra_share,
        also_evaluate=config.also_evaluate,
        compute=compute,
        teacher=teacher,
    )
    history: list[EpochResult] = []
    selected: tuple[EpochResult, nn.Module] | None = None
    for result in training:
        history.append(result)
        on_epoch(result)
        if config.select_epoch == "front" and result.epoch == config.epoch:
            selected = result, training.model
            break
        if config.select_epoch != "front" and chosen_epoch(history, config.select_epoch) is result:
            selected = result, copy.deepcopy(training.model)
    assert selected is not None, "the last epoch is always evaluated"
    result, model = selected
    if config.evaluation.final_steps:
        result = replace(result, final_robust_accuracy=training.evaluate_final(model).robust_accuracy)
    return result, model.cpu()


def _compute(given: Mapping[str, object] | None) -> Compute | None:
    """Return the arithmetic of the settings; None when it is not known."""
    if not given:
        return None
    compute = read_section(Compute, given)
    if compute.precision not in PRECISIONS:
        raise ValueError(
            f"compute.precision must be one of {', '.join(PRECISIONS)}, got "
            f"{shortened(repr(compute.precision))}"
        )
    return compute
