"""Whether modules fit into memory, checked before they are built, on torch's device ``meta``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from morel_search._machine import memory_bytes

__all__ = ["outline", "outline_problem"]

GIB = 2**30

Module = TypeVar("Module", bound=nn.Module)


def outline(build: Callable[[], Module]) -> Module:
    """Build a module without memory for its weights; no random numbers are drawn.

    Raises:
        RuntimeError: A tensor has more elements than torch can address.
    """
    with torch.device("meta"):
        return build()


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
