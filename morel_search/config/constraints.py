"""The section ``constraints``: what a network must keep to, as bounds on what was measured or set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from morel_search.config.faults import Faults, nearest, shown
from morel_search.config.fieldspec import specs
from morel_search.config.rational import format_value, parse_rational
from morel_search.training.settings import TrainSettings

__all__ = ["MEASURED", "Constraint", "read_constraints"]

MEASURED = {
    "clean_accuracy": "accuracy on the validation split, a fraction",
    "robust_accuracy": "accuracy under the evaluation attack, a fraction",
    "seconds": "seconds that the training took",
}
"""What a training is measured by, beside its settings."""

_FORM = re.compile(r"\s*(>=|<=)\s*(\S.*?)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound.

    Attributes:
        name: One of :data:`MEASURED` or a numeric setting of the training.
        sign: Which side of the bound is right.
        bound: The bound, in the units of what it bounds.
    """

    name: str
    sign: Literal[">=", "<="]
    bound: Fraction

    @property
    def measured(self) -> bool:
        """Whether it takes a training to know."""
        return self.name in MEASURED

    def violation(self, value: float | Fraction | None) -> float:
        """By how much a value is on the wrong side; 0 or less is right, and None, a setting that is switched off, is right too.

        Accuracies count as they are, so 0.05 is five points; everything else in units of its bound.
        """
        if value is None:
            return 0.0
        beyond = float(value) - float(self.bound)
        scale = 1.0 if self.name.endswith("_accuracy") else abs(float(self.bound)) or 1.0
        return (beyond if self.sign == "<=" else -beyond) / scale

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {format_value(self.bound)}"


def read_constraints(given: Any, faults: Faults) -> tuple[Constraint, ...]:
    """The constraints of a space file: a mapping of names to texts such as ``">= 0.8"``."""
    if not isinstance(given, dict):
        faults.add(("constraints",), f"must be a mapping (name: bound), such as clean_accuracy: '>= 0.8', got {shown(given)}")
        return ()
    numeric = [name for name, spec in specs(TrainSettings).items() if spec.base in (int, float, Fraction)]
    found = []
    for name, text in given.items():
        place = ("constraints", name)
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if name not in (*MEASURED, *numeric):
            faults.add(place, f"is neither measured ({', '.join(MEASURED)}) nor a numeric setting{nearest(name, (*MEASURED, *numeric))}")
        elif match is None:
            faults.add(place, f"must be '>= number' or '<= number', got {shown(text)}")
        else:
            try:
                found.append(Constraint(name, ">=" if match[1] == ">=" else "<=", parse_rational(match[2])))
            except ValueError as error:
                faults.add(place, str(error))
    return tuple(found)
