"""A mixture of finished networks: one network whose logits come from the weighted predictions of its members.

Mixing probabilities is the ensemble of Bai et al. (adaptive smoothing, arXiv 2301.12554) without its
nonlinear part; mixing logits is the mixing in the logit space that MixedNUTS (arXiv 2402.02263) compares it
with. Attacks ask the mixture itself for gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from morel_search.errors import NetworkError

__all__ = ["FORMS", "MIXTURE", "Form", "Mixture", "mixed_logits"]

MIXTURE = "mixture"
"""The name of a mixture in the settings of a network."""

Form = Literal["probabilities", "logits"]

FORMS: tuple[Form, ...] = get_args(Form)
"""What is mixed."""

ROUNDING = 1e-6


class Mixture(nn.Module):
    """A weighted mean of the members' probabilities, or of their logits.

    Args:
        members: At least two networks from images, shape (N, C, H, W), to logits, shape (N, classes).
        weights: A weight of each member, at least 0; their sum is 1.
        form: ``probabilities`` gives the logits log(sum_i w_i softmax(z_i)), ``logits`` gives
            log softmax(sum_i w_i z_i).

    Raises:
        NetworkError: There are fewer than two members, or the weights or the form do not fit.
    """

    def __init__(
        self, members: Sequence[nn.Module], weights: Sequence[float], form: Form = "probabilities"
    ) -> None:
        super().__init__()
        if len(members) < 2 or len(weights) != len(members):
            raise NetworkError(
                f"needs two members or more and a weight for each, got {len(members)} members and "
                f"{len(weights)} weights"
            )
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not math.isclose(
            sum(weights), 1.0, abs_tol=ROUNDING
        ):
            raise NetworkError(
                f"needs weights of at least 0 with the sum 1, got {', '.join(map(str, weights))}"
            )
        if form not in FORMS:
            raise NetworkError(f"must mix one of {', '.join(FORMS)}, got {form}")
        self.members = nn.ModuleList(members)
        self.weights, self.form = tuple(float(weight) for weight in weights), form

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the mixture's probabilities, shape (N, classes), of images in [0, 1]."""
        used = [index for index, weight in enumerate(self.weights) if weight > 0]
        logits = [self.members[index](x) for index in used]
        return mixed_logits(logits, [self.weights[index] for index in used], self.form)

    @property
    def passes(self) -> int:
        """Forward passes of one prediction: the number of members with a weight above 0."""
        return sum(weight > 0 for weight in self.weights)


def mixed_logits(logits: Sequence[Tensor], weights: Sequence[float], form: Form) -> Tensor:
    """Mix the logits of networks; see :class:`Mixture`.

    Args:
        logits: Of each network, shape (N, classes).
        weights: Of each network, above 0.
        form: What is mixed.

    Returns:
        Logarithms of probabilities, shape (N, classes).
    """
    if form == "logits":
        mixed = torch.stack([weight * own for weight, own in zip(weights, logits, strict=True)]).sum(dim=0)
        return mixed.log_softmax(dim=1)
    parts = [math.log(weight) + own.log_softmax(dim=1) for weight, own in zip(weights, logits, strict=True)]
    return torch.stack(parts).logsumexp(dim=0)
