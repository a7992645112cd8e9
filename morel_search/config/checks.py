"""Settings that are right one by one and wrong together."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from morel_search.config.faults import Faults, Location
from morel_search.config.fieldspec import specs
from morel_search.config.possible_values import highest, parameter_of, possible_values
from morel_search.config.rational import format_value, in_255ths, parse_rational
from morel_search.config.space import Space
from morel_search.errors import SpaceError
from morel_search.training.settings import DataSettings, EvaluationSettings, TrainSettings

__all__ = ["check_rationals", "check_sections", "check_space"]

_FROM_FILES = ("parquet", "image_folder")
_MOST_PAIRS = 100_000


def check_rationals(given: Mapping[str, Any], faults: Faults) -> None:
    """Where one epsilon or step size is written in 255ths, a decimal that is no whole number of them is a slip (0.031 for 8/255)."""
    written = list(_written(given))
    if not any(in_255ths(value) for _, value in written):
        return
    for location, value in written:
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


def _written(given: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
    """Place and text of every epsilon and step size in the file."""
    for section, settings in (("train", TrainSettings), ("evaluation", EvaluationSettings)):
        yield from _rationals_of((section,), given[section], settings)
    parameters = given["parameters"] if isinstance(given["parameters"], dict) else {}
    for name, entry in parameters.items():
        if (
            name in specs(TrainSettings)
            and specs(TrainSettings)[name].base is Fraction
            and isinstance(entry, dict)
        ):
            yield from (
                (("parameters", name, key), entry[key]) for key in ("low", "high", "step") if key in entry
            )
            choices = entry.get("choices")
            if isinstance(choices, list):
                yield from (
                    (("parameters", name, "choices", index), value) for index, value in enumerate(choices)
                )
    controls = given["controls"]
    items = enumerate(controls) if isinstance(controls, list) else [(None, controls)]
    for index, item in items:
        if isinstance(item, dict):
            location: Location = ("controls",) if index is None else ("controls", index)
            for name, entry in item.items():
                yield from _rationals_of((*location, name), entry, TrainSettings)


def _rationals_of(location: Location, entry: Any, settings: type) -> Iterator[tuple[Location, Any]]:
    if isinstance(entry, dict):
        for name, spec in specs(settings).items():
            if spec.base is Fraction and name in entry:
                yield (*location, name), entry[name]


def _as_given(value: Any) -> str:
    return value.strip() if isinstance(value, str) else str(value)


def check_sections(
    given: Mapping[str, Any],
    data: DataSettings | None,
    train: TrainSettings | None,
    evaluation: EvaluationSettings | None,
    faults: Faults,
) -> None:
    """Check each section in itself; one that could not be read is None and left alone."""
    if data is not None:
        _check_data(data, faults)
    for name, settings in (("train", train), ("evaluation", evaluation)):
        if settings is None:
            continue
        if given[name].get("step_size") is not None and "step_ratio" in given[name]:
            faults.add((name, "step_ratio"), "has no effect beside step_size; keep one of the two")
        _check_linf((name,), settings, faults)
    if train is not None:
        drops = train.schedule_drops
        if not all(0 < drop < 1 for drop in drops) or list(drops) != sorted(set(drops)):
            faults.add(
                ("train", "schedule_drops"), f"must be rising shares between 0 and 1, got {list(drops)}"
            )


def _check_data(data: DataSettings, faults: Faults) -> None:
    for name in ("train", "test"):
        if data.name in _FROM_FILES and getattr(data, name) is None:
            faults.add(("data", name), f"must be given for {data.name}: {specs(DataSettings)['train'].doc}")
    if data.validation >= 1 and data.validation != int(data.validation):
        faults.add(
            ("data", "validation"),
            f"must be a share below 1 or a whole number of images, got {data.validation:g}",
        )
    if data.limit is not None and data.validation >= data.limit:
        faults.add(
            ("data", "validation"),
            f"leaves no image to train on: {data.validation:g} of {data.limit} (data.limit)",
        )


def _check_linf(location: Location, settings: TrainSettings | EvaluationSettings, faults: Faults) -> None:
    for name in ("epsilon", "step_size"):
        value = getattr(settings, name)
        if settings.norm == "linf" and value is not None and value > 1:
            faults.add(
                (*location, name), f"must be <= 1 for linf (pixels go from 0 to 1), got {format_value(value)}"
            )


def check_space(space: Space, given: Mapping[str, Any], faults: Faults) -> None:
    """Check the sections against each other."""
    _check_step(space, given["train"], faults)
    _check_searched_linf(space, faults)
    _check_heads(space, faults)
    if highest(space, "k_robust") == 0 and highest(space, "k_accuracy") == 0:
        faults.add(
            ("train", "k_robust"), "k_robust and k_accuracy are both always 0: nothing would be trained"
        )
    for control in space.controls:
        try:
            settings = space.control_settings(control)
        except SpaceError as error:
            faults.add(("controls", control.name), error.faults[0].partition(": ")[2])
        else:
            _check_linf(("controls", control.name), settings, faults)


def _check_step(space: Space, fixed: Mapping[str, Any], faults: Faults) -> None:
    """The step of the training attack comes from step_size or from step_ratio, never from both."""
    size, ratio = parameter_of(space, "step_size"), parameter_of(space, "step_ratio")
    either = (size is not None and (None in size.choices or bool(size.when))) or (
        ratio is not None and "step_size" in ratio.when
    )
    if either:
        return
    if size is not None and (ratio is not None or "step_ratio" in fixed):
        faults.add(
            ("parameters", "step_size"),
            "step_ratio, which is given too, would have no effect; keep one of the two",
        )
    elif ratio is not None and fixed.get("step_size") is not None:
        faults.add(
            ("parameters", "step_ratio"), "would have no effect beside train.step_size; keep one of the two"
        )


def _check_searched_linf(space: Space, faults: Faults) -> None:
    for name in ("epsilon", "step_size"):
        parameter = parameter_of(space, name)
        if parameter is None:
            continue
        norms = parameter.when.get("norm", possible_values(space, "norm"))
        top = max(
            (value for value in (parameter.choices or (parameter.high,)) if value is not None),
            default=Fraction(0),
        )
        if "linf" in norms and top > 1:
            key = "high" if parameter.kind == "float" else "choices"
            faults.add(
                ("parameters", name, key),
                f"must be <= 1 for linf (pixels go from 0 to 1), got {format_value(top)}",
            )


def _check_heads(space: Space, faults: Faults) -> None:
    """Every embedding_dim that can be drawn has to be divided by every attention_heads that can be drawn with it."""
    heads, width = parameter_of(space, "attention_heads"), parameter_of(space, "embedding_dim")
    if heads is None and width is None:
        return
    for dim, head in itertools.islice(
        itertools.product(possible_values(space, "embedding_dim"), possible_values(space, "attention_heads")),
        _MOST_PAIRS,
    ):
        drawn = {"embedding_dim": dim, "attention_heads": head}
        apart = (
            heads is not None
            and dim not in heads.when.get("embedding_dim", (dim,))
            and head != space.train.attention_heads
        )
        apart |= (
            width is not None
            and head not in width.when.get("attention_heads", (head,))
            and dim != space.train.embedding_dim
        )
        try:
            if not apart:
                dataclasses.replace(space.train, **drawn)
        except ValueError as error:
            name = "attention_heads" if heads is not None else "embedding_dim"
            faults.add(("parameters", name), f"{error}; choose values that go together")
            return
