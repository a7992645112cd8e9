"""The door: a YAML space file becomes frozen, checked settings, or one sentence for each fault; the only reader of YAML."""

from __future__ import annotations

from morel_search.config.describe import changes
from morel_search.config.loading import load_space
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_rational, format_value, parse_rational
from morel_search.config.space import Control, ResourceSettings, SearchSettings, Space

__all__ = [
    "Control",
    "Parameter",
    "ResourceSettings",
    "SearchSettings",
    "Space",
    "changes",
    "format_rational",
    "format_value",
    "load_space",
    "parse_rational",
]
