"""Space files: YAML is read and checked, and becomes frozen settings, or one sentence for each fault.

No other package reads YAML.
"""

from __future__ import annotations

from morel_search.config.condition import condition_text
from morel_search.config.constraints import Constraint
from morel_search.config.describe import changes
from morel_search.config.loading import load_space
from morel_search.config.parameter import Parameter
from morel_search.config.possible_values import highest
from morel_search.config.rational import format_rational, format_value, parse_rational
from morel_search.config.search_settings import (
    EarlyStoppingSettings,
    ResourceSettings,
    SearchSettings,
    VerifySettings,
)
from morel_search.config.space import Control, Space

__all__ = [
    "Constraint",
    "Control",
    "EarlyStoppingSettings",
    "Parameter",
    "ResourceSettings",
    "SearchSettings",
    "Space",
    "VerifySettings",
    "changes",
    "condition_text",
    "format_rational",
    "format_value",
    "highest",
    "load_space",
    "parse_rational",
]
