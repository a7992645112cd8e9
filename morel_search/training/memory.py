"""Whether modules fit into memory, checked before they are built, on torch's device ``meta``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from morel_search._machine import memory_bytes

__all__ = ["outline", "outline_problem"]

GIB = 2**30

RANDOM = (Tensor.bernoulli_, Tensor.normal_, Tensor.random_, Tensor.uniform_)

Module = TypeVar("Module", bound=nn.Module)


def outline(build: Callable[[], Module]) -> Module:
    """Build a module without memory for its weights; no random numbers are drawn.

    Raises:
        RuntimeError: A tensor has more elements than torch can address.
    """
    with torch.device("meta"), _NoRandomNumbers():
        return build()


class _NoRandomNumbers(TorchFunctionMode):
    """Leaves out the in-place random functions of tensors on ``meta``, which have no numbers.

    torch imports its compiler for them: 1.5 s of processor time.
    """

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        arguments: tuple[object, ...] = (),
        keywords: Mapping[str, object] | None = None,
    ) -> object:
        if function in RANDOM and isinstance(arguments[0], Tensor) and arguments[0].is_meta:
            return arguments[0]
        return function(*arguments, **(keywords or {}))


def outline_problem(build: Callable[[], nn.Module], copies: int = 1, device: str = "cpu") -> str:
    """Return why a module does not fit into memory; empty if it does.

    Args:
        build: Builds the module; it is called on torch's device ``meta``.
        copies: Number of tensors that are kept for each weight, such as its gradient.
        device: The device that keeps them: ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The second part of a sentence about the module.
    """
    try:
        module = outline(build)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        return "has more weights than any memory can hold"
    needed = copies * sum(tensor.nbytes for tensor in module.state_dict().values())
    memory = int(torch.cuda.get_device_properties(0).total_memory) if device == "cuda" else memory_bytes()
    if memory is None or needed <= memory:
        return ""
    return f"needs {needed / GIB:,.1f} GiB of memory, but {device} has {memory / GIB:,.1f} GiB"
