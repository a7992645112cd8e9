"""Commands that the page shows: they name the run folder as seen from the folder above the results."""

from __future__ import annotations

import shlex

from morel_search.analysis.run_data import RunData

__all__ = ["module_command", "run_place"]


def run_place(run_data: RunData) -> str:
    """Return the run folder with the folder that holds it, such as ``results/first``."""
    return f"{run_data.run.path.parent.name}/{run_data.run.name}"


def module_command(module: str, run_data: RunData, *options: str) -> str:
    """Return ``python -m morel_search.MODULE RUN OPTIONS``, quoted for a shell."""
    return shlex.join(["python", "-m", f"morel_search.{module}", run_place(run_data), *options])
