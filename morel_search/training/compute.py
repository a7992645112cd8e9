"""The arithmetic of a training: precision, memory layout and compilation, resolved for a device."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from morel_search.errors import TrainingError
from morel_search.training.compute_settings import Compute, ComputeSettings

__all__ = [
    "autocast",
    "breaks_bfloat16",
    "configure",
    "exact_arithmetic",
    "operations",
    "resolve_compute",
    "supports_channels_last",
    "to_memory_format",
]

TINY = 50_000
"""Floating point operations of one image below which a network is called tiny.

Conversions then take as much time as bfloat16 saves (measured, benchmarks/RESULTS.md).
"""

_BACKENDS: Any = torch.backends  # torch declares no types for the attributes used here

NATIVE_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Names of processor features (x86, ARM) that multiply bfloat16 numbers."""


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """Return the context in which the layers of a network compute."""
    return torch.autocast(device.type, torch.bfloat16, enabled=compute.precision == "bfloat16")


def to_memory_format(compute: Compute, images: Tensor) -> Tensor:
    """Return images, shape (N, C, H, W), in the memory layout of the convolutions."""
    return images.contiguous(memory_format=torch.channels_last) if compute.channels_last else images


def resolve_compute(settings: ComputeSettings, device: torch.device | str, operations: int) -> Compute:
    """Resolve ``auto`` for a device.

    Args:
        settings: The settings.
        device: Device of the training; this machine must have it.
        operations: Floating point operations of one forward pass of one image, see :func:`operations`.

    Returns:
        The arithmetic.

    Raises:
        TrainingError: The device does not support the precision, or compilation is on and no compiler is
            installed.
    """
    device = torch.device(device)
    tiny = operations < TINY
    if settings.compile == "on":
        _check_compiler(device)
    return Compute(
        precision=_precision(settings.precision, device, tiny),
        channels_last=settings.channels_last != "off",
        compile=settings.compile == "on",
        deterministic=settings.deterministic,
    )


def operations(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Count the floating point operations of one forward pass of one image.

    Matrix products and convolutions are counted, with two operations for a multiplication and addition.

    Args:
        network: The network; its mode is kept.
        image_shape: Channels, height and width.
    """
    training = network.training
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), counter:
            network.eval()(torch.zeros(1, *image_shape, device=device))
    finally:
        network.train(training)
    return int(counter.get_total_flops())


def supports_channels_last(network: nn.Module, images: Tensor) -> bool:
    """Return whether a network computes in the memory layout ``channels_last``.

    ``view`` after a convolution, for example, fails in this layout.

    Args:
        network: The network; a copy of it is tried.
        images: Some images, float in [0, 1], shape (N, C, H, W).
    """
    converted = copy.deepcopy(network).to(memory_format=torch.channels_last)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            converted.eval()(images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True


def breaks_bfloat16(network: nn.Module, images: Tensor) -> bool:
    """Return whether a network has a convolution that torch computes wrongly in bfloat16 on a CPU.

    These are convolutions with a stride larger than their input, such as 3 x 3 with stride 2 on a map of
    1 x 1: the gradient of the weights, and for some shapes the output or the gradient of the input, holds
    memory that was never written (seen with torch 2.14 on a processor with AMX).

    Args:
        network: The network; its mode is kept.
        images: Some images, float in [0, 1], shape (N, C, H, W).
    """
    outgrown = []

    def look(
        shape: torch.Size, weight: torch.Size, _: object, strides: list[int], *__: object, **___: object
    ) -> int:
        sides = zip(strides, shape[2:], weight[2:], strict=True)
        outgrown.append(any(stride > size and kernel > 1 for stride, size, kernel in sides))
        return 0

    training = network.training
    seen = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution: look})
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), seen:
            network.eval()(images)
    finally:
        network.train(training)
    return any(outgrown)


def configure(compute: Compute, device: torch.device | str) -> None:
    """Set the options of torch in this process for a training; on a CPU, none is set."""
    if torch.device(device).type != "cuda":
        return
    torch.backends.cudnn.benchmark = not compute.deterministic
    torch.backends.cudnn.deterministic = compute.deterministic
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(compute.deterministic)
    # Filling new tensors costs a pass over each of them, and no tensor is read before it is written.
    deterministic: Any = torch.utils.deterministic  # torch declares no types for its attributes
    deterministic.fill_uninitialized_memory = False
    convolutions = "tf32" if compute.precision == "tf32" else "ieee"
    # The head, the embedding space and the losses are matrix products, which stay in float32.
    _set_float32(convolutions, convolutions, "ieee")


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute in float32 without TF32 inside the block, for the forward passes that decide an accuracy."""
    if device.type != "cuda":
        yield
        return
    before = [switch.fp32_precision for switch in _float32_switches()]
    _set_float32("ieee", "ieee", "ieee")
    try:
        yield
    finally:
        _set_float32(*before)


class _Float32Switch(Protocol):
    """An object of ``torch.backends`` that selects the precision of float32 operations."""

    fp32_precision: str


def _float32_switches() -> tuple[_Float32Switch, _Float32Switch, _Float32Switch]:
    """Return the switches of convolutions, recurrent layers and matrix products.

    Their defaults differ, and the older switches of torch require that the first two are equal.
    """
    return _BACKENDS.cudnn.conv, _BACKENDS.cudnn.rnn, _BACKENDS.cuda.matmul


def _set_float32(*precisions: str) -> None:
    for switch, precision in zip(_float32_switches(), precisions, strict=True):
        switch.fp32_precision = precision


def _precision(requested: str, device: torch.device, tiny: bool) -> str:
    if requested == "auto":
        return "bfloat16" if not tiny and _has_bfloat16(device) else "float32"
    if requested == "tf32" and not (
        device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    ):
        raise TrainingError(
            f"compute.precision is tf32, which {_name(device)} does not support (only NVIDIA GPUs since "
            f"Ampere do); use float32 or auto"
        )
    if requested == "bfloat16" and not _has_bfloat16(device):
        raise TrainingError(
            f"compute.precision is bfloat16, which {_name(device)} does not compute natively; use float32 or "
            f"auto"
        )
    return requested


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"this machine's {device.type}"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Older versions of torch have no get_capabilities.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in NATIVE_BF16)


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda" and find_spec("triton") is None:
        raise TrainingError(
            "compute.compile is on, but Triton, which compiles for the GPU, is not installed; install it "
            "with pip install triton, or set compute.compile to off"
        )
    names = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if not any(name and shutil.which(name) for name in names):
        raise TrainingError(
            "compute.compile is on, but no C++ compiler is installed ($CXX, g++, clang++ or c++); install "
            "one, or set compute.compile to off"
        )
