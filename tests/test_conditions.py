"""The key when: values, lists and ranges, on searched and on fixed settings, and the active parameters."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from config_files import changed, faults, load, searched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from morel_search.analysis.parameters import read_parameters
from morel_search.config import Space, changes
from morel_search.config.condition import Interval, condition_text, exact
from morel_search.config.parameter import Parameter
from morel_search.errors import SpaceError
from morel_search.results.new_run import create_run_folder
from morel_search.results.settings import RunSettings
from morel_search.search.distributions import decode, distributions, params_key
from morel_search.search.outcome import Outcome
from morel_search.search.proposer import Proposer
from morel_search.workflows.plan import _range

EPSILON = {"type": "float", "low": 0.05, "high": 0.3}
GRID = {"type": "float", "low": "1/255", "high": "16/255", "step": "1/255"}
STEPS = {"type": "int", "low": 1, "high": 9, "step": 2}
BATCH = {"type": "categorical", "choices": [64, 128, 256]}
RATIO = {"type": "categorical", "choices": [None, "1/10", "1/5"]}
LOSSES = {"type": "categorical", "choices": ["trades", "mart", "loat"]}
ALL = {
    "epsilon": EPSILON,
    "attack_steps": STEPS,
    "batch_size": BATCH,
    "step_size": RATIO,
    "accuracy_loss": LOSSES,
}


def theta(when: Any) -> dict[str, Any]:
    return {"type": "float", "low": 0, "high": 1, "when": when}


def space_with(folder: Path, when: Any, **parameters: Any) -> Space:
    return load(folder, searched(**(parameters or ALL), loat_theta=theta(when)))


def active(space: Space, **values: Any) -> bool:
    return "loat_theta" in space.active({"loat_theta": 0.5, **values})


@pytest.mark.parametrize(
    ("when", "inside", "outside"),
    [
        (
            {"epsilon": {"low": 0.1, "high": 0.2}},
            [Fraction(1, 10), Fraction(3, 20), Fraction(1, 5), 0.2],
            [Fraction(99, 1000), 0.2001],
        ),
        ({"epsilon": {"low": "1/10"}}, [Fraction(1, 10), Fraction(3, 10)], [Fraction(1, 20)]),
        ({"epsilon": {"high": 0.1}}, [Fraction(1, 20), Fraction(1, 10)], [Fraction(11, 100)]),
        ({"attack_steps": {"low": 3, "high": 6}}, [3, 5], [1, 7, 9]),
        ({"attack_steps": {"low": 5, "high": 5}}, [5], [3, 7]),
        ({"attack_steps": [1, 9]}, [1, 9], [3, 5, 7]),
        ({"attack_steps": 3}, [3], [1, 5]),
        ({"batch_size": {"low": 100}}, [128, 256], [64]),
        ({"step_size": {"low": 0}}, [Fraction(1, 10), Fraction(1, 5)], [None]),
        ({"step_size": [None, 0.2]}, [None, Fraction(1, 5)], [Fraction(1, 10)]),
    ],
)
def test_a_parameter_is_active_for_these_values(
    tmp_path: Path, when: dict[str, Any], inside: list[Any], outside: list[Any]
) -> None:
    space = space_with(tmp_path, when)
    (name,) = when
    assert all(active(space, **{name: value}) for value in inside)
    assert not any(active(space, **{name: value}) for value in outside)
    assert not active(space)  # the other parameter itself is not active
    assert not [warning for warning in space.warnings if ".when." in warning]


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        (
            {"epsilon": {"low": 0.2, "high": 0.1}},
            ".epsilon.low: low must not be above high, got low 0.2 and high 0.1",
        ),
        ({"epsilon": {"low": 0.31}}, ".epsilon: epsilon is never at least 0.31; its range is 0.05 to 0.3"),
        ({"epsilon": {"high": 0.04}}, ".epsilon: epsilon is never at most 0.04; its range is 0.05 to 0.3"),
        ({"epsilon": {"high": 0.05}}, ".epsilon: epsilon is never at most 0.05; its range is 0.05 to 0.3"),
        (
            {"epsilon": {"low": 0.4, "high": 0.5}},
            ".epsilon: epsilon is never 0.4 to 0.5; its range is 0.05 to 0.3",
        ),
        (
            {"epsilon": {"low": 0.1, "high": 0.1}},
            ".epsilon: epsilon is continuous, so a condition on one of its values is never met; give a range "
            "such as {low: ..., high: ...}, or make the parameter categorical or int, or give it a step",
        ),
        ({"epsilon": {}}, ".epsilon: must give low, high or both"),
        ({"epsilon": {"min": 0.1}}, ".epsilon.min: unknown key; known: low, high"),
        ({"epsilon": {"low": 0.1, "hihg": 1}}, ".epsilon.hihg: unknown key; did you mean high?"),
        ({"epsilon": {"low": None}}, ".epsilon.low: must be a number such as 8/255 or 0.2"),
        ({"epsilon": {"low": True}}, ".epsilon.low: must be a number such as 8/255 or 0.2"),
        ({"epsilon": {"low": "a"}}, ".epsilon.low: must be a number such as 8/255 or 0.2, got the text 'a'"),
        (
            {"attack_steps": {"low": 2, "high": 2}},
            ".attack_steps: attack_steps is never 2; its range is 1 to 9 in steps of 2",
        ),
        ({"attack_steps": {"low": 2.5}}, ".attack_steps.low: must be a whole number, got 2.5"),
        ({"attack_steps": {"low": True}}, ".attack_steps.low: must be a whole number, got true"),
        ({"attack_steps": True}, ".attack_steps: must be a whole number, got true"),
        ({"attack_steps": {"low": "3"}}, ".attack_steps.low: must be a whole number, got the text '3'"),
        (
            {"attack_steps": [3, {"low": 5}]},
            ".attack_steps[1]: a range cannot be one of several values; give the range alone",
        ),
        (
            {"batch_size": {"low": 65, "high": 127}},
            ".batch_size: batch_size is never 65 to 127; its values are 64, 128, 256",
        ),
        (
            {"accuracy_loss": {"low": "mart"}},
            ".accuracy_loss: accuracy_loss is not a number, so it has no range; give a value or a list of "
            "values",
        ),
        ({"epochs_": {"low": 3}}, ".epochs_: epochs_ is not a setting of train; did you mean epochs?"),
        (
            {"optimizer": "adamw"},
            ": loat_theta is never active: optimizer is not searched and is sgd, not adamw; search "
            "optimizer, or change the condition",
        ),
        (
            {"epochs": {"low": 500}},
            ": loat_theta is never active: epochs is not searched and is 10, not at least 500; search "
            "epochs, or change the condition",
        ),
        ({"epochs": {"low": 0.5}}, ".epochs.low: must be a whole number, got 0.5"),
        ({"optimizer": "adma"}, ".optimizer: must be sgd or adamw, got the text 'adma'"),
    ],
)
def test_conditions_that_cannot_be(tmp_path: Path, when: Any, sentence: str) -> None:
    found = faults(tmp_path, changed(train={"epochs": 10}, parameters={**ALL, "loat_theta": theta(when)}))
    assert len(found) == 1
    assert found[0].startswith(f"parameters.loat_theta.when{sentence}")


@pytest.mark.parametrize("bound", [".nan", ".inf", "-.inf"])
def test_bounds_are_finite(tmp_path: Path, bound: str) -> None:
    for name, entry in (("alpha", "low: 0, high: 1"), ("epsilon", "low: 0.1, high: 1")):
        text = (
            "data: {name: digits}\nnetwork: {name: small_cnn}\nparameters:\n"
            f"  {name}: {{type: float, {entry}}}\n"
            f"  loat_theta: {{type: float, low: 0, high: 1, when: {{{name}: {{low: {bound}}}}}}}\n"
        )
        (fault,) = faults(tmp_path, text)
        assert fault.startswith(f"parameters.loat_theta.when.{name}.low: must be a")


def test_conditions_that_contradict_each_other(tmp_path: Path) -> None:
    content = searched(
        epsilon=EPSILON,
        attack_steps={**STEPS, "when": {"epsilon": {"high": 0.1}}},
        beta={**theta({"attack_steps": 3}), "high": 2},
        loat_theta=theta({"beta": {"low": 1}, "epsilon": {"low": 0.2}}),
        alpha=theta({"loat_theta": {"low": 0.5}}),
    )
    assert faults(tmp_path, content) == (
        "parameters.loat_theta.when: loat_theta is never active: attack_steps needs epsilon to be at most "
        "0.1 and loat_theta needs epsilon to be at least 0.2",
    )


def test_conditions_out_of_the_range_that_constraints_leave(tmp_path: Path) -> None:
    content = searched(epsilon=EPSILON, loat_theta=theta({"epsilon": {"low": 0.2}}))
    assert faults(tmp_path, content | {"constraints": {"epsilon": "<= 0.15"}}) == (
        "parameters.loat_theta.when: loat_theta is never active: with the constraints, epsilon is never at "
        "least 0.2",
    )


@pytest.mark.parametrize(
    ("when", "place", "reason"),
    [
        ({"epsilon": {"low": 0.05, "high": 0.3}}, "epsilon", "it allows every value that epsilon takes"),
        ({"epsilon": {"low": 0}}, "epsilon", "it allows every value that epsilon takes"),
        ({"attack_steps": {"high": 20}}, "attack_steps", "it allows every value that attack_steps takes"),
        ({"attack_steps": [1, 3, 5, 7, 9]}, "attack_steps", "it allows every value that attack_steps takes"),
        ({"batch_size": {"low": 64}}, "batch_size", "it allows every value that batch_size takes"),
        (
            {"accuracy_loss": ["loat", "mart", "trades"]},
            "accuracy_loss",
            "it allows every value that accuracy_loss takes",
        ),
        ({"optimizer": ["sgd", "adamw"]}, "optimizer", "optimizer is not searched, and it is always sgd"),
        ({"epochs": {"low": 2}}, "epochs", "epochs is not searched, and it is always 10"),
    ],
)
def test_a_condition_that_always_holds_is_named_in_a_warning(
    tmp_path: Path, when: Any, place: str, reason: str
) -> None:
    space = load(tmp_path, changed(train={"epochs": 10}, parameters={**ALL, "loat_theta": theta(when)}))
    assert f"parameters.loat_theta.when.{place} has no effect: {reason}" in space.warnings
    values = {"epsilon": Fraction(1, 10), "attack_steps": 3, "batch_size": 64, "accuracy_loss": "loat"}
    assert active(space, **values)


def test_the_whole_range_of_a_conditional_parameter_is_a_condition(tmp_path: Path) -> None:
    space = space_with(
        tmp_path,
        {"attack_steps": {"low": 1}},
        accuracy_loss=LOSSES,
        attack_steps={**STEPS, "when": {"accuracy_loss": "mart"}},
    )
    assert not [warning for warning in space.warnings if ".when." in warning]
    assert active(space, accuracy_loss="mart", attack_steps=3)
    assert not active(space, accuracy_loss="loat", attack_steps=3)


def test_decimals_are_noted_beside_255ths(tmp_path: Path) -> None:
    for when, place in (
        ({"epsilon": {"low": 0.031}}, "epsilon.low"),
        ({"epsilon": [0.031]}, "epsilon[0]"),
        ({"epsilon": 0.031}, "epsilon"),
    ):
        found = faults(tmp_path, searched(epsilon=GRID, loat_theta=theta(when)))
        sentence = "0.031 is not a multiple of 1/255; write 8/255 (= 0.03137)"
        assert f"parameters.loat_theta.when.{place}: {sentence}" in found


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ({"epsilon": {"low": 0.1, "high": 0.2}}, "epsilon is 0.1 to 0.2"),
        (
            {"epsilon": {"high": 0.2}, "attack_steps": [3, 5]},
            "epsilon is at most 0.2 and attack_steps is 3 or 5",
        ),
        ({"batch_size": {"low": 128}}, "batch_size is at least 128"),
        ({"attack_steps": {"low": 3, "high": 3}}, "attack_steps is 3"),
    ],
)
def test_the_plan_names_the_condition(tmp_path: Path, when: Any, text: str) -> None:
    space = space_with(tmp_path, when)
    (parameter,) = (parameter for parameter in space.parameters if parameter.name == "loat_theta")
    assert _range(parameter) == f"0 to 1, when {text}"


def test_the_description_holds_the_range_and_can_be_compared(tmp_path: Path) -> None:
    one = space_with(tmp_path, {"epsilon": {"low": 0.1, "high": "1/5"}, "attack_steps": [3, 5]})
    described = json.loads(json.dumps(one.describe()))
    (entry,) = (item for item in described["parameters"] if item["name"] == "loat_theta")
    assert entry["when"] == {"epsilon": {"low": "0.1", "high": "0.2"}, "attack_steps": [3, 5]}
    again = load(tmp_path, searched(**ALL, loat_theta=theta(entry["when"])))
    assert again.parameters == one.parameters
    read = {parameter.name: parameter for parameter in read_parameters(described["parameters"])}
    assert read["loat_theta"].when == {"epsilon": ("low 0.1 and high 0.2",), "attack_steps": ("3", "5")}
    other = space_with(tmp_path, {"epsilon": {"low": 0.1}, "attack_steps": [3, 5]})
    assert changes(one.describe(), other.describe()) == [
        "parameters.loat_theta.when.epsilon.high was 0.2 and is removed"
    ]


def test_a_run_with_a_range_is_read_back(tmp_path: Path) -> None:
    space = space_with(tmp_path, {"epsilon": {"low": 0.1, "high": 0.2}, "attack_steps": [3, 5]})
    run = create_run_folder(tmp_path, "one")
    run.write_settings(RunSettings(space=space.describe()))
    read = {parameter.name: parameter for parameter in read_parameters(run.read_settings().parameters)}
    assert read["loat_theta"].when == {"epsilon": ("low 0.1 and high 0.2",), "attack_steps": ("3", "5")}


@pytest.mark.parametrize("bounds", [{"low": "8/255"}, {"high": "8/255"}, {"low": "8/255", "high": "36/255"}])
def test_the_ends_of_a_range_are_included_after_a_study_has_stored_them(
    tmp_path: Path, bounds: dict[str, str]
) -> None:
    """A study holds floats, and the float of 8/255 is a little smaller."""
    epsilon = {"type": "float", "low": "1/255", "high": "60/255"}
    space = space_with(tmp_path, {"epsilon": bounds}, epsilon=epsilon)
    for end in bounds.values():
        assert active(space, epsilon=Fraction(end))
        assert active(space, epsilon=Fraction(str(float(Fraction(end)))))
        assert active(space, epsilon=np.float64(Fraction(end)))


@pytest.mark.parametrize("value", [0.1, np.float64(0.1), Fraction(1, 10)])
def test_a_number_is_exactly_what_is_written(value: Any) -> None:
    assert exact(value) == Fraction(1, 10)


# laws

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 20),
    st.floats(),
    st.fractions(-1, 1, max_denominator=20),
    st.text(),
)


@given(
    st.tuples(*[st.none() | st.fractions(0, 1, max_denominator=30)] * 2),
    st.fractions(-1, 2, max_denominator=60),
)
def test_an_interval_is_its_inequalities(
    bounds: tuple[Fraction | None, Fraction | None], value: Fraction
) -> None:
    low, high = bounds
    expected = (low is None or value >= low) and (high is None or value <= high)
    assert (value in Interval(low, high)) == expected


@given(VALUES)
def test_an_interval_without_bounds_holds_the_finite_numbers(value: Any) -> None:
    number = (
        isinstance(value, (int, float, Fraction)) and not isinstance(value, bool) and math.isfinite(value)
    )
    assert (value in Interval()) == number


@given(
    st.integers(0, 20),
    st.integers(1, 6),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(-5, 60), st.integers(-5, 60)), min_size=1, max_size=3),
)
def test_values_meeting_ranges_are_those_of_a_slow_count(
    low: int, step: int, count: int, ranges: list[tuple[int, int]]
) -> None:
    whole = Parameter("attack_steps", "int", low, low + step * count, step)
    grid = Parameter(
        "epsilon", "float", Fraction(low, 60), Fraction(low + step * count, 60), Fraction(step, 60)
    )
    numbers = range(low, low + step * count + 1, step)
    expected = [n for n in numbers if all(first <= n <= last for first, last in ranges)]
    intervals = [Interval(*pair) for pair in ranges]
    assert list(whole.values_meeting(intervals)) == expected
    parts = [Interval(Fraction(first, 60), Fraction(last, 60)) for first, last in ranges]
    assert [value * 60 for value in grid.values_meeting(parts)] == expected
    assert whole.can_meet(intervals) == grid.can_meet(parts) == bool(expected)
    covers = all(first <= numbers[0] and numbers[-1] <= last for first, last in ranges)
    assert all(whole.always_meets(interval) for interval in intervals) == covers


def test_a_range_of_many_values_is_not_listed() -> None:
    parameter = Parameter("alpha", "float", 0.0, 1.0, 1e-7)
    part = parameter.values_meeting([Interval(0.25, 0.75)])
    assert len(part) == 5_000_001
    assert (part[0], part[-1]) == (0.25, 0.75)


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Draw parameters of every kind with conditions on earlier ones, values and ranges."""
    entries: dict[str, Any] = {
        "epsilon": dict(EPSILON), "attack_steps": dict(STEPS), "batch_size": dict(BATCH),
        "accuracy_loss": dict(LOSSES), "alpha": {"type": "float", "low": 0.001, "high": 10, "log": True},
        "beta": {"type": "float", "low": 1, "high": 12}, "loat_theta": {"type": "float", "low": 0, "high": 1},
    }  # fmt: skip
    bounds = {
        "epsilon": st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.3]), "attack_steps": st.integers(1, 9),
        "batch_size": st.sampled_from([64, 100, 128, 256]), "alpha": st.sampled_from([0.001, 0.1, 1, 10]),
        "beta": st.sampled_from([1, 4, 6, 12]),
    }  # fmt: skip
    names = draw(st.permutations(list(entries)))
    for index, name in enumerate(names):
        parents = draw(st.lists(st.sampled_from(names[:index]), max_size=2, unique=True)) if index else []
        when: dict[str, Any] = {}
        for parent in parents:
            if parent == "accuracy_loss":
                when[parent] = draw(
                    st.lists(st.sampled_from(LOSSES["choices"]), min_size=1, max_size=2, unique=True)
                )
            else:
                pair = (
                    sorted(draw(st.tuples(bounds[parent], bounds[parent])))
                    if parent in bounds
                    else (0.2, 0.7)
                )
                keys = draw(st.sampled_from([("low", "high"), ("low",), ("high",)]))
                when[parent] = {
                    key: value for key, value in zip(("low", "high"), pair, strict=True) if key in keys
                }
        if when:
            entries[name]["when"] = when
    return {name: entries[name] for name in names}


