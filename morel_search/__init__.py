"""Find the trade-off between clean and robust accuracy of MOREL trainings.

``morel_search.load_model(folder)`` loads a finished network; see :func:`morel_search.models.load.load_model`.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """``load_model``, whose module needs torch, when it is asked for: importing the package itself imports nothing."""
    if name != "load_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("morel_search.models.load").load_model
