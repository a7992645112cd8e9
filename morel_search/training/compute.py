"""In which arithmetic a training computes: what was asked for, made into what this machine can do."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from morel_search.errors import TrainingError
from morel_search.training.settings import Compute, ComputeSettings

__all__ = [
    "autocast",
    "configure",
    "exact_arithmetic",
    "operations",
    "resolve_compute",
    "supports_channels_last",
    "to_memory_format",
]

TINY = 1_000_000
"""Below so many floating point operations an image, conversions cost what bfloat16 gains (measured, benchmarks/RESULTS.md)."""

_BACKENDS: Any = torch.backends
"""Its switches have no types."""

NATIVE_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What a processor that multiplies bfloat16 numbers calls it (x86, ARM)."""


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """The context in which the network's layers compute."""
    return torch.autocast(device.type, torch.bfloat16, enabled=compute.precision == "bfloat16")


def to_memory_format(compute: Compute, images: Tensor) -> Tensor:
    """Images, shape (N, C, H, W), in the memory layout of the convolutions."""
    return images.contiguous(memory_format=torch.channels_last) if compute.channels_last else images


def resolve_compute(settings: ComputeSettings, device: torch.device | str, operations: int) -> Compute:
    """Decide what ``auto`` stands for on a device.

    Args:
        settings: What was asked for.
        device: Where the training computes; it must be there.
        operations: Floating point operations of one forward pass of one image, see :func:`operations`.

    Raises:
        TrainingError: The device does not have the precision, or there is no compiler.
    """
    device = torch.device(device)
    tiny = operations < TINY
    if settings.compile == "on":
        _check_compiler(device)
    return Compute(
        precision=_precision(settings.precision, device, tiny),
        channels_last=not tiny if settings.channels_last == "auto" else settings.channels_last == "on",
        compile=settings.compile == "on",
        deterministic=settings.deterministic,
    )


def operations(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Floating point operations of the matrix products and convolutions of one image's forward pass, two a multiplication and addition."""
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
    """Whether a network works on maps in that layout: ``view`` after a convolution, for one, does not.

    Args:
        network: It is not changed.
        images: A few, float in [0, 1], shape (N, C, H, W).
    """
    laid_out = copy.deepcopy(network).to(memory_format=torch.channels_last)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            laid_out.eval()(images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True


def configure(compute: Compute, device: torch.device | str) -> None:
    """Set torch's switches of this process for a training; on a CPU there is nothing to set."""
    if torch.device(device).type != "cuda":
        return
    torch.backends.cudnn.benchmark = not compute.deterministic
    torch.backends.cudnn.deterministic = compute.deterministic
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(compute.deterministic)
    switches: Any = torch.utils.deterministic
    switches.fill_uninitialized_memory = (
        False  # costs a pass over every new tensor, and nothing here reads what it has not written
    )
    convolutions = "tf32" if compute.precision == "tf32" else "ieee"
    _set_float32(
        convolutions, convolutions, "ieee"
    )  # the head, the embedding space and the losses are matrix products


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Float32 without TF32 inside, for the passes that decide an accuracy."""
    if device.type != "cuda":
        yield
        return
    before = [switch.fp32_precision for switch in _float32_switches()]
    _set_float32("ieee", "ieee", "ieee")
    try:
        yield
    finally:
        _set_float32(*before)


def _float32_switches() -> tuple[Any, Any, Any]:
    """torch's own defaults differ among them, and its older switches want the first two alike."""
    return _BACKENDS.cudnn.conv, _BACKENDS.cudnn.rnn, _BACKENDS.cuda.matmul


def _set_float32(*precisions: str) -> None:
    for switch, precision in zip(_float32_switches(), precisions, strict=True):
        switch.fp32_precision = precision


def _precision(asked: str, device: torch.device, tiny: bool) -> str:
    if asked == "auto":
        return "bfloat16" if not tiny and _has_bfloat16(device) else "float32"
    if asked == "tf32" and not (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)):
        raise TrainingError(
            "compute.precision is tf32, which only NVIDIA GPUs since Ampere compute; float32 and auto "
            "work everywhere"
        )
    if asked == "bfloat16" and not _has_bfloat16(device):
        where = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"this machine's {device.type}"
        )
        raise TrainingError(
            f"compute.precision is bfloat16, which {where} does not compute natively; float32 and auto "
            f"work everywhere"
        )
    return asked


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    capabilities: Mapping[str, Any] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older torch does not have it
    return any(capabilities.get(name) for name in NATIVE_BF16)


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda" and find_spec("triton") is None:
        raise TrainingError(
            "compute.compile is on, but Triton, which compiles for the GPU, is not installed: pip "
            "install triton, or off"
        )
    names = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if not any(name and shutil.which(name) for name in names):
        raise TrainingError(
            "compute.compile is on, but there is no C++ compiler here (looked for $CXX, g++, clang++ and c++)"
        )