def expected_names(entries: dict[str, Any], values: dict[str, Any]) -> set[str]:
    """Which parameters are active, by a definition of its own: recursive, on the file's entries.

    The value of a parameter that has to be active must be among the values.
    """

    def is_active(name: str) -> bool:
        return all(
            is_active(parent) and holds(condition, values[parent])
            for parent, condition in entries[name].get("when", {}).items()
        )

    def holds(condition: Any, value: Any) -> bool:
        if isinstance(condition, dict):
            return condition.get("low", -1) <= float(value) + 1e-12 and float(value) - 1e-12 <= condition.get(
                "high", 999
            )
        return value in condition

    return {name for name in entries if is_active(name)}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(entries=spaces(), seed=st.integers(0, 1000))
def test_a_proposed_configuration_has_exactly_the_active_parameters(
    tmp_path: Path, entries: dict[str, Any], seed: int
) -> None:
    space = None
    try:
        space = load(
            tmp_path,
            searched(**entries),
            [f"search.seed={seed}", "search.population=4", f"search.children={1 + 3 * (seed % 3)}"],
        )
    except SpaceError as error:
        reasons = error.faults
    if space is None:
        assert all("never" in reason for reason in reasons)
        return
    proposer = Proposer(space.search, distributions(space), lambda params: params_key(space, params))
    for number in range(16):  # a Sobol sequence, then children with inherited values
        params = proposer.propose(number).params
        values = decode(space, params)
        assert set(values) == expected_names(entries, values)
        settings_used = space.train_settings(values)
        for parameter in space.parameters:
            expected = values.get(parameter.name, getattr(space.train, parameter.name))
            assert getattr(settings_used, parameter.name) == expected
        clean = float(params["alpha"]) / 10
        proposer.finish(number, Outcome(values=(clean, 1 - clean), points=((9, clean, 1 - clean),)))


