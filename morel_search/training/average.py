"""An exponential average of a network's weights and buffers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential average of the weights and buffers of a network.

    It follows faster at first: its decay is min(decay, (1 + n) / (10 + n)) after n updates. The first update
    copies the network. The number of updates is on the host, so that no update waits for a device, and each
    operation takes all tensors at once.

    Args:
        network: The network; it is copied.
        decay: In (0, 1).

    Attributes:
        module: The averaged network.
        updates: Number of updates.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take a step towards the network."""
        pairs = list(zip(_tensors(self.module), _tensors(network), strict=True))
        n = self.updates
        weight = 1.0 if n == 0 else 1.0 - min(self.decay, (1.0 + n) / (10.0 + n))
        moving = [pair for pair in pairs if n > 0 and pair[0].is_floating_point()]
        copied = [pair for pair in pairs if n == 0 or not pair[0].is_floating_point()]
        if moving:
            torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], weight)
        if copied:
            torch._foreach_copy_([old for old, _ in copied], [new for _, new in copied])
        self.updates += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state, in the form of ``torch.optim.swa_utils.AveragedModel``."""
        weights = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        return {"n_averaged": torch.tensor(self.updates), **weights}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state."""
        self.updates = int(state["n_averaged"])
        self.module.load_state_dict(
            {name.removeprefix("module."): value for name, value in state.items() if name != "n_averaged"}
        )


def _tensors(network: nn.Module) -> list[Tensor]:
    return list(chain(network.parameters(), network.buffers()))
