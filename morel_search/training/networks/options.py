"""Checks of what a space file gives as ``network.options``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from morel_search.errors import NetworkError

__all__ = ["channel_values", "check_image", "one_of", "share", "whole"]


def whole(name: str, value: Any, at_least: int = 1) -> int:
    """A whole number of at least so much; NetworkError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise NetworkError(f"option {name} must be a whole number >= {at_least}, got {value!r}")
    return value


def share(name: str, value: Any) -> float:
    """A number in [0, 1); NetworkError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise NetworkError(f"option {name} must be a number in [0, 1), got {value!r}")
    return float(value)


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of some names; NetworkError otherwise."""
    if value not in choices:
        raise NetworkError(f"option {name} must be {' or '.join(choices)}, got {value!r}")
    return str(value)


def channel_values(name: str, value: Any, channels: int, *, positive: bool = False) -> tuple[float, ...]:
    """A number for each channel, from one for all or from a list; NetworkError otherwise."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * channels
    numbers = [
        float(one)
        for one in values
        if isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one)
    ]
    if len(numbers) != channels or len(values) != channels or (positive and min(numbers) <= 0):
        kind = "numbers above 0" if positive else "numbers"
        raise NetworkError(
            f"option {name} must be one number or {channels} (one a channel), {kind}, got {value!r}"
        )
    return tuple(numbers)


def check_image(image_shape: tuple[int, int, int], smallest: int) -> int:
    """Raise NetworkError if an image's side is below ``smallest`` pixels.

    The number of channels otherwise.
    """
    channels, height, width = image_shape
    if min(height, width) < smallest:
        raise NetworkError(
            f"needs images of at least {smallest} x {smallest} pixels, got {channels} x {height} x {width}"
        )
    return channels
