"""The losses of MOREL as pure functions: tensors in, a scalar out.

p is the softmax of the clean logits, p' that of the adversarial logits, y the labels, N the images of the
batch, C the classes.
Sources: TRADES, Zhang et al. 2019, eq. 5; MART, Wang et al. 2020, eq. 8 to 10; LOAT, Yin et al. 2023; the
multi-positive contrastive loss, Tian et al. 2023 (StableRep), eq. 2 to 4; the conic scalarisation, Hotegni
and Peitz (arXiv 2410.01697). Where those leave room, the constants are those of MOREL's reference code
(``advermorel`` 0.1.6), against which the tests compare value and gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["conic_scalarization", "contrastive", "cosine", "loat", "mart", "trades"]

Phase = Literal["early", "middle", "late"]


def trades(logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, beta: float) -> Tensor:
    """CE(f(x), y) + beta / N * sum_i KL(p(x_i) || p(x'_i)).

    Args:
        logits: Clean logits, shape (N, C).
        adversarial_logits: Shape (N, C).
        labels: Integers in [0, C), shape (N,).
        beta: Weight of the KL term, >= 0.
    """
    natural = F.cross_entropy(logits, labels)
    robust = _divergence(logits, F.log_softmax(adversarial_logits, dim=1)).mean()
    return natural + beta * robust


def mart(logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, beta: float) -> Tensor:
    """BCE(x', y) + beta / N * sum_i KL(p(x_i) || p(x'_i)) (1.0000001 - p_y(x_i)).

    BCE is CE(f(x'), y) + mean(-log(1.0001 - max_{k != y} p_k(x') + 1e-12)). Arguments as in :func:`trades`.
    """
    p, p_adv = F.softmax(logits, dim=1), F.softmax(adversarial_logits, dim=1)
    runner_up = _largest_other(p_adv, labels)
    boosted = F.cross_entropy(adversarial_logits, labels) - torch.log(1.0001 - runner_up + 1e-12).mean()
    divergence = _divergence(logits, torch.log(p_adv + 1e-12))
    return boosted + beta * (divergence * (1.0000001 - _of_label(p, labels))).mean()


def loat(
    logits: Tensor,
    adversarial_logits: Tensor,
    labels: Tensor,
    *,
    beta: float,
    phase: Phase,
    regularizer: Literal["mse", "kl"],
    theta: float,
    gamma: float,
) -> Tensor:
    """MART plus LOAT's regulariser in its early and late phase.

    R_right and R_wrong are the means, over rightly and wrongly classified clean images, of the spread of the
    wrong classes' probabilities. The loss is MART + theta (R_right - R_wrong) + gamma A_wrong early, MART +
    theta (R_wrong - R_right) + gamma A_right late, and MART between. A is the change of the probabilities
    under attack, averaged over the named images alone, as the reference does. An empty group counts as zero.

    Args:
        logits: Clean logits, shape (N, C), C >= 2.
        adversarial_logits: Shape (N, C).
        labels: Integers in [0, C), shape (N,).
        beta: Weight of MART's KL term, >= 0.
        phase: ``early``, ``middle`` or ``late``.
        regularizer: ``mse`` or ``kl``, the form of the spread and of the change.
        theta: Weight of the regulariser, >= 0.
        gamma: Weight of the change, >= 0; 0 is the reference's variant "LORE_v1".
    """
    loss = mart(logits, adversarial_logits, labels, beta=beta)
    if phase == "middle":
        return loss
    p = F.softmax(logits, dim=1)
    right = logits.argmax(dim=1) == labels
    spread = _spread_mse(p, labels) if regularizer == "mse" else -torch.log(1.0 - _largest_other(p, labels))
    difference = _mean_over(spread, right) - _mean_over(spread, ~right)
    loss = loss + theta * (difference if phase == "early" else -difference)
    if gamma:
        p_adv = F.softmax(adversarial_logits, dim=1)
        change = (p_adv - p).square().sum(dim=1) if regularizer == "mse" else _change_kl(p, p_adv)
        loss = loss + gamma * _mean_over(change, ~right if phase == "early" else right)
    return loss


def cosine(embeddings: Tensor, adversarial_embeddings: Tensor) -> Tensor:
    """1 - mean_i cos(z_i, z'_i); both arguments have shape (N, d)."""
    return 1.0 - F.cosine_similarity(embeddings, adversarial_embeddings, dim=1).mean()


def contrastive(rows: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Multi-positive contrastive loss, -1/N sum_i sum_j p_ij log q_ij.

    q_ij is the softmax over j != i of t_i.t_j / temperature; p_ij is uniform over the other rows of the same
    label. A row without a positive contributes 0 and still counts in N.

    Args:
        rows: Unit vectors t, shape (N, d).
        labels: Shape (N,).
        temperature: Positive.
    """
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    positive = ((labels.unsqueeze(0) == labels.unsqueeze(1)) & ~itself).to(rows.dtype)
    target = positive / positive.sum(dim=1, keepdim=True).clamp(min=1.0)
    # -1e9 and not -inf: 0 * -inf would be NaN, and a batch of one has nothing but itself.
    log_q = F.log_softmax((rows @ rows.T / temperature).masked_fill(itself, -1e9), dim=1)
    return -(target * log_q).sum(dim=1).mean()


def conic_scalarization(
    robust: Tensor,
    accuracy: Tensor,
    *,
    k_robust: float,
    k_accuracy: float,
    gamma: float,
    reference_robust: float = 0.0,
    reference_accuracy: float = 0.0,
) -> Tensor:
    """k_f (f - r_f) + k_a (a - r_a) + gamma ((f - r_f) + (a - r_a)) of two scalar objectives f (robust) and a (accuracy)."""
    f, a = robust - reference_robust, accuracy - reference_accuracy
    return (k_robust + gamma) * f + (k_accuracy + gamma) * a


def _divergence(logits: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, shape (N,).

    From the logarithm of p and not from p, as the reference has it: there, a probability that underflows to 0
    (logits more than 104 apart) makes the gradient NaN while the loss is still finite.
    """
    return F.kl_div(log_q, F.log_softmax(logits, dim=1), reduction="none", log_target=True).sum(dim=1)


def _of_label(p: Tensor, labels: Tensor) -> Tensor:
    return p.gather(1, labels.unsqueeze(1)).squeeze(1)


def _largest_other(p: Tensor, labels: Tensor) -> Tensor:
    """max_{k != y} p_k, shape (N,)."""
    return p.scatter(1, labels.unsqueeze(1), -1.0).amax(dim=1)


def _spread_mse(p: Tensor, labels: Tensor) -> Tensor:
    """sum_{j != y} (p_j - (1 - p_y) / (C - 1))^2, shape (N,)."""
    even = (1.0 - p.gather(1, labels.unsqueeze(1))) / (p.shape[1] - 1)
    return (p - even).square().scatter(1, labels.unsqueeze(1), 0.0).sum(dim=1)


def _change_kl(p: Tensor, p_adv: Tensor) -> Tensor:
    """-log(1 - |p'_k - p_k|) at the class k that the adversarial image is given, shape (N,)."""
    k = p_adv.argmax(dim=1, keepdim=True)
    return -torch.log(1.0 - (p_adv.gather(1, k) - p.gather(1, k)).abs()).squeeze(1)


def _mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the chosen values.

    0 where none is chosen. torch.where keeps what is not chosen out of the gradient.
    """
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)