def test_bounds_can_be_overridden(tmp_path: Path) -> None:
    content = searched(**ALL, loat_theta=theta({"epsilon": {"low": 0.1}}))
    space = load(tmp_path, content, ["parameters.loat_theta.when.epsilon.low=0.2"])
    assert not active(space, epsilon=Fraction(3, 20))
    space = load(tmp_path, content, ["parameters.loat_theta.when={attack_steps: {high: 3}}"])
    assert active(space, attack_steps=1)
    assert "low has no settings inside it" in str(
        faults(tmp_path, content, ["parameters.loat_theta.when.epsilon.low.high=0.2"])
    )


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "how-it-searches.md").read_text(encoding="utf-8")
    example = page.partition("## Conditional parameters")[2].partition("```yaml\n")[2].partition("```")[0]
    space = load(tmp_path, f"data: {{name: digits}}\nnetwork: {{name: small_cnn}}\n{example}")
    assert not [warning for warning in space.warnings if ".when." in warning]
    values = {parameter.name: parameter.low for parameter in space.parameters}
    values |= {"accuracy_loss": "mart", "epsilon": Fraction(1, 5), "attack_steps": 5}
    assert set(space.active(values)) == set(values) - {"loat_theta"}


def test_texts() -> None:
    assert condition_text((True, False)) == "True or False"
    assert condition_text(Interval(Fraction(8, 255), None)) == "at least 8/255"
