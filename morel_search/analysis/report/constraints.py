"""The constraints of a run in words."""

from __future__ import annotations

import math

from morel_search._format import duration, format_number, number_of, percent, points
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["bound_words", "constraint_words", "nearest_words"]


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


def nearest_words(run_data: RunData) -> list[str]:
    """Return, for each constraint, the network that comes nearest to it, and how far it is away.

    A constraint that some network satisfies is said to be satisfied by it; then another constraint, or their
    combination, is the one that leaves no front.
    """
    rows, lines = run_data.complete, []
    for name, bound in run_data.constraints.items():
        limit = number_of(bound[2:].strip())
        column = name if name in (*POINT, "seconds") else f"param_{name}"
        if limit is None or column not in rows:
            continue
        values = rows[column].map(number_of).astype(float)
        if not values.notna().any():
            continue
        at_least = bound.startswith(">=")
        order = values if at_least else -values
        index = int(order.fillna(-math.inf).to_numpy().argmax())
        row = rows.iloc[index]
        value = float(values.iloc[index])
        missing = limit - value if at_least else value - limit
        network = run_data.network(row["number"], row["epoch"])
        network += f" ({row['name']})" if row["origin"] == "control" and row["name"] else ""
        comes = f"Network {network} comes nearest to {bound_words(name, bound)} with {_value(name, value)}"
        lines.append(
            f"{comes}, {_gap(name, missing)}."
            if missing > 0
            else f"{len(values[values.ge(limit) if at_least else values.le(limit)])} of {len(rows)} finished "
            f"networks satisfy {bound_words(name, bound)}."
        )
    return lines


def _value(name: str, value: float) -> str:
    if name in POINT:
        return percent(value)
    return duration(value) if name == "seconds" else format_number(value)


def _gap(name: str, missing: float) -> str:
    if name in POINT:
        shown = points(missing) if missing >= 0.0005 else f"{100 * missing:.2g} points"
        return f"which is {shown} too low"
    return f"a difference of {duration(missing) if name == 'seconds' else format_number(missing)}"
