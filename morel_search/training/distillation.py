"""Adversarial distillation: losses with the logits of a teacher, as pure functions; each returns a scalar.

q is the softmax of the teacher's logits of the clean images, p and p' those of the student's clean and
adversarial logits, all divided by the temperature t. Every divergence is the sum over the classes and the
mean over the images, as in the papers. The code of the authors takes torch's mean over the classes too, which
divides it by their number.

Sources: ARD, Goldblum et al. 2020 (arXiv 1905.09747), section 4; RSLAD, Zi et al. 2021 (arXiv 2108.07969),
eq. 6 and 7.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from morel_search.training.attacks import Objective, kl_objective

__all__ = [
    "ARD_TEMPERATURE",
    "ARD_WEIGHT",
    "RSLAD_TEMPERATURE",
    "RSLAD_WEIGHT",
    "ard",
    "rslad",
    "soft_labels",
]

ARD_WEIGHT, ARD_TEMPERATURE = 1.0, 30.0
"""Defaults of the authors' code of ARD."""

RSLAD_WEIGHT, RSLAD_TEMPERATURE = 5 / 6, 1.0
"""Those of RSLAD; its weights 5/6 and 1/6 have the ratio of TRADES with beta 5."""


def ard(
    logits: Tensor,
    adversarial_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    weight: float,
    temperature: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """(1 - weight) CE(f(x), y) + weight t^2 KL(q || p').

    Args:
        logits: Clean logits of the student, shape (N, C).
        adversarial_logits: Shape (N, C).
        teacher_logits: Of the clean images, shape (N, C).
        labels: Integers in [0, C), shape (N,).
        weight: Weight of the teacher, in [0, 1].
        temperature: Temperature t of the divergence, > 0; the cross entropy has none.
        label_smoothing: As in :func:`morel_search.training.losses.trades`.
    """
    natural = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return (1.0 - weight) * natural + weight * _divergence(teacher_logits, adversarial_logits, temperature)


def rslad(
    logits: Tensor,
    adversarial_logits: Tensor,
    teacher_logits: Tensor,
    *,
    weight: float,
    temperature: float,
) -> Tensor:
    """(1 - weight) t^2 KL(q || p) + weight t^2 KL(q || p'); labels are not used.

    Arguments as in :func:`ard`; the paper has no temperature, which is that of 1.
    """
    natural = _divergence(teacher_logits, logits, temperature)
    robust = _divergence(teacher_logits, adversarial_logits, temperature)
    return (1.0 - weight) * natural + weight * robust


def soft_labels(teacher_logits: Tensor, temperature: float) -> Objective:
    """KL(q || p') summed over the batch, without the entropy of q: what the attack of RSLAD increases."""
    objective = kl_objective(teacher_logits / temperature)
    return lambda logits: objective(logits / temperature)


def _divergence(teacher_logits: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """t^2 KL(q || p), the mean over the images."""
    log_q, log_p = (F.log_softmax(own / temperature, dim=1) for own in (teacher_logits, logits))
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
