"""What looks like robustness and is none: the signs of a fooled attack, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["masking_warnings"]

ZERO_GRADIENTS = 0.05
UNFIT = 0.0
CHANCE = 1e-3
COLLAPSED = 0.99
EVERYWHERE = 0.05
WORKING, NOT_FALLING, ENOUGH = 0.8, 0.95, 50
STEPS_POINTS, BLACK_BOX_SHARE, TRANSFER_POINTS, FEWEST = 0.05, 0.02, 0.03, 3


def masking_warnings(
    diagnostics: Mapping[str, Any],
    left: Mapping[str, int],
    images: int,
    late_images: int,
    late_left: Mapping[str, int],
) -> list[str]:
    """Say what was seen and what it means; no sentence where nothing looks wrong.

    Args:
        diagnostics: The signs, as :class:`morel_search.verification.masking.MaskingDiagnostics` has them;
            empty where none were read.
        left: After each attack by gradient, how many images were still right; ``clean`` too.
        images: Images that saw these attacks.
        late_images: Images that saw FAB-T and Square too.
        late_left: The same as ``left`` for those images, all attacks.
    """
    found = _of_gradients(diagnostics) + _of_radius(diagnostics)
    more, stronger = (
        left.get(weak, 0) - left.get(strong, left.get(weak, 0))
        for weak, strong in (("pgd", "pgd-50"), ("pgd-50", "apgd-t"))
    )
    if min(more, stronger) > max(
        FEWEST, STEPS_POINTS * images
    ):  # where the strong attacks agree, only the search's own was weak
        found.append(
            f"more steps change much: PGD-50 with restarts breaks {more} of {images} images that the search's own attack left, and "
            f"APGD breaks {stronger} more; attacks by gradient have trouble with this network"
        )
    before, after = late_left.get("fab-t", 0), late_left.get("square", 0)
    if late_images and before - after > max(FEWEST, BLACK_BOX_SHARE * before):
        found.append(
            f"a black-box attack beats those by gradient: Square, which sees logits alone, breaks {before - after} of the {before} "
            "images that they left; the gradients mislead"
        )
    transfer = {str(name): float(value) for name, value in dict(diagnostics.get("transfer") or {}).items()}
    worst = min(transfer, key=lambda name: transfer[name], default=None)
    if (
        worst is not None
        and images
        and transfer[worst]
        < left.get("apgd-t", 0) / images - _tolerance(transfer[worst], diagnostics, images)
    ):
        found.append(
            f"examples made on another network ({worst}) break more than attacks on this one: {transfer[worst]:.1%} withstand them, and "
            f"{left['apgd-t'] / images:.1%} its own; the gradients mislead"
        )
    return found


def _tolerance(accuracy: float, diagnostics: Mapping[str, Any], images: int) -> float:
    """How far an accuracy on the images that were looked at may lie below one on other images: two standard errors more."""
    looked_at = int(diagnostics.get("images", images))
    fewer = min(looked_at, images)
    return TRANSFER_POINTS + (
        0.0 if looked_at == images or not fewer else 2 * math.sqrt(accuracy * (1 - accuracy) / fewer)
    )


def _of_gradients(diagnostics: Mapping[str, Any]) -> list[str]:
    found = []
    if (scale := float(diagnostics.get("scale", 1.0))) != 1.0:
        found.append(
            f"logits are scaled up: the two largest are {float(diagnostics['gap']):,.0f} apart (median), where softmax has no gradient; "
            f"the attacks saw them divided by {scale:,.0f}"
        )
    collapsed = (
        float(diagnostics.get("same_class", 0.0)) > COLLAPSED
    )  # a network that says the same of every image has nothing to hide
    if (zero := float(diagnostics.get("zero_gradients", 0.0))) > ZERO_GRADIENTS and not collapsed:
        found.append(
            f"gradients vanish: cross entropy has none at all on {zero:.0%} of the images, so attacks that follow it stand still"
        )
    if (unfit := float(diagnostics.get("unfit", 0.0))) > UNFIT:
        found.append(f"logits or gradients are not finite on {unfit:.0%} of the images")
    if (chance := float(diagnostics.get("chance", 0.0))) > CHANCE:
        found.append(
            f"the forward pass is random: two passes differ by {chance:.2g} standard deviations of the logits; "
            "attacks would have to average over it"
        )
    return found


def _of_radius(diagnostics: Mapping[str, Any]) -> list[str]:
    found, curve = [], [float(value) for value in diagnostics.get("curve", ())]
    # A network that says the same of every image cannot be made to say anything else.
    if (everywhere := float(diagnostics.get("everywhere", 0.0))) > EVERYWHERE + float(
        diagnostics.get("same_class", 0.0)
    ):
        found.append(
            f"{everywhere:.0%} of the images withstand an attack that may turn them into any other image: the attack does not work"
        )
    if curve and int(diagnostics.get("images", ENOUGH)) >= ENOUGH:
        at, twice, near = curve[len(curve) // 2 - 1], curve[-1], curve[0]
        if 0.1 < at < WORKING * near and twice > NOT_FALLING * at:
            found.append(
                f"robustness does not fall with the radius: {at:.1%} at epsilon and {twice:.1%} at twice as much"
            )
    return found
