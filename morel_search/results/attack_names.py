"""The attacks of a verification by name, where they can be read without torch."""

from __future__ import annotations

__all__ = ["LATE", "MULTIPLES", "STAGES", "STANDARD", "WHITE_BOX"]

WHITE_BOX = ("fgsm", "pgd", "pgd-50", "apgd-ce", "apgd-t")
"""Attacks by gradient, in this order; ``pgd`` is the search's own."""

LATE = ("fab-t", "square")
"""What AutoAttack adds at the end, at many times the cost: a boundary attack, and one that sees logits alone."""

STAGES = (*WHITE_BOX, *LATE)
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""AutoAttack's standard version."""

MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Radii of a network's curve, in units of the evaluation's."""
