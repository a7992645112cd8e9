"""The losses of MOREL as pure functions of tensors; each returns a scalar.

p is the softmax of the clean logits, p' the softmax of the adversarial logits, y the labels, N the number of
images of the batch, C the number of classes.
Sources: TRADES, Zhang et al. 2019, eq. 5; MART, Wang et al. 2020, eq. 8 to 10; LOAT, Yin et al. 2023; the
multi-positive contrastive loss, Tian et al. 2023 (StableRep), eq. 2 to 4; the conic scalarisation, Hotegni
and Peitz (arXiv 2410.01697); label smoothing, Szegedy et al. 2016, section 7, with the definition of torch's
``cross_entropy``. Constants that the papers do not give are those of MOREL's reference code
(``advermorel`` 0.1.6); the tests compare values and gradients with it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["conic_scalarization", "contrastive", "cosine", "loat", "mart", "trades"]

Phase = Literal["early", "middle", "late"]


def trades(
    logits: Tensor,
    adversarial_logits: Tensor,
    labels: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """CE(f(x), y) + beta / N * sum_i KL(p(x_i) || p(x'_i)).

    Args:
        logits: Clean logits, shape (N, C).
        adversarial_logits: Shape (N, C).
        labels: Integers in [0, C), shape (N,).
        beta: Weight of the KL term, >= 0.
        label_smoothing: Share s of the target of CE that all C classes have in equal parts: the target is
            1 - s + s / C for the label and s / C for every other class. The KL term has no target.
    """
    natural = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    robust = _divergence(logits, F.log_softmax(adversarial_logits, dim=1)).mean()
    return natural + beta * robust


def mart(
    logits: Tensor,
    adversarial_logits: Tensor,
    labels: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """BCE(x', y) + beta / N * sum_i KL(p(x_i) || p(x'_i)) (1.0000001 - p_y(x_i)).

    BCE is CE(f(x'), y) + mean(-log(1.0001 - max_{k != y} p_k(x') + 1e-12)). Arguments as in :func:`trades`.
    Smoothing changes CE alone: the second term of BCE and the weights of KL refer to the label.
    """
    p, p_adv = F.softmax(logits, dim=1), F.softmax(adversarial_logits, dim=1)
    runner_up = _largest_other(p_adv, labels)
    entropy = F.cross_entropy(adversarial_logits, labels, label_smoothing=label_smoothing)
    boosted = entropy - torch.log(1.0001 - runner_up + 1e-12).mean()
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
    label_smoothing: float = 0.0,
) -> Tensor:
    """MART plus the regulariser of LOAT in its early and late phase.

    R_right and R_wrong are the means, over correctly and wrongly classified clean images, of the spread of
    the probabilities of the wrong classes. The loss is MART + theta (R_right - R_wrong) + gamma A_wrong in
    the early phase, MART + theta (R_wrong - R_right) + gamma A_right in the late phase, and MART in between.
    A is the change of the probabilities under attack, averaged over the wrongly or correctly classified
    images, as in the reference code. The mean over no images is 0.

    Two differences from the reference code: C is the number of logits, where the reference has C = 10 unless
    its caller passes another number; and the ``kl`` forms are computed from logarithms of probabilities. From
    probabilities in float32, they are infinite once a wrong logit is 18 above all others.

    Args:
        logits: Clean logits, shape (N, C), C >= 2.
        adversarial_logits: Shape (N, C).
        labels: Integers in [0, C), shape (N,).
        beta: Weight of MART's KL term, >= 0.
        phase: ``early``, ``middle`` or ``late``.
        regularizer: Form of the spread and of the change, ``mse`` or ``kl``.
        theta: Weight of the regulariser, >= 0.
        gamma: Weight of the change, >= 0; 0 is the variant "LORE_v1" of the reference code.
        label_smoothing: As in :func:`mart`.
    """
    loss = mart(logits, adversarial_logits, labels, beta=beta, label_smoothing=label_smoothing)
    if phase == "middle":
        return loss
    correct = logits.argmax(dim=1) == labels
    spread = (_spread_mse if regularizer == "mse" else _spread_kl)(logits, labels)
    difference = _mean_over(spread, correct) - _mean_over(spread, ~correct)
    loss = loss + theta * (difference if phase == "early" else -difference)
    if gamma:
        change = (_change_mse if regularizer == "mse" else _change_kl)(logits, adversarial_logits)
        loss = loss + gamma * _mean_over(change, ~correct if phase == "early" else correct)
    return loss


def cosine(embeddings: Tensor, adversarial_embeddings: Tensor) -> Tensor:
    """1 - mean_i cos(z_i, z'_i); both arguments have shape (N, d)."""
    return 1.0 - F.cosine_similarity(embeddings, adversarial_embeddings, dim=1).mean()


def contrastive(rows: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Multi-positive contrastive loss, -1/N sum_i sum_j p_ij log q_ij.

    q_ij is the softmax over j != i of t_i.t_j / temperature; p_ij is uniform over the other rows with the
    same label. A row without another row of its label contributes 0 and counts in N.

    Args:
        rows: Unit vectors t, shape (N, d).
        labels: Shape (N,).
        temperature: Temperature tau, > 0.
    """
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    positive = ((labels.unsqueeze(0) == labels.unsqueeze(1)) & ~itself).to(rows.dtype)
    target = positive / positive.sum(dim=1, keepdim=True).clamp(min=1.0)
    # -1e9 instead of -inf: 0 * -inf is NaN, and in a batch of one image the only pair is masked.
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
    """k_f (f - r_f) + k_a (a - r_a) + gamma ((f - r_f) + (a - r_a)).

    Args:
        robust: The robust objective f, a scalar.
        accuracy: The accuracy objective a, a scalar.
        k_robust: Weight k_f.
        k_accuracy: Weight k_a.
        gamma: Weight of the sum.
        reference_robust: Reference point r_f.
        reference_accuracy: Reference point r_a.
    """
    f, a = robust - reference_robust, accuracy - reference_accuracy
    return (k_robust + gamma) * f + (k_accuracy + gamma) * a


def _divergence(logits: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, shape (N,).

    It is computed from the logarithm of p. The reference code computes it from p, and a probability that
    underflows to 0 (logits that differ by more than 104) then makes the gradient NaN while the loss is
    finite.
    """
    return F.kl_div(log_q, F.log_softmax(logits, dim=1), reduction="none", log_target=True).sum(dim=1)


def _of_label(p: Tensor, labels: Tensor) -> Tensor:
    return p.gather(1, labels.unsqueeze(1)).squeeze(1)


def _largest_other(p: Tensor, labels: Tensor) -> Tensor:
    """max_{k != y} p_k, shape (N,)."""
    return p.scatter(1, labels.unsqueeze(1), -1.0).amax(dim=1)


def _spread_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """sum_{j != y} (p_j - (1 - p_y) / (C - 1))^2, shape (N,)."""
    p = F.softmax(logits, dim=1)
    even = (1.0 - p.gather(1, labels.unsqueeze(1))) / (p.shape[1] - 1)
    return (p - even).square().scatter(1, labels.unsqueeze(1), 0.0).sum(dim=1)


def _spread_kl(logits: Tensor, labels: Tensor) -> Tensor:
    """-log(1 - max_{k != y} p_k), shape (N,)."""
    largest = logits.scatter(1, labels.unsqueeze(1), -torch.inf).argmax(dim=1, keepdim=True)
    return -_log_complement(F.log_softmax(logits, dim=1), largest)


def _change_mse(logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """sum_j (p'_j - p_j)^2, shape (N,)."""
    return (F.softmax(adversarial_logits, dim=1) - F.softmax(logits, dim=1)).square().sum(dim=1)


def _change_kl(logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """-log(1 - |p'_k - p_k|) for the predicted class k of the adversarial image, shape (N,).

    1 - |p' - p| is the smaller of (1 - p') + p and (1 - p) + p'. At p' = p the gradient is 0.
    """
    log_p, log_p_adv = F.log_softmax(logits, dim=1), F.log_softmax(adversarial_logits, dim=1)
    k = adversarial_logits.argmax(dim=1, keepdim=True)
    of_k, of_k_adv = log_p.gather(1, k).squeeze(1), log_p_adv.gather(1, k).squeeze(1)
    above = torch.logaddexp(_log_complement(log_p_adv, k), of_k)
    below = torch.logaddexp(_log_complement(log_p, k), of_k_adv)
    return -torch.minimum(above, below)


def _log_complement(log_p: Tensor, k: Tensor) -> Tensor:
    """log(1 - p_k), from the logarithms of the other probabilities.

    Args:
        log_p: Logarithms of probabilities, shape (N, C), C >= 2.
        k: Index of a class for each row, shape (N, 1).

    Returns:
        Shape (N,).
    """
    return log_p.scatter(1, k, -torch.inf).logsumexp(dim=1)


def _mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values in the mask; 0 for an empty mask.

    torch.where keeps the other values out of the gradient.
    """
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)
