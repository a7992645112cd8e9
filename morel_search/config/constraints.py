"""The section ``constraints``: what a network must keep to, as bounds on what was measured or set."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from morel_search.config.faults import Faults, nearest, shown
from morel_search.config.fieldspec import specs
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_value, parse_rational
from morel_search.training.settings import TrainSettings

__all__ = ["MEASURED", "Constraint", "check_fixed", "narrowed", "read_constraints"]

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
        faults.add(
            ("constraints",),
            f"must be a mapping (name: bound), such as clean_accuracy: '>= 0.8', got {shown(given)}",
        )
        return ()
    numeric = [name for name, spec in specs(TrainSettings).items() if spec.base in (int, float, Fraction)]
    found = []
    for name, text in given.items():
        location = ("constraints", name)
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if name not in (*MEASURED, *numeric):
            faults.add(
                location,
                f"is neither measured ({', '.join(MEASURED)}) nor a numeric "
                f"setting{nearest(name, (*MEASURED, *numeric))}",
            )
        elif match is None:
            faults.add(location, f"must be '>= number' or '<= number', got {shown(text)}")
        else:
            try:
                found.append(Constraint(name, ">=" if match[1] == ">=" else "<=", parse_rational(match[2])))
            except ValueError as error:
                faults.add(location, str(error))
            else:
                if name.endswith("_accuracy") and not 0 <= found[-1].bound <= 1:
                    faults.add(
                        location,
                        f"an accuracy is a fraction between 0 and 1, got {format_value(found[-1].bound)}",
                    )
    return tuple(found)


def narrowed(
    parameters: Sequence[Parameter], constraints: Sequence[Constraint], faults: Faults
) -> tuple[Parameter, ...]:
    """The parameters with only those values that keep to the constraints, so that nothing else is ever trained.

    Args:
        parameters: The searched parameters.
        constraints: The constraints.
        faults: Receives what leaves less than two values.
    """
    kept = []
    for parameter in parameters:
        own = [constraint for constraint in constraints if constraint.name == parameter.name]
        narrow = _narrow(parameter, own) if own else parameter
        if narrow is None:
            faults.add(
                ("constraints", parameter.name),
                "leaves less than two values of the parameter; fix it under train instead",
            )
        kept.append(narrow or parameter)
    return tuple(kept)


def check_fixed(
    train: TrainSettings, parameters: Sequence[Parameter], constraints: Sequence[Constraint], faults: Faults
) -> None:
    """Note every setting that is not searched and breaks a constraint."""
    searched = {parameter.name for parameter in parameters}
    for constraint in constraints:
        if constraint.measured or constraint.name in searched:
            continue
        value = getattr(train, constraint.name)
        if constraint.violation(value) > 0:
            faults.add(
                ("constraints", constraint.name),
                f"train.{constraint.name} is {format_value(value)}, which no training can change",
            )


def _narrow(parameter: Parameter, constraints: Sequence[Constraint]) -> Parameter | None:
    """The parameter inside the bounds; None where less than two values are left."""
    if parameter.kind == "categorical":
        choices = tuple(
            one
            for one in parameter.choices
            if all(constraint.violation(one) <= 0 for constraint in constraints)
        )
        return dataclasses.replace(parameter, choices=choices) if len(choices) > 1 else None
    assert parameter.low is not None
    assert parameter.high is not None
    first, last = parse_rational(parameter.low), parse_rational(parameter.high)
    low = max([first, *(one.bound for one in constraints if one.sign == ">=")])
    high = min([last, *(one.bound for one in constraints if one.sign == "<=")])
    step = (
        parse_rational(parameter.step)
        if parameter.step is not None
        else Fraction(1)
        if parameter.kind == "int"
        else None
    )
    if step is not None:
        low, high = (
            first + math.ceil((low - first) / step) * step,
            first + math.floor((high - first) / step) * step,
        )
    if low >= high:
        return None
    kind: Any = int if parameter.kind == "int" else Fraction if parameter.rational else float
    return dataclasses.replace(
        parameter,
        low=parameter.low if low == first else kind(low),
        high=parameter.high if high == last else kind(high),
    )
