"""The built-in names that a space file may use, for modules that do not import torch."""

from __future__ import annotations

__all__ = ["ACCURACY_LOSSES", "NETWORK_NAMES"]

NETWORK_NAMES = ("small_cnn", "resnet18", "preact_resnet18", "wideresnet28_10", "wideresnet34_10", "vit")
ACCURACY_LOSSES = ("trades", "mart", "loat", "pgd", "none")
