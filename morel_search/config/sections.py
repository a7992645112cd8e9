"""The sections of a space file and the settings class of each."""

from __future__ import annotations

from morel_search.config.search_settings import (
    EarlyStoppingSettings,
    ResourceSettings,
    SearchSettings,
    VerifySettings,
)
from morel_search.training.settings import (
    ComputeSettings,
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    TrainSettings,
)

__all__ = ["REQUIRED", "SECTIONS"]

SECTIONS: dict[str, type[object] | None] = {
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
}
REQUIRED = ("data", "network", "parameters")
