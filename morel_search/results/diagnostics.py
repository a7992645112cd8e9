"""What the checks for gradient masking measured on a network.

The checks are in :mod:`morel_search.verification.masking`, which needs torch; this module does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from morel_search.results.attack_names import MULTIPLES

__all__ = ["MaskingDiagnostics"]


@dataclass(frozen=True, slots=True)
class MaskingDiagnostics:
    """Diagnostics of gradient masking, measured on some images. Every field but ``transfer`` is required.

    Attributes:
        images: Number of images.
        zero_gradients: Fraction of the correctly classified images whose cross-entropy has a zero gradient.
        unfit: Fraction of the images with a logit or a gradient that is not finite.
        gap: Median difference of the two largest logits, over the images with finite logits.
        same_class: Largest fraction of the images that are assigned to one class.
        chance: Largest difference between the logits of two forward passes, in units of their standard
            deviation, over the images with finite logits.
        scale: Divisor of the logits in the attacks: 1, unless ``gap`` is very large.
        curve: Robust accuracy on the images at each of :data:`morel_search.results.attack_names.MULTIPLES` of
            epsilon.
        everywhere: Robust accuracy when the ball contains every image.
        transfer: Robust accuracy on examples that were made on another network, by the label of that network;
            empty when no other network was available.
    """

    images: int
    zero_gradients: float
    unfit: float
    gap: float
    same_class: float
    chance: float
    scale: float
    curve: tuple[float, ...]
    everywhere: float
    transfer: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> MaskingDiagnostics | None:
        """Read the diagnostics from the content of an attack record.

        Returns:
            The diagnostics; None when one of them is missing or is not a finite number, or when the curve has
            another number of radii than :data:`MULTIPLES`. The network must then
            be diagnosed again: a missing value does not mean that nothing suspicious was measured.
        """
        try:
            numbers = {name: _number(values[name]) for name in _NUMBERS}
            curve, transfer = values["curve"], values.get("transfer", {})
            if not isinstance(curve, list) or not isinstance(transfer, dict):
                return None
            if len(curve) not in (0, len(MULTIPLES)):
                return None
            return cls(
                images=int(_number(values["images"])),
                **numbers,
                curve=tuple(_accuracy(accuracy) for accuracy in curve),
                transfer={str(label): _accuracy(accuracy) for label, accuracy in transfer.items()},
            )
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, object]:
        """Return the diagnostics as JSON values, under the names of the fields."""
        return asdict(self)


_NUMBERS = ("zero_gradients", "unfit", "gap", "same_class", "chance", "scale", "everywhere")


def _accuracy(value: object) -> float:
    """Return a fraction from 0 to 1; raise ValueError for any other number."""
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError(f"{number} is not an accuracy")
    return number


def _number(value: object) -> float:
    """Return a finite number as a float; raise TypeError for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is not a finite number")
    return float(value)
