"""SGD and AdamW by torch's functions of one step, without the classes of ``torch.optim``.

``torch.optim`` imports torch's compiler when the first optimizer of a process is made (1.3 to 2.7 s of
processor time); ``torch.optim.sgd.sgd`` and ``torch.optim.adamw.adamw``, which its classes call, do not. They
are called with all parameters at once, which on a GPU is one kernel or a few for each operation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

__all__ = ["SGD", "AdamW", "Optimizer"]

EPSILON = 1e-8
"""Added to the denominator of Adam (Kingma and Ba 2015, algorithm 1; torch's default)."""

States = dict[int, dict[str, Tensor]]
"""Tensors by name, for the position of each parameter."""


class Optimizer(ABC):
    """What both optimizers share: parameters, learning rate, and their state.

    Args:
        parameters: Parameters that receive gradients; one without a gradient is left out of a step.
        lr: Learning rate; it may be changed between two steps.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        self.parameters, self.lr = list(parameters), lr
        self.state: States = {}

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients."""
        gradients = {i: weight.grad for i, weight in enumerate(self.parameters) if weight.grad is not None}
        if gradients:
            self._step([self.parameters[i] for i in gradients], gradients)

    @abstractmethod
    def _step(self, weights: list[Tensor], gradients: dict[int, Tensor]) -> None:
        """Change parameters by their gradients, which are given with the parameters' positions."""

    def state_dict(self) -> dict[str, States]:
        """Return the state, as ``torch.optim`` names it; later steps change its tensors."""
        return {"state": {i: dict(state) for i, state in self.state.items()}}

    def load_state_dict(self, saved: Mapping[str, States]) -> None:
        """Take over a state, of this class or of its namesake in ``torch.optim``."""
        self.state = {
            i: {
                # A number of steps stays on the CPU, where reading it does not wait for the device.
                name: value.to("cpu" if name == "step" else self.parameters[i].device, copy=True)
                for name, value in state.items()
                if value is not None
            }
            for i, state in saved["state"].items()
        }


class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov momentum, as ``torch.optim.SGD``.

    Args:
        parameters: As in :class:`Optimizer`.
        lr: Learning rate.
        momentum: In [0, 1); 0 is plain descent.
        weight_decay: Factor of the parameters that is added to their gradients.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, *, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum, self.weight_decay = momentum, weight_decay

    def _step(self, weights: list[Tensor], gradients: dict[int, Tensor]) -> None:
        buffers = [self.state.get(i, {}).get("momentum_buffer") for i in gradients]
        sgd(
            weights,
            list(gradients.values()),
            buffers,
            foreach=True,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=self.lr,
            dampening=0.0,
            nesterov=self.momentum > 0,
            maximize=False,
        )
        for i, buffer in zip(gradients, buffers, strict=True):
            if buffer is not None:  # torch makes it in a parameter's first step
                self.state[i] = {"momentum_buffer": buffer}


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as ``torch.optim.AdamW``.

    Args:
        parameters: As in :class:`Optimizer`.
        lr: Learning rate.
        betas: Decay of the averages of gradients and of their squares, each in [0, 1).
        weight_decay: Decay of the parameters, times the learning rate.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, *, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(parameters, lr)
        self.betas, self.weight_decay = betas, weight_decay

    def _step(self, weights: list[Tensor], gradients: dict[int, Tensor]) -> None:
        for i, weight in zip(gradients, weights, strict=True):
            if i not in self.state:
                self.state[i] = {
                    "step": torch.zeros(()),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }
        states = [self.state[i] for i in gradients]
        adamw(
            weights,
            list(gradients.values()),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=True,
            has_complex=any(weight.is_complex() for weight in weights),
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.lr,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )
