"""The names of the attacks of a verification, for modules that must not import torch."""

from __future__ import annotations

__all__ = ["CURVE_STEPS", "LATE", "MULTIPLES", "STAGES", "STANDARD", "WHITE_BOX"]

WHITE_BOX = ("fgsm", "pgd", "pgd-50", "apgd-ce", "apgd-t")
"""White-box attacks, in the order in which they run; ``pgd`` is the final attack of the search."""

LATE = ("fab-t", "square")
"""The last two attacks of AutoAttack: a boundary attack, and a black-box attack that uses only the logits.
They cost many times as much as the white-box attacks, so they run after them."""

STAGES = (*WHITE_BOX, *LATE)
"""All attacks, in the order in which they run."""

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of AutoAttack's standard version (arXiv 2003.01690)."""

MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Radii at which the robust accuracy of a network is measured, in multiples of the evaluation's epsilon."""

CURVE_STEPS = 20
"""Steps of PGD at each of these radii."""
