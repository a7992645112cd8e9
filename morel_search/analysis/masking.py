"""Signs of gradient masking: a network that is not robust but on which the gradients of the attacks fail."""

from __future__ import annotations

import math
from collections.abc import Mapping

from morel_search._format import percent
from morel_search.results.diagnostics import MaskingDiagnostics

__all__ = ["masking_warnings"]

# Limits of the diagnostics; above them there is a warning.
ZERO_GRADIENTS = 0.05
UNFIT = 0.0
CHANCE = 1e-3
EVERYWHERE = 0.05

COLLAPSED = 0.99
"""Fraction of images in one class above which zero gradients are expected: the network is constant."""

FEWEST_IMAGES = 50
"""Fewest images on which the curve of robust accuracy against the radius is judged."""

LOWEST, WORKING, NOT_FALLING = 0.1, 0.8, 0.95
"""A curve is judged when its robust accuracy at epsilon is above LOWEST and below WORKING times that at the
smallest radius; it does not fall when that at twice epsilon is above NOT_FALLING times that at epsilon."""

STEPS_FRACTION, BLACK_BOX_FRACTION, TRANSFER_FRACTION = 0.05, 0.02, 0.03
"""Fraction of the images that a stronger attack, a black-box attack or a transfer attack may break in
addition."""

FEWEST_BROKEN = 3
"""Fewest additional images that a stronger or a black-box attack must break."""


def masking_warnings(
    diagnostics: MaskingDiagnostics,
    left: Mapping[str, int],
    images: int,
    late_images: int,
    late_left: Mapping[str, int],
    not_finite: int = 0,
) -> list[str]:
    """Return one sentence, without a full stop, for each sign of gradient masking.

    Args:
        diagnostics: What was measured on the network.
        left: Number of images that are correctly classified after each white-box attack; ``clean`` before
            them.
        images: Number of images on which the white-box attacks were run.
        late_images: Number of images on which FAB-T and Square were run as well.
        late_left: The same as ``left`` for these images, after every attack.
        not_finite: Number of the ``images`` with logits that are not finite.
    """
    return [
        *_gradient_warnings(diagnostics),
        *_finite_warnings(diagnostics, not_finite, images),
        *_radius_warnings(diagnostics),
        *_stronger_attack_warnings(left, images),
        *_black_box_warnings(late_left, late_images),
        *_transfer_warnings(diagnostics, left.get("apgd-t", 0), images),
    ]


def _gradient_warnings(diagnostics: MaskingDiagnostics) -> list[str]:
    warnings = []
    if diagnostics.scale != 1.0:
        warnings.append(
            f"logits are scaled up: the median difference of the two largest is {diagnostics.gap:,.0f}, "
            "where the gradient of the softmax is zero; the attacks used the logits divided by "
            f"{diagnostics.scale:,.0f}"
        )
    collapsed = diagnostics.same_class > COLLAPSED
    if diagnostics.zero_gradients > ZERO_GRADIENTS and not collapsed:
        warnings.append(
            "gradients vanish: the gradient of the cross-entropy is zero on "
            f"{percent(diagnostics.zero_gradients, 0)} of the images, so attacks that follow it make no "
            "progress"
        )
    if diagnostics.chance > CHANCE:
        warnings.append(
            f"the forward pass is random: two passes differ by {diagnostics.chance:.2g} standard deviations "
            "of the logits; attacks would have to average over several passes"
        )
    return warnings


def _finite_warnings(diagnostics: MaskingDiagnostics, not_finite: int, images: int) -> list[str]:
    """Return a sentence about logits that are not finite, or else about gradients that are not."""
    if not_finite:
        return [
            f"logits are not finite on {not_finite} of {images} images, which count as misclassified; the "
            "network has no prediction there"
        ]
    if diagnostics.unfit > UNFIT:
        unfit = round(diagnostics.unfit * diagnostics.images)
        return [f"logits or gradients are not finite on {unfit} of {diagnostics.images} images"]
    return []


def _radius_warnings(diagnostics: MaskingDiagnostics) -> list[str]:
    warnings = []
    # A network that assigns all images to one class withstands every attack without gradient masking.
    if diagnostics.everywhere > EVERYWHERE + diagnostics.same_class:
        warnings.append(
            f"{percent(diagnostics.everywhere, 0)} of the images withstand an attack that may turn them into "
            "any other image: the attack does not work"
        )
    curve = diagnostics.curve
    if curve and diagnostics.images >= FEWEST_IMAGES:
        smallest, at_epsilon, at_twice = curve[0], curve[len(curve) // 2 - 1], curve[-1]
        if LOWEST < at_epsilon < WORKING * smallest and at_twice > NOT_FALLING * at_epsilon:
            warnings.append(
                f"robustness does not fall with the radius: {percent(at_epsilon)} at epsilon and "
                f"{percent(at_twice)} at twice epsilon"
            )
    return warnings


def _stronger_attack_warnings(left: Mapping[str, int], images: int) -> list[str]:
    """Return a warning when both PGD-50 and APGD break many images that the attack before them left.

    When PGD-50 and APGD agree, only the attack of the search was weak.
    """
    by_pgd50, by_apgd = (
        left.get(weak, 0) - left.get(strong, left.get(weak, 0))
        for weak, strong in (("pgd", "pgd-50"), ("pgd-50", "apgd-t"))
    )
    if min(by_pgd50, by_apgd) <= max(FEWEST_BROKEN, STEPS_FRACTION * images):
        return []
    return [
        f"more steps change much: PGD-50 with restarts breaks {by_pgd50} of {images} images that the attack "
        f"of the search left, and APGD breaks {by_apgd} more; white-box attacks are unreliable here"
    ]


def _black_box_warnings(left: Mapping[str, int], images: int) -> list[str]:
    before, after = left.get("fab-t", 0), left.get("square", 0)
    if not images or before - after <= max(FEWEST_BROKEN, BLACK_BOX_FRACTION * before):
        return []
    return [
        "a black-box attack is stronger than the white-box attacks: Square, which uses only the logits, "
        f"breaks {before - after} of the {before} images that they left; the gradients are misleading"
    ]


def _transfer_warnings(diagnostics: MaskingDiagnostics, left: int, images: int) -> list[str]:
    transfer = diagnostics.transfer
    if not transfer or not images:
        return []
    source = min(transfer, key=lambda label: transfer[label])
    accuracy, own = transfer[source], left / images
    if accuracy >= own - _tolerance(accuracy, diagnostics.images, images):
        return []
    return [
        f"examples made on another network ({source}) break more images than the attacks on this network: "
        f"the robust accuracy is {percent(accuracy)} under them and {percent(own)} under its own attacks; "
        "the gradients are misleading"
    ]


def _tolerance(accuracy: float, diagnosed: int, images: int) -> float:
    """Return how far the transfer accuracy may be below the accuracy under the network's own attacks.

    When both were measured on different numbers of images, two standard errors are added.
    """
    fewer = min(diagnosed, images)
    if diagnosed == images or not fewer:
        return TRANSFER_FRACTION
    return TRANSFER_FRACTION + 2 * math.sqrt(accuracy * (1 - accuracy) / fewer)
