"""Checks of settings that are allowed one by one, but contradict each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from morel_search._values import JsonObject, JsonValue, SettingValue
from morel_search.config.condition_checks import check_conditions
from morel_search.config.faults import Faults, Location
from morel_search.config.fieldspec import replaced, specs
from morel_search.config.possible_values import (
    accuracy_losses,
    drawn_with,
    highest,
    parameter_of,
    possible_values,
)
from morel_search.config.rational import format_value, in_255ths, parse_rational
from morel_search.config.space import Space
from morel_search.errors import SpaceError
from morel_search.training.data_settings import SIZED
from morel_search.training.names import DISTILLATION_LOSSES
from morel_search.training.settings import DataSettings, EvaluationSettings, TrainSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["check_rationals", "check_sections", "check_space"]

_FROM_FILES = ("parquet", "image_folder")
_MAX_PAIRS = 100_000
"""Largest number of pairs of embedding_dim and attention_heads that are checked."""


def check_rationals(given: JsonObject, faults: Faults) -> None:
    """Note decimals that were probably meant as 255ths, such as 0.031 for 8/255.

    If one epsilon or step size of the file is written in 255ths, every decimal that is not a multiple of
    1/255 is a fault.

    Args:
        given: The sections as they stand in the file.
        faults: Receives the faults.
    """
    rationals = list(_rationals(given))
    if not any(in_255ths(value) for _, value in rationals):
        return
    for location, value in rationals:
        if isinstance(value, bool) or (isinstance(value, str) and "/" in value):
            continue
        try:
            levels = parse_rational(value) * 255
        except ValueError:
            continue
        if levels > 0 and levels.denominator != 1:
            count = max(1, round(levels))
            faults.add(
                location,
                f"{_as_given(value)} is not a multiple of 1/255; write {count}/255 (= {count / 255:.4g})",
            )


def _rationals(given: JsonObject) -> Iterator[tuple[Location, JsonValue]]:
    """Yield the place and the value of every epsilon and step size in the file."""
    yield from _rationals_of(("train",), given["train"], TrainSettings)
    yield from _rationals_of(("evaluation",), given["evaluation"], EvaluationSettings)
    parameters = given["parameters"]
    for name, entry in parameters.items() if isinstance(parameters, dict) else ():
        spec = specs(TrainSettings).get(name)
        if spec is None or spec.base is not Fraction or not isinstance(entry, dict):
            continue
        for key in ("low", "high", "step"):
            if key in entry:
                yield ("parameters", name, key), entry[key]
        choices = entry.get("choices")
        for index, value in enumerate(choices) if isinstance(choices, list) else ():
            yield ("parameters", name, "choices", index), value
    for name, entry in parameters.items() if isinstance(parameters, dict) else ():
        if isinstance(entry, dict):
            yield from _rational_conditions(("parameters", name, "when"), entry.get("when"))
    for location, controls in _control_mappings(given["controls"]):
        for name, entry in controls.items():
            yield from _rationals_of((*location, name), entry, TrainSettings)


def _rational_conditions(location: Location, given: JsonValue) -> Iterator[tuple[Location, JsonValue]]:
    """Yield the values and bounds of the conditions on epsilon and step_size, with their places."""
    for other, condition in given.items() if isinstance(given, dict) else ():
        spec = specs(TrainSettings).get(other)
        if spec is None or spec.base is not Fraction:
            continue
        if isinstance(condition, dict):
            yield from (((*location, other, key), value) for key, value in condition.items())
        elif isinstance(condition, list):
            yield from (((*location, other, index), value) for index, value in enumerate(condition))
        else:
            yield (*location, other), condition


def _control_mappings(given: JsonValue) -> Iterator[tuple[Location, JsonObject]]:
    """Yield the mappings of names to settings in the section ``controls``, with their places."""
    if isinstance(given, dict):
        yield ("controls",), given
    for index, item in enumerate(given) if isinstance(given, list) else ():
        if isinstance(item, dict):
            yield ("controls", index), item


def _rationals_of(
    location: Location, entry: JsonValue, settings: type[DataclassInstance]
) -> Iterator[tuple[Location, JsonValue]]:
    if isinstance(entry, dict):
        for name, spec in specs(settings).items():
            if spec.base is Fraction and name in entry:
                yield (*location, name), entry[name]


def _as_given(value: JsonValue) -> str:
    return value.strip() if isinstance(value, str) else str(value)


def check_sections(
    given: JsonObject,
    data: DataSettings | None,
    train: TrainSettings | None,
    evaluation: EvaluationSettings | None,
    faults: Faults,
) -> None:
    """Check the settings of each section against each other.

    Args:
        given: The sections as they stand in the file.
        data: The section ``data``; None if it could not be read, and then it is not checked.
        train: The section ``train``, or None.
        evaluation: The section ``evaluation``, or None.
        faults: Receives the faults.
    """
    if data is not None:
        _check_data(data, faults)
    for name, settings in (("train", train), ("evaluation", evaluation)):
        if settings is None:
            continue
        section = given[name]
        if isinstance(section, dict) and section.get("step_size") is not None and "step_ratio" in section:
            faults.add((name, "step_ratio"), "has no effect beside step_size; remove one of the two")
        _check_linf((name,), settings, faults)
    if train is not None:
        drops = train.schedule_drops
        if not all(0 < drop < 1 for drop in drops) or list(drops) != sorted(set(drops)):
            faults.add(
                ("train", "schedule_drops"),
                f"must be increasing fractions between 0 and 1, got {list(drops)}",
            )


def _check_data(data: DataSettings, faults: Faults) -> None:
    for name in ("train", "test"):
        needed = data.name in _FROM_FILES or (data.name == "npz" and name == "train")
        if needed and getattr(data, name) is None:
            faults.add(("data", name), f"must be given for {data.name}: {specs(DataSettings)['train'].doc}")
    if data.name in SIZED and data.image_size is None:
        problem = f"must be given for {data.name}, whose images differ in size: 64, for example"
        faults.add(("data", "image_size"), problem)
    if data.validation >= 1 and data.validation != int(data.validation):
        faults.add(
            ("data", "validation"),
            f"must be a fraction below 1 or a whole number of images, got {data.validation:g}",
        )
    if data.limit is not None and data.validation >= data.limit:
        faults.add(
            ("data", "validation"),
            f"must be below data.limit, which is {data.limit}, got {data.validation:g}: no image is left to "
            f"train on",
        )


def _check_linf(location: Location, settings: TrainSettings | EvaluationSettings, faults: Faults) -> None:
    for name in ("epsilon", "step_size"):
        value = getattr(settings, name)
        if settings.norm == "linf" and value is not None and value > 1:
            faults.add(
                (*location, name), f"must be <= 1 for linf (pixels go from 0 to 1), got {format_value(value)}"
            )


def check_space(space: Space, given: JsonObject, faults: Faults) -> None:
    """Check the sections against each other.

    Args:
        space: The space; each of its sections has no fault.
        given: The sections as they stand in the file.
        faults: Receives the faults.
    """
    train = given["train"]
    check_conditions(space, faults)
    _check_step(space, train if isinstance(train, dict) else {}, faults)
    _check_searched_linf(space, faults)
    _check_heads(space, faults)
    if highest(space, "k_robust") == 0 and all(value == 0 for value in possible_values(space, "k_accuracy")):
        faults.add(
            ("train", "k_robust"),
            "k_robust and k_accuracy are both always 0, so no objective has a weight; raise one of them",
        )
    for control in space.controls:
        try:
            settings = space.control_settings(control)
        except SpaceError as error:
            faults.add(("controls", control.name), error.faults[0].partition(": ")[2])
        else:
            _check_linf(("controls", control.name), settings, faults)
    if not faults:
        _check_teacher(space, faults)


def _check_teacher(space: Space, faults: Faults) -> None:
    """Check that there is a teacher if a training needs one."""
    needing = [loss for loss in accuracy_losses(space) if loss in DISTILLATION_LOSSES]
    if needing and space.train.teacher is None:
        faults.add(
            ("train", "teacher"),
            f"must be given: accuracy_loss {needing[0]} needs a teacher, such as the folder of a network or "
            "a mixture of an earlier run",
        )


def _check_step(space: Space, fixed: JsonObject, faults: Faults) -> None:
    """Check that the step of the training attack is given by step_size or by step_ratio, never by both."""
    size, ratio = parameter_of(space, "step_size"), parameter_of(space, "step_ratio")
    each_in_turn = (size is not None and (None in size.choices or bool(size.when))) or (
        ratio is not None and "step_size" in ratio.when
    )
    if each_in_turn:
        return
    if size is not None and (ratio is not None or "step_ratio" in fixed):
        faults.add(
            ("parameters", "step_size"),
            "step_ratio, which is given too, has no effect beside it; remove one of the two",
        )
    elif ratio is not None and fixed.get("step_size") is not None:
        faults.add(
            ("parameters", "step_ratio"), "has no effect beside train.step_size; remove one of the two"
        )


def _check_searched_linf(space: Space, faults: Faults) -> None:
    for name in ("epsilon", "step_size"):
        parameter = parameter_of(space, name)
        if parameter is None:
            continue
        norms = drawn_with(space, parameter, "norm")
        top = max(_numbers(parameter.choices or (parameter.high,)), default=Fraction(0))
        if "linf" in norms and top > 1:
            key = "high" if parameter.kind == "float" else "choices"
            faults.add(
                ("parameters", name, key),
                f"must be <= 1 for linf (pixels go from 0 to 1), got {format_value(top)}",
            )


def _numbers(values: Iterable[SettingValue]) -> Iterator[Fraction | float]:
    return (value for value in values if isinstance(value, (int, float, Fraction)))


def _check_heads(space: Space, faults: Faults) -> None:
    """Check that attention_heads divides embedding_dim in each combination that the search can propose."""
    heads, width = parameter_of(space, "attention_heads"), parameter_of(space, "embedding_dim")
    if heads is None and width is None:
        return
    all_heads = possible_values(space, "attention_heads")
    # Not itertools.product, which lists both ranges first.
    pairs = ((dim, head) for dim in possible_values(space, "embedding_dim") for head in all_heads)
    for dim, head in itertools.islice(pairs, _MAX_PAIRS):
        if isinstance(dim, int) and isinstance(head, int) and dim % head == 0:
            continue
        never_combined = (
            heads is not None
            and dim not in heads.when.get("embedding_dim", (dim,))
            and head != space.train.attention_heads
        )
        never_combined |= (
            width is not None
            and head not in width.when.get("attention_heads", (head,))
            and dim != space.train.embedding_dim
        )
        try:
            if not never_combined:
                replaced(space.train, {"embedding_dim": dim, "attention_heads": head})
        except ValueError as error:
            name = "attention_heads" if heads is not None else "embedding_dim"
            faults.add(("parameters", name), f"{error}; change the values of one of them")
            return
