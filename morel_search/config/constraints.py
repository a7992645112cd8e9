"""The section ``constraints``: bounds on measured values and on settings of a training."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from morel_search._values import Number
from morel_search.config.faults import Faults, nearest, shown
from morel_search.config.fieldspec import specs
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_value, parse_rational
from morel_search.training.settings import TrainSettings

__all__ = ["MEASURED", "Constraint", "check_fixed", "constraint_names", "narrowed", "read_constraints"]

MEASURED = {
    "clean_accuracy": "accuracy on the validation split, a fraction",
    "robust_accuracy": "accuracy under the final attack on the validation split, a fraction",
    "seconds": "duration of the training in seconds",
}
"""The measured values that a constraint may bound, and their meaning."""

_FORM = re.compile(r"\s*(>=|<=)\s*(\S.*?)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound that a network of the front must satisfy.

    Attributes:
        name: A key of :data:`MEASURED`, or a numeric setting of the training.
        sign: The relation of a feasible value to the bound.
        bound: The bound, in the unit of the value.
    """

    name: str
    sign: Literal[">=", "<="]
    bound: Fraction

    @property
    def measured(self) -> bool:
        """Whether the value is known only after a training."""
        return self.name in MEASURED

    def violation(self, value: float | Fraction | None) -> float:
        """Return by how much a value violates the bound.

        Args:
            value: The value; None for a setting that is switched off, which violates nothing.

        Returns:
            A number above 0 for a violation. It is the difference for accuracies, so 0.05 means five
            percentage points, and the difference divided by the bound for all other values.
        """
        if value is None:
            return 0.0
        beyond = float(value) - float(self.bound)
        scale = 1.0 if self.name.endswith("_accuracy") else abs(float(self.bound)) or 1.0
        return (beyond if self.sign == "<=" else -beyond) / scale

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {format_value(self.bound)}"


def read_constraints(given: object, faults: Faults) -> tuple[Constraint, ...]:
    """Read the section.

    Args:
        given: The section as it stands in the file: a mapping of names to texts such as ``">= 0.8"``.
        faults: Receives the faults.

    Returns:
        The constraints that could be read.
    """
    if not isinstance(given, dict):
        faults.add(
            ("constraints",),
            f"must be a mapping (name: bound), such as clean_accuracy: '>= 0.8', got {shown(given)}",
        )
        return ()
    known = constraint_names()
    constraints = []
    for name, text in given.items():
        location = ("constraints", name)
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if name not in known:
            faults.add(
                location,
                f"is neither a measured value ({', '.join(MEASURED)}) nor a numeric setting of train"
                f"{nearest(name, known)}",
            )
        elif match is None:
            faults.add(location, f"must be '>= number' or '<= number', got {shown(text)}")
        else:
            try:
                bound = parse_rational(match[2])
            except ValueError as error:
                faults.add(location, str(error))
                continue
            constraints.append(Constraint(name, ">=" if match[1] == ">=" else "<=", bound))
            if name.endswith("_accuracy") and not 0 <= bound <= 1:
                faults.add(
                    location,
                    f"an accuracy must be a fraction between 0 and 1, got {format_value(bound)}",
                )
    return tuple(constraints)


def constraint_names() -> tuple[str, ...]:
    """Return the names that a constraint can have: the measured values and the numeric settings of train."""
    numeric = (name for name, spec in specs(TrainSettings).items() if spec.base in (int, float, Fraction))
    return (*MEASURED, *numeric)


def narrowed(
    parameters: Sequence[Parameter], constraints: Sequence[Constraint], faults: Faults
) -> tuple[Parameter, ...]:
    """Remove the infeasible values from parameters, so that the search never proposes them.

    Args:
        parameters: The searched parameters.
        constraints: The constraints.
        faults: Receives a fault for each parameter of which less than two values are feasible.

    Returns:
        The parameters, in the same order.
    """
    feasible = []
    for parameter in parameters:
        own = [constraint for constraint in constraints if constraint.name == parameter.name]
        narrow = _narrow(parameter, own) if own else parameter
        if narrow is None:
            faults.add(
                ("constraints", parameter.name),
                "leaves less than two values of the parameter; set it in train instead",
            )
        feasible.append(narrow or parameter)
    return tuple(feasible)


def check_fixed(
    train: TrainSettings, parameters: Sequence[Parameter], constraints: Sequence[Constraint], faults: Faults
) -> None:
    """Note a fault for every setting that is not searched and violates a constraint."""
    searched = {parameter.name for parameter in parameters}
    for constraint in constraints:
        if constraint.measured or constraint.name in searched:
            continue
        value = getattr(train, constraint.name)
        if constraint.violation(value) > 0:
            faults.add(
                ("constraints", constraint.name),
                f"must be {constraint.sign} {format_value(constraint.bound)}, but train.{constraint.name} is "
                f"{format_value(value)}; change one of the two",
            )


def _narrow(parameter: Parameter, constraints: Sequence[Constraint]) -> Parameter | None:
    """Return the parameter inside the bounds; None when less than two values are left."""
    if parameter.kind == "categorical":
        choices = tuple(
            choice
            for choice in parameter.choices
            if (choice is None or isinstance(choice, (int, float, Fraction)))
            and all(constraint.violation(choice) <= 0 for constraint in constraints)
        )
        return dataclasses.replace(parameter, choices=choices) if len(choices) > 1 else None
    assert parameter.low is not None
    assert parameter.high is not None
    first, last = parse_rational(parameter.low), parse_rational(parameter.high)
    low = max([first, *(constraint.bound for constraint in constraints if constraint.sign == ">=")])
    high = min([last, *(constraint.bound for constraint in constraints if constraint.sign == "<=")])
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
    kind: Callable[[Fraction], Number] = (
        int if parameter.kind == "int" else Fraction if parameter.rational else float
    )
    return dataclasses.replace(
        parameter,
        low=parameter.low if low == first else kind(low),
        high=parameter.high if high == last else kind(high),
    )
