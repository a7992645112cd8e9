"""The sections of a space file and the settings class of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morel_search.config.search_settings import (
    EarlyStoppingSettings,
    ResourceSettings,
    SearchSettings,
    VerifySettings,
)
from morel_search.training.compute_settings import ComputeSettings
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["REQUIRED", "SECTIONS"]

SECTIONS: dict[str, type[DataclassInstance] | None] = {
    "data": DataSettings,
    "network": NetworkSettings,
    "train": TrainSettings,
    "evaluation": EvaluationSettings,
    "parameters": None,
    "search": SearchSettings,
    "early_stopping": EarlyStoppingSettings,
    "constraints": None,
    "verify": VerifySettings,
    "compute": ComputeSettings,
    "resources": ResourceSettings,
    "controls": None,
    "rivals": None,
}
"""Name of a section to its settings class; None for a section that has no class of its own."""

REQUIRED = ("data", "network", "parameters")
