"""The built-in names that a space file may use, for modules that do not import torch."""

from __future__ import annotations

__all__ = ["ACCURACY_LOSSES", "DISTILLATION_LOSSES", "NETWORK_NAMES"]

NETWORK_NAMES = ("small_cnn", "resnet18", "preact_resnet18", "wideresnet28_10", "wideresnet34_10", "vit")

DISTILLATION_LOSSES = ("ard", "rslad")
"""Those of the accuracy objectives that need a teacher."""

ACCURACY_LOSSES = ("trades", "mart", "loat", "pgd", "none", *DISTILLATION_LOSSES)
