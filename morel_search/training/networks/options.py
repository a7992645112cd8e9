"""Checks of ``network.options``."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search._format import shortened
from morel_search._values import LARGEST_WHOLE
from morel_search.errors import NetworkError
from morel_search.training.limits import size_problem

__all__ = ["MAX_LAYERS", "channel_values", "check_image", "one_of", "share", "whole"]

MAX_LAYERS = 1000
"""Largest depth of a network; building more layers takes minutes."""


def whole(name: str, value: object, at_least: int = 1, at_most: int = LARGEST_WHOLE) -> int:
    """Return the value of an option that must be a whole number from ``at_least`` to ``at_most``.

    Raises:
        NetworkError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise NetworkError(
            f"option {name} must be a whole number >= {at_least}, got {shortened(repr(value))}"
        )
    if value > at_most:
        raise NetworkError(f"option {name} must be a whole number <= {at_most}, got {shortened(repr(value))}")
    return value


def share(name: str, value: object) -> float:
    """Return the value of an option that must be a number in [0, 1).

    Raises:
        NetworkError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise NetworkError(f"option {name} must be a number in [0, 1), got {shortened(repr(value))}")
    return float(value)


def one_of(name: str, value: object, choices: Sequence[str]) -> str:
    """Return the value of an option that must be one of some names.

    Raises:
        NetworkError: It is not.
    """
    if value not in choices:
        raise NetworkError(f"option {name} must be {' or '.join(choices)}, got {shortened(repr(value))}")
    return str(value)


def channel_values(name: str, value: object, channels: int, *, positive: bool = False) -> tuple[float, ...]:
    """Return a number for each channel, from one number for all channels or a list.

    Raises:
        NetworkError: The value is neither, or not positive although it must be.
    """
    values: list[object] = list(value) if isinstance(value, (list, tuple)) else [value] * channels
    numbers = [
        float(number)
        for number in values
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not size_problem(number)
    ]
    if len(numbers) != channels or len(values) != channels or (positive and min(numbers) <= 0):
        kind = "numbers above 0" if positive else "numbers"
        raise NetworkError(
            f"option {name} must be one number or {channels} (one for each channel), {kind}, got "
            f"{shortened(repr(value))}"
        )
    return tuple(numbers)


def check_image(image_shape: tuple[int, int, int], smallest: int) -> int:
    """Return the number of channels of images that are large enough.

    Args:
        image_shape: Channels, height and width.
        smallest: Smallest height and width, in pixels.

    Raises:
        NetworkError: The images are smaller.
    """
    channels, height, width = image_shape
    if min(height, width) < smallest:
        raise NetworkError(
            f"requires images of at least {smallest} x {smallest} pixels, got {channels} x {height} x {width}"
        )
    return channels
