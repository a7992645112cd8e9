from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from config_files import changed, faults, load, searched
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from morel_search.config import Parameter

LOSSES = {"type": "categorical", "choices": ["trades", "mart", "loat"]}


@pytest.mark.parametrize(
    ("name", "entry", "sentence"),
    [
        (
            "alhpa",
            {"type": "float", "low": 1, "high": 2},
            "alhpa: is not a setting of train, so it cannot be searched; did you mean alpha?",
        ),
        ("alpha", 3, "alpha: must be a mapping such as {type: float, low: 0, high: 1}, got 3"),
        ("alpha", None, "alpha: must be a mapping such as {type: float, low: 0, high: 1}, got null"),
        ("alpha", {"low": 1, "high": 2}, "alpha: type must be given: float or categorical"),
        (
            "alpha",
            {"type": "flaot", "low": 1, "high": 2},
            "alpha.type: must be float or categorical, got the text 'flaot'",
        ),
        (
            "alpha",
            {"type": ["float"], "low": 1, "high": 2},
            "alpha.type: must be float or categorical, got a list",
        ),
        (
            "alpha",
            {"type": "int", "low": 1, "high": 2},
            "alpha.type: alpha is a number, so the type must be float or categorical, got int",
        ),
        (
            "epochs",
            {"type": "float", "low": 1, "high": 2},
            "epochs.type: epochs is a whole number, so the type must be int or categorical, got float",
        ),
        (
            "norm",
            {"type": "float", "low": 1, "high": 2},
            "norm.type: norm is not a number, so the type must be categorical, got float",
        ),
        ("alpha", {"type": "float", "low": 1}, "alpha.high: must be given"),
        (
            "alpha",
            {"type": "float", "low": 2, "high": 1},
            "alpha.low: low must be below high, got low 2 and high 1",
        ),
        (
            "alpha",
            {"type": "float", "low": 1, "high": 1},
            "alpha.low: low must be below high, got low 1 and high 1",
        ),
        ("alpha", {"type": "float", "low": "1", "high": 2}, "alpha.low: must be a number, got the text '1'"),
        ("alpha", {"type": "float", "low": True, "high": 2}, "alpha.low: must be a number, got true"),
        (
            "alpha",
            {"type": "float", "low": 1, "hihg": 2, "high": 2},
            "alpha.hihg: unknown key; did you mean high?",
        ),
        (
            "alpha",
            {"type": "float", "low": 1, "high": 2, "choices": [1, 2]},
            "alpha.choices: a float parameter has low and high, not choices",
        ),
        (
            "alpha",
            {"type": "float", "low": 1, "high": 2, "log": "yes"},
            "alpha.log: must be true or false, got the text 'yes'",
        ),
        (
            "alpha",
            {"type": "float", "low": 0, "high": 2, "log": True},
            "alpha.log: a logarithmic scale requires low > 0, got low 0",
        ),
        (
            "alpha",
            {"type": "float", "low": 1, "high": 2, "log": True, "step": 0.5},
            "alpha.step: log and step cannot be combined; remove one of the two",
        ),
        (
            "alpha",
            {"type": "float", "low": 0, "high": 1, "step": 0.3},
            "alpha.step: must divide high - low, got low 0 and high 1: the last value would be 0.9",
        ),
        ("alpha", {"type": "float", "low": 0, "high": 1, "step": 0}, "alpha.step: must be > 0, got 0"),
        ("alpha", {"type": "float", "low": -1, "high": 1}, "alpha.low: must be >= 0, got -1"),
        ("temperature", {"type": "float", "low": 0, "high": 1}, "temperature.low: must be > 0, got 0"),
        ("momentum", {"type": "float", "low": 0, "high": 1}, "momentum.high: must be < 1, got 1"),
        ("epochs", {"type": "int", "low": 0, "high": 3}, "epochs.low: must be >= 1, got 0"),
        ("epochs", {"type": "int", "low": 1, "high": 3.5}, "epochs.high: must be a whole number, got 3.5"),
        (
            "epochs",
            {"type": "int", "low": 1, "high": 8, "step": 3},
            "epochs.step: must divide high - low, got low 1 and high 8: the last value would be 7",
        ),
        (
            "epsilon",
            {"type": "float", "low": 0, "high": "8/0"},
            "epsilon.high: divides by zero, got the text '8/0'",
        ),
        (
            "epsilon",
            {"type": "float", "low": 0, "high": 2},
            "epsilon.high: must be <= 1 for linf (pixels go from 0 to 1), got 2",
        ),
        (
            "epsilon",
            {"type": "categorical", "choices": [0, 2]},
            "epsilon.choices: must be <= 1 for linf (pixels go from 0 to 1), got 2",
        ),
        (
            "epsilon",
            {"type": "categorical", "choices": ["8/255", "16/510"]},
            "epsilon.choices[1]: 8/255 is given twice",
        ),
        (
            "norm",
            {"type": "categorical", "low": 1, "choices": ["linf", "l2"]},
            "norm.low: a categorical parameter has choices, not low",
        ),
        ("norm", {"type": "categorical"}, "norm: choices must be a list of at least 2 values"),
        (
            "norm",
            {"type": "categorical", "choices": ["linf"]},
            "norm.choices: choices must be a list of at least 2 values",
        ),
        (
            "norm",
            {"type": "categorical", "choices": "linf"},
            "norm.choices: choices must be a list of at least 2 values",
        ),
        (
            "norm",
            {"type": "categorical", "choices": ["linf", "lnif"]},
            "norm.choices[1]: must be linf or l2, got the text 'lnif'; did you mean linf?",
        ),
        (
            "norm",
            {"type": "categorical", "choices": ["linf", "l2", "linf"]},
            "norm.choices[2]: linf is given twice",
        ),
        (
            "epochs",
            {"type": "categorical", "choices": [1, "2"]},
            "epochs.choices[1]: must be a whole number, got the text '2'",
        ),
        ("epochs", {"type": "categorical", "choices": [1, 0]}, "epochs.choices[1]: must be >= 1, got 0"),
        (
            "accuracy_loss",
            {"type": "categorical", "choices": ["mart", "no_such_module:f"]},
            "accuracy_loss.choices[1]: cannot be imported: there is no module no_such_module, got the "
            "text 'no_such_module:f'",
        ),
        (
            "attention_heads",
            {"type": "int", "low": 1, "high": 4},
            "attention_heads: attention_heads must divide embedding_dim, got 3 and 128; change the values "
            "of one of them",
        ),
        (
            "embedding_dim",
            {"type": "int", "low": 8, "high": 9},
            "embedding_dim: attention_heads must divide embedding_dim, got 2 and 9; change the values of "
            "one of them",
        ),
    ],
)
def test_one_fault(tmp_path: Path, name: str, entry: Any, sentence: str) -> None:
    assert faults(tmp_path, searched(**{name: entry})) == (f"parameters.{sentence}",)


