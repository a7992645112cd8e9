"""The constraints of a run in words."""

from __future__ import annotations

import math

from morel_search._format import format_number, number_of
from morel_search.analysis.run_data import RunData

__all__ = ["bound_words", "constraint_words"]


def constraint_words(run_data: RunData) -> str:
    """Return the constraints and the number of networks that violate one; empty without constraints."""
    bounds, infeasible, finished = run_data.constraints, len(run_data.infeasible), len(run_data.complete)
    if not bounds and not infeasible:
        return ""
    named = f"Constraints: {', '.join(bound_words(*bound) for bound in bounds.items())}. " if bounds else ""
    count = f"All {finished}" if infeasible == finished > 1 else f"{infeasible or 'None'} of {finished}"
    networks = "network" if finished == 1 else "networks"
    return f"{named}{count} finished {networks} {'violate' if infeasible > 1 else 'violates'} a constraint."


def bound_words(name: str, bound: str) -> str:
    """Return a constraint as ``clean_accuracy ≥ 0.8``; a bound that cannot be read is returned as it is."""
    sign, value = bound[:2], number_of(bound[2:].strip())
    known = {">=": "≥", "<=": "≤"}.get(sign)
    if not known or value is None:
        return f"{name} {bound}"
    short = format_number(value)
    exact = math.isclose(number_of(short) or 0.0, value, rel_tol=1e-7)
    return f"{name} {known} {short if exact else f'{value:.8g}'}"
