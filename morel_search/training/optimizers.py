"""SGD and AdamW as few grouped operations, with the arithmetic of ``torch.optim`` to the last bit.

``torch.optim`` imports torch's compiler when the first optimizer of a process is made (1.5 to 2.7 s of
processor time), and AdamW reads a counter of each parameter in each step. Here the counters are on the host,
and each operation takes all parameters at once, which on a GPU is one kernel or a few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

__all__ = ["SGD", "AdamW", "Optimizer"]

EPSILON = 1e-8
"""Added to the denominator of Adam (Kingma and Ba 2015, algorithm 1; torch's default)."""

States = dict[int, dict[str, Tensor]]
"""Tensors by name, for the position of each parameter."""


class Optimizer:
    """What both optimizers share: parameters, learning rate, and their state.

    Args:
        parameters: Parameters that receive gradients; one without a gradient is left out of a step.
        lr: Learning rate; it may be changed between two steps.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        self.parameters, self.lr = list(parameters), lr
        self.state: States = {}
        self.steps: dict[int, int] = defaultdict(int)
        """Number of steps of each parameter, which Adam needs."""

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients."""
        chosen = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if chosen:
            self._step(chosen)

    def _step(self, chosen: list[int]) -> None:
        raise NotImplementedError

    def _gradients(self, chosen: list[int]) -> list[Tensor]:
        gradients = [self.parameters[i].grad for i in chosen]
        return [gradient for gradient in gradients if gradient is not None]

    def _states(self, chosen: list[int], name: str) -> list[Tensor]:
        return [self.state[i][name] for i in chosen]

    def state_dict(self) -> dict[str, States]:
        """Return the state, as ``torch.optim`` names it."""
        return {
            "state": {
                i: {**state, **({"step": torch.tensor(float(self.steps[i]))} if i in self.steps else {})}
                for i, state in self.state.items()
            }
        }

    def load_state_dict(self, saved: Mapping[str, States]) -> None:
        """Take over a state, of this class or of its namesake in ``torch.optim``."""
        self.state, self.steps = {}, defaultdict(int)
        for i, state in saved["state"].items():
            like = self.parameters[i]
            if "step" in state:
                self.steps[i] = int(state["step"])
            self.state[i] = {
                name: value.to(like.device, like.dtype, copy=True)
                for name, value in state.items()
                if name != "step" and value is not None
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

    def _step(self, chosen: list[int]) -> None:
        weights, gradients = [self.parameters[i] for i in chosen], self._gradients(chosen)
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, weights, alpha=self.weight_decay))
        if self.momentum:
            buffers = self._averaged(chosen, gradients)
            gradients = list(torch._foreach_add(gradients, buffers, alpha=self.momentum))
        torch._foreach_add_(weights, gradients, alpha=-self.lr)

    def _averaged(self, chosen: list[int], gradients: list[Tensor]) -> list[Tensor]:
        """Bring the momentum up to date; that of a parameter's first step is its gradient."""
        first = ["momentum_buffer" not in self.state.get(i, {}) for i in chosen]
        for i, gradient, new in zip(chosen, gradients, first, strict=True):
            if new:
                self.state[i] = {"momentum_buffer": gradient.clone()}
        buffers = self._states(chosen, "momentum_buffer")
        if old := [
            (buffer, gradient)
            for buffer, gradient, new in zip(buffers, gradients, first, strict=True)
            if not new
        ]:
            moving, latest = (list(part) for part in zip(*old, strict=True))
            torch._foreach_mul_(moving, self.momentum)
            torch._foreach_add_(moving, latest)
        return buffers


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

    def _step(self, chosen: list[int]) -> None:
        same_age: dict[int, list[int]] = defaultdict(list)
        for i in chosen:
            if i not in self.state:
                weight = self.parameters[i]
                self.state[i] = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
            self.steps[i] += 1
            same_age[self.steps[i]].append(i)
        for steps, group in same_age.items():
            self._update(steps, group)

    def _update(self, steps: int, group: list[int]) -> None:
        """Step number ``steps`` of some parameters (algorithm 2, lines 6 to 12)."""
        weights = _real([self.parameters[i] for i in group])
        gradients = _real(self._gradients(group))
        means, squares = (_real(self._states(group, name)) for name in ("exp_avg", "exp_avg_sq"))
        beta1, beta2 = self.betas
        if self.weight_decay:
            torch._foreach_mul_(weights, 1 - self.lr * self.weight_decay)
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, (1 - beta2**steps) ** 0.5)
        torch._foreach_add_(denominators, EPSILON)
        torch._foreach_addcdiv_(weights, means, denominators, -self.lr / (1 - beta1**steps))


def _real(tensors: list[Tensor]) -> list[Tensor]:
    """Complex numbers as pairs of real ones."""
    return [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]
