"""The arithmetic of trainings and attacks: as a space file asks for it, and as it is decided for a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from morel_search.training.limits import setting

__all__ = ["FLOAT32", "Compute", "ComputeSettings", "Precision"]

Precision = Literal["auto", "float32", "tf32", "bfloat16"]
Switch = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSettings:
    """Arithmetic of trainings and attacks.

    Losses, and the forward passes that decide an accuracy, are computed in float32 in any case.
    """

    precision: Precision = setting(
        "auto",
        doc="precision of convolutions and linear layers: float32, tf32 (CUDA, convolutions only), "
        "bfloat16, or auto (bfloat16 if the device computes it natively and the network is not "
        "tiny, else float32)",
    )
    channels_last: Switch = setting(
        "auto",
        doc="memory layout with channels last: on, off, or auto (on if the network works in it)",
    )
    compile: Switch = setting(
        "auto",
        doc="torch.compile, which needs a C++ compiler: on, off, or auto (off, because it gained "
        "nothing on a CPU)",
    )
    deterministic: bool = setting(
        False,
        doc="make repeats equal bit for bit on one CUDA device; slower, because cuDNN may not choose "
        "its algorithms",
    )


@dataclass(frozen=True, slots=True)
class Compute:
    """The arithmetic of a training, decided; see :func:`morel_search.training.compute.resolve_compute`.

    Attributes:
        precision: ``float32``, ``tf32`` or ``bfloat16``, of convolutions and linear layers.
        channels_last: Whether images and convolutions lie in memory channel by channel within a pixel.
        compile: Whether torch.compile is used.
        deterministic: Whether repeats on one CUDA device are equal to the bit.
    """

    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False

    def __str__(self) -> str:
        also = (
            (self.channels_last, "channels last"),
            (self.compile, "compiled"),
            (self.deterministic, "deterministic"),
        )
        return ", ".join([self.precision, *(name for holds, name in also if holds)])


FLOAT32 = Compute()
"""Float32 in torch's own layout: what everything else is compared with."""