@pytest.mark.parametrize("section", [{}, [], "alpha", None])
def test_nothing_to_search(tmp_path: Path, section: Any) -> None:
    (fault,) = faults(tmp_path, changed(parameters=section))
    assert fault.startswith("parameters: must be a mapping of at least one parameter to search")


def test_fixed_and_searched(tmp_path: Path) -> None:
    assert faults(tmp_path, changed(train={"k_robust": 0.5})) == (
        "parameters.k_robust: is searched here and fixed in train (0.5); remove one of the two",
    )


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        (
            {"acuracy_loss": "loat"},
            "when.acuracy_loss: acuracy_loss is not a setting of train; did you mean accuracy_loss?",
        ),
        (
            {"accuracy_loss": "pgd"},
            "when.accuracy_loss: accuracy_loss never takes the value pgd; its values are trades, mart, loat",
        ),
        (
            {"accuracy_loss": ["loat", "none"]},
            "when.accuracy_loss[1]: accuracy_loss never takes the value none; its values are trades, mart, "
            "loat",
        ),
        ({"accuracy_loss": []}, "when.accuracy_loss: must name at least one value"),
        (
            {"attack_steps": 4},
            "when.attack_steps: attack_steps never takes the value 4; its range is 1 to 9 in steps of 2",
        ),
        ({"attack_steps": "3"}, "when.attack_steps: must be a whole number, got the text '3'"),
        (
            {"alpha": 1},
            "when.alpha: alpha is continuous, so a condition on one of its values is never met; give a range "
            "such as {low: ..., high: ...}, or make the parameter categorical or int, or give it a step",
        ),
        ({"loat_theta": 1}, "when.loat_theta: a parameter cannot depend on itself"),
        ("loat", "when: must be a mapping such as {accuracy_loss: loat}, got the text 'loat'"),
        ({}, "when: must be a mapping such as {accuracy_loss: loat}, got a mapping"),
    ],
)
def test_conditions_that_cannot_be(tmp_path: Path, when: Any, sentence: str) -> None:
    content = searched(
        accuracy_loss=LOSSES,
        alpha={"type": "float", "low": 1, "high": 2},
        attack_steps={"type": "int", "low": 1, "high": 9, "step": 2},
        loat_theta={"type": "float", "low": 0, "high": 1, "when": when},
    )
    assert faults(tmp_path, content) == (f"parameters.loat_theta.{sentence}",)


