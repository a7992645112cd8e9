"""Adversarial weight perturbation (Wu, Xia and Wang 2020, arXiv 2004.05884)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from morel_search.errors import TrainingError

__all__ = ["WeightPerturbation", "perturbation"]

TINY = 1e-20
"""Added to the norm of a gradient, so that a gradient of 0 gives a perturbation of 0 (as the authors do)."""


def perturbation(loss: Tensor, weights: Sequence[Tensor], gamma: float) -> list[Tensor]:
    """Return gamma ||w_l|| g_l / ||g_l|| for each weight tensor w_l, where g_l is the gradient of the loss.

    It is eq. 10 of the paper with one step: to first order, the perturbation that raises the loss most among
    those with ||v_l|| <= gamma ||w_l||. Norms are Frobenius norms.

    Args:
        loss: A scalar that depends on the weights.
        weights: The weight tensors; one that the loss does not depend on is not perturbed.
        gamma: Length of the perturbation in units of the norm of the tensor, >= 0.
    """
    gradients = torch.autograd.grad(loss, [*weights], allow_unused=True)
    with torch.no_grad():
        return [
            torch.zeros_like(weight)
            if gradient is None
            else gradient * (gamma * weight.norm() / (gradient.norm() + TINY))
            for weight, gradient in zip(weights, gradients, strict=True)
        ]


class WeightPerturbation:
    """The perturbation of a network's weights in one training step.

    Perturbed are the parameters with at least two dimensions whose name contains ``weight``, as in the
    authors' code: those of convolutions and linear layers, but no biases and no gains with one number for
    each channel.

    Args:
        network: The network, whose weights are changed in place.
        gamma: See :func:`perturbation`.

    Raises:
        TrainingError: The network has no such tensor.
    """

    def __init__(self, network: nn.Module, gamma: float) -> None:
        self._network, self._gamma = network, gamma
        self._weights: list[Tensor] = [
            weight
            for name, weight in network.named_parameters()
            if weight.requires_grad and weight.ndim > 1 and "weight" in name
        ]
        self._added: list[Tensor] = []
        if not self._weights:
            raise TrainingError(
                "awp perturbs the weights of convolutions and linear layers, and the network has none; set "
                "train.awp to 0"
            )

    def add(self, loss: Callable[[], Tensor]) -> None:
        """Add the perturbation for a loss to the weights, until :meth:`remove`.

        Args:
            loss: Computes the loss with the weights as they are; the buffers of the network are as before
                afterwards, so that batch normalisation counts this pass in no running statistics.
        """
        self.remove()
        with _kept_buffers(self._network):
            self._added = perturbation(loss(), self._weights, self._gamma)
        with torch.no_grad():
            torch._foreach_add_(self._weights, self._added)

    @torch.no_grad()
    def remove(self) -> None:
        """Subtract the perturbation from the weights, which may have been updated since."""
        if self._added:
            torch._foreach_sub_(self._weights, self._added)
            self._added = []


@contextmanager
def _kept_buffers(network: nn.Module) -> Iterator[None]:
    """Give every buffer its value back after the block, and its place to the tensor that had it."""
    before = [
        (module, name, buffer, buffer.clone())
        for module in network.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in before:
                buffer.copy_(value)
                setattr(module, name, buffer)
