"""The settings of one training, as frozen data.

Each field carries its limits and its meaning once (:func:`~morel_search.training.limits.setting`); the space
file's checks, this module's own checks and the documentation are all made from them. Epsilons are exact
rationals in units of the pixel range [0, 1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from morel_search.training.data_settings import DataSettings
from morel_search.training.limits import check_limits, setting
from morel_search.training.names import ACCURACY_LOSSES, NETWORK_NAMES

__all__ = [
    "AttackSettings",
    "DataSettings",
    "EvaluationSettings",
    "NetworkSettings",
    "TrainSettings",
]

Norm = Literal["linf", "l2"]
RandomStart = Literal["gaussian", "uniform", "none"]
EvaluationLoss = Literal["targeted_margin", "margin", "cross_entropy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackSettings:
    """A projected gradient attack."""

    norm: Norm = setting("linf", doc="norm of the perturbation: linf or l2")
    epsilon: Fraction = setting(
        Fraction(8, 255), doc="radius of the ball, in units of the pixel range [0, 1]", ge=0
    )
    steps: int = setting(10, doc="number of gradient steps", ge=0)
    step_size: float = setting(2 / 255, doc="length of a step, in units of the pixel range [0, 1]", ge=0)
    random_start: RandomStart = setting(
        "gaussian", doc="start: gaussian (0.001 N(0, 1), as in MOREL), uniform (in the ball), or none"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """One MOREL training.

    A space file sets each field in ``train`` or searches it in ``parameters``.
    """

    epochs: int = setting(30, doc="number of passes over the training images", ge=1)
    batch_size: int = setting(128, doc="number of images in a batch", ge=1)
    optimizer: Literal["sgd", "adamw"] = setting("sgd", doc="sgd (Nesterov momentum) or adamw")
    lr: float = setting(0.1, doc="peak learning rate", gt=0)
    momentum: float = setting(0.9, doc="momentum of sgd, or the first beta of adamw", ge=0, lt=1)
    weight_decay: float = setting(5e-4, doc="weight decay", ge=0)
    schedule: Literal["cosine", "one_cycle", "step", "constant"] = setting(
        "cosine", doc="learning-rate schedule over the epochs: cosine, one_cycle, step or constant"
    )
    schedule_drops: tuple[float, ...] = setting(
        (0.75, 0.9), doc="step schedule: where the learning rate drops, as fractions of the epochs"
    )
    schedule_factor: float = setting(
        0.1, doc="step schedule: factor of the learning rate at each drop", gt=0, le=1
    )
    warmup: float = setting(
        0.0,
        doc="fraction of the epochs over which the learning rate rises linearly (one_cycle: 0.3 if "
        "this is 0)",
        ge=0,
        lt=1,
    )
    ema: float = setting(
        0.0,
        doc="decay of the exponential moving average of the weights, per step; 0 switches it off",
        ge=0,
        lt=1,
    )
    awp: float = setting(
        0.0,
        doc="adversarial weight perturbation: length of the perturbation of each weight tensor, in units of "
        "its norm; 0 switches it off (its authors: 0.01 with pgd, 0.005 with trades)",
        ge=0,
        lt=1,
    )
    awp_warmup: float = setting(
        0.0, doc="fraction of the epochs after which the weights are perturbed", ge=0, lt=1
    )

    accuracy_loss: str = setting(
        "trades",
        doc="accuracy objective: trades, mart, loat, pgd, none, ard and rslad (distillation from a teacher), "
        "or a function of your own as package.module:name",
        choices=ACCURACY_LOSSES,
        optional_module=True,
    )
    beta: float = setting(6.0, doc="weight of the KL term of trades, mart and loat", ge=0)
    label_smoothing: float = setting(
        0.0,
        doc="label smoothing of the cross entropy: share of the target that all classes have in equal parts; "
        "the training attack keeps the labels, and a loss of your own must read it",
        ge=0,
        lt=1,
    )
    teacher: str | None = setting(
        None,
        doc="teacher of ard and rslad: a network's folder of this project (also of a mixture), or a function "
        "that returns a network with its weights, as package.module:name",
        fixed=True,
    )
    teacher_sha256: str | None = setting(
        None,
        doc="SHA-256 of the teacher's network and weights; a search notes it, so that a resumed one refuses "
        "another teacher",
        fixed=True,
    )
    teacher_weight: float | None = setting(
        None,
        doc="ard: weight of the teacher; rslad: weight of the adversarial images; null means that of the "
        "authors, 1 and 5/6",
        ge=0,
        le=1,
    )
    teacher_temperature: float | None = setting(
        None,
        doc="temperature of the divergence from the teacher; null means that of the authors, 30 for ard and "
        "1 for rslad",
        gt=0,
    )
    k_robust: float = setting(
        0.1, doc="weight k_f of the robust objective, which is cosine loss + alpha x contrastive loss", ge=0
    )
    k_accuracy: float | None = setting(
        None, doc="weight k_a of the accuracy objective; null means 1 - k_robust", ge=0
    )
    gamma: float = setting(
        2e-5, doc="augmentation term of the conic scalarisation; it is added to both weights", ge=0
    )
    reference_robust: float = setting(
        0.0, doc="reference point r_f of the scalarisation; it shifts the loss by a constant"
    )
    reference_accuracy: float = setting(
        0.0, doc="reference point r_a of the scalarisation; it shifts the loss by a constant"
    )
    alpha: float = setting(1e-5, doc="weight of the contrastive loss inside the robust objective", ge=0)
    temperature: float = setting(0.1, doc="temperature tau of the contrastive loss", gt=0)
    contrastive_features: Literal["natural", "adversarial", "both"] = setting(
        "both", doc="features of the contrastive loss: natural (clean images), adversarial or both"
    )
    embedding_dim: int = setting(128, doc="dimension of the embedding space", ge=1)
    attention_heads: int = setting(
        2, doc="number of heads of the class attention; it must divide embedding_dim", ge=1
    )

    loat_variant: Literal["lore", "lore_v1"] = setting(
        "lore_v1", doc="LOAT: lore adds the term that loat_gamma weights, lore_v1 does not"
    )
    loat_regularizer: Literal["mse", "kl"] = setting("mse", doc="LOAT: regulariser, mse or kl")
    loat_theta: float = setting(1.0, doc="LOAT: weight of the regulariser", ge=0)
    loat_gamma: float = setting(0.05, doc="LOAT: weight of the change of probabilities (lore only)", ge=0)
    loat_early_until: int = setting(
        1, doc="LOAT: last epoch of the early phase, counted from 0; -1 leaves the phase out", ge=-1
    )
    loat_late_from: int = setting(100, doc="LOAT: first epoch of the late phase, counted from 0", ge=0)

    norm: Norm = setting("linf", doc="norm of the training attack: linf or l2")
    epsilon: Fraction = setting(
        Fraction(8, 255), doc="radius of the training attack, in units of the pixel range [0, 1]", ge=0
    )
    attack_steps: int = setting(10, doc="number of steps of the training attack", ge=0)
    step_size: Fraction | None = setting(
        None, doc="step length of the training attack; null means step_ratio x epsilon / attack_steps", ge=0
    )
    step_ratio: float = setting(
        2.25, doc="step length of the training attack, in units of epsilon / attack_steps", gt=0
    )
    random_start: RandomStart = setting(
        "gaussian",
        doc="start of the training attack: gaussian (0.001 N(0, 1)), uniform (in the ball) or none",
    )

    def __post_init__(self) -> None:
        check_limits(self)
        if self.embedding_dim % self.attention_heads:
            raise ValueError(
                f"attention_heads must divide embedding_dim, got {self.attention_heads} and "
                f"{self.embedding_dim}"
            )

    @property
    def accuracy_weight(self) -> float:
        """k_a, resolved."""
        return max(0.0, 1.0 - self.k_robust) if self.k_accuracy is None else self.k_accuracy

    @property
    def attack(self) -> AttackSettings:
        """The training attack, with its step size resolved."""
        return attack_settings(
            self.norm, self.epsilon, self.attack_steps, self.step_size, self.step_ratio, self.random_start
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """Attacks that measure robust accuracy.

    A quick attack runs after epochs, and a stronger, final one on the selected epoch of each finished
    training; see :mod:`morel_search.training.evaluation_attacks`.
    """

    norm: Norm = setting("linf", doc="norm of the perturbation: linf or l2")
    epsilon: Fraction = setting(
        Fraction(8, 255), doc="radius of the ball, in units of the pixel range [0, 1]", gt=0
    )
    loss: EvaluationLoss = setting(
        "targeted_margin",
        doc="quick attack: loss that the attack maximises: targeted_margin (logit of a wrong class minus "
        "logit of the label, one run per wrong class, cosine step lengths), margin (the largest wrong "
        "logit), or cross_entropy; the last two are plain PGD with constant steps",
    )
    targets: int = setting(
        4,
        doc="quick attack, targeted_margin: number of wrong classes, those with the largest logits first",
        ge=1,
    )
    steps: int = setting(8, doc="quick attack: number of gradient steps of each run", ge=1)
    step_size: Fraction | None = setting(
        None, doc="margin, cross_entropy: length of a step; null means step_ratio x epsilon / steps", gt=0
    )
    step_ratio: float = setting(
        2.5, doc="margin, cross_entropy: length of a step, in units of epsilon / steps", gt=0
    )
    random_start: RandomStart = setting(
        "uniform",
        doc="margin, cross_entropy: start: gaussian (0.001 N(0, 1)), uniform (in the ball) or none; "
        "targeted_margin starts from the image",
    )
    restarts: int = setting(
        1,
        doc="quick attack: number of starts; an image is robust if it is correctly classified after all "
        "of them",
        ge=1,
    )
    final_steps: int = setting(
        20,
        doc="final attack, by targeted_margin, on the selected epoch of a finished training: number of "
        "gradient steps of each run; 0 leaves it out, and the accuracy under the quick attack counts",
        ge=0,
    )
    final_targets: int = setting(
        9, doc="final attack: number of wrong classes, those with the largest logits first", ge=1
    )
    final_restarts: int = setting(
        2, doc="final attack: number of starts: the image, then uniform in the ball", ge=1
    )
    every: int = setting(
        1, doc="number of epochs from one evaluation to the next; the last epoch is always evaluated", ge=1
    )
    batch_size: int = setting(512, doc="number of images in a batch", ge=1)

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def attack(self) -> AttackSettings:
        """The plain PGD attack of the losses margin and cross_entropy, with its step size resolved."""
        return attack_settings(
            self.norm, self.epsilon, self.steps, self.step_size, self.step_ratio, self.random_start
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Network and its options."""

    name: str = setting(
        doc="a built-in network, timm/NAME, torchvision/NAME, or package.module:name of a class or function "
        "that returns an nn.Module",
        choices=NETWORK_NAMES,
        optional_module=True,
        libraries=True,
    )
    options: Mapping[str, Any] = dataclasses.field(
        default_factory=dict,
        metadata={"doc": "keyword arguments of the network, such as width, depth or dropout"},
    )
    weights: str | None = setting(
        None,
        doc="weights from which every training starts: a network's folder of this project, or a file of "
        "safetensors or torch with the state dict of a network; null draws them at random",
    )
    weights_sha256: str | None = setting(
        None,
        doc="SHA-256 of the file of weights; a search notes it, so that a resumed one refuses another file",
    )


def attack_settings(
    norm: Norm,
    epsilon: Fraction,
    steps: int,
    step_size: Fraction | None,
    step_ratio: float,
    random_start: RandomStart,
) -> AttackSettings:
    """An attack whose step is ``step_size``, or ``step_ratio * epsilon / steps`` where that is None."""
    length = float(step_size) if step_size is not None else step_ratio * float(epsilon) / max(1, steps)
    return AttackSettings(
        norm=norm, epsilon=epsilon, steps=steps, step_size=length, random_start=random_start
    )