def test_circles(tmp_path: Path) -> None:
    content = searched(
        optimizer={"type": "categorical", "choices": ["sgd", "adamw"], "when": {"norm": "l2"}},
        schedule={"type": "categorical", "choices": ["cosine", "step"], "when": {"optimizer": "sgd"}},
        norm={"type": "categorical", "choices": ["linf", "l2"], "when": {"schedule": "step"}},
        lr={"type": "float", "low": 0.1, "high": 1, "when": {"norm": "l2"}},
    )
    (fault,) = faults(tmp_path, content)
    assert fault == (
        "parameters.optimizer.when: the conditions form a circle: optimizer needs norm needs schedule needs "
        "optimizer; remove one of them"
    )


def test_parameters_follow_those_they_depend_on(tmp_path: Path) -> None:
    content = searched(
        loat_theta={
            "type": "float",
            "low": 0,
            "high": 1,
            "when": {"accuracy_loss": "loat", "attack_steps": [3, 5]},
        },
        accuracy_loss={**LOSSES, "when": {"norm": "l2"}},
        norm={"type": "categorical", "choices": ["linf", "l2"]},
        attack_steps={"type": "int", "low": 1, "high": 9, "step": 2},
    )
    space = load(tmp_path, content)
    assert [parameter.name for parameter in space.parameters] == [
        "norm",
        "accuracy_loss",
        "attack_steps",
        "loat_theta",
    ]
    assert space.parameters[3].when == {"accuracy_loss": ("loat",), "attack_steps": (3, 5)}


def test_types_of_the_values(tmp_path: Path) -> None:
    content = searched(
        epsilon={"type": "float", "low": 0, "high": "8/255", "step": "1/255"},
        step_size={"type": "categorical", "choices": ["1/255", None, "2/255"]},
        alpha={"type": "float", "low": 1, "high": 10, "log": True},
        k_accuracy={"type": "categorical", "choices": [None, 1, 0.5]},
        attack_steps={"type": "int", "low": 1, "high": 8, "log": True},
        schedule_drops={"type": "categorical", "choices": [[0.5], [0.5, 0.75]]},
    )
    epsilon, step_size, alpha, k_accuracy, steps, drops = load(tmp_path, content).parameters
    assert (epsilon.low, epsilon.high, epsilon.step) == (Fraction(0), Fraction(8, 255), Fraction(1, 255))
    assert epsilon.rational
    assert tuple(epsilon.values or ()) == tuple(Fraction(k, 255) for k in range(9))
    assert step_size.choices == (Fraction(1, 255), None, Fraction(2, 255))
    assert isinstance(alpha.low, float)
    assert not alpha.rational
    assert alpha.values is None
    assert k_accuracy.choices == (None, 1.0, 0.5)
    assert steps.values == range(1, 9)
    assert drops.choices == ((0.5,), (0.5, 0.75))


@given(st.integers(-20, 20), st.integers(1, 30), st.integers(1, 7), st.integers(-60, 60))
def test_contains_agrees_with_optuna_for_whole_numbers(low: int, count: int, step: int, value: int) -> None:
    high = low + count * step
    parameter = Parameter("epochs", "int", low, high, step)
    assert parameter.contains(value) == IntDistribution(low, high, step=step)._contains(value)
    assert not parameter.contains(value + 0.5)


@given(
    st.integers(0, 50), st.integers(1, 20), st.sampled_from([None, 0.1, 0.25, 0.05]), st.integers(-10, 1200)
)
def test_contains_agrees_with_optuna_for_numbers(
    low: int, count: int, step: float | None, hundredths: int
) -> None:
    high = round(low / 10 + count * (step or 0.1), 2)
    parameter = Parameter("alpha", "float", low / 10, high, step)
    value = hundredths / 100
    assert parameter.contains(value) == FloatDistribution(low / 10, high, step=step)._contains(value)


@given(st.integers(-3, 30), st.integers(1, 40))
def test_a_rational_grid_is_exact(count: int, below: int) -> None:
    parameter = Parameter("epsilon", "float", Fraction(0), Fraction(16, 255), Fraction(2, 255))
    value = Fraction(count, below * 51)
    assert parameter.contains(value) == (value in {Fraction(2 * k, 255) for k in range(9)})


def test_contains_refuses_what_is_no_value() -> None:
    parameter = Parameter("epochs", "int", 0, 5)
    assert not any(parameter.contains(value) for value in (True, None, "1", float("nan"), float("inf"), [1]))
    assert not Parameter("k_accuracy", "categorical", choices=(1, None)).contains(True)
    assert Parameter("k_accuracy", "categorical", choices=(1, None)).contains(None)
