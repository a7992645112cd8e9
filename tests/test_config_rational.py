from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from config_files import changed, faults, load, searched
from hypothesis import given
from hypothesis import strategies as st

from morel_search.config import format_rational, format_value, parse_rational


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("8/255", (8, 255)),
        (" 8 / 255 ", (8, 255)),
        ("2.5/255", (1, 102)),
        (0.2, (1, 5)),
        ("0.2", (1, 5)),
        (0, (0, 1)),
        (1, (1, 1)),
        ("1e-2", (1, 100)),
        (0.031, (31, 1000)),
    ],
)
def test_exact(written: Any, value: tuple[int, int]) -> None:
    assert parse_rational(written) == Fraction(*value)


@pytest.mark.parametrize(
    "written",
    [
        "8/0",
        "8/0.0",
        "",
        "/",
        "8/",
        "1/2/3",
        "eight",
        "0x8/255",
        "8\u2044255",
        True,
        None,
        [1],
        float("nan"),
        float("inf"),
        "nan",
        "1e9999",
        "9" * 100,
    ],
)
def test_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|divides by zero"):
        parse_rational(written)


@given(st.fractions(min_value=-2, max_value=2, max_denominator=2000))
def test_writing_is_exact(value: Fraction) -> None:
    assert parse_rational(format_rational(value)) == value


@given(st.decimals(min_value=0, max_value=1, places=6))
def test_decimals_are_taken_as_written(value: Decimal) -> None:
    assert parse_rational(float(value)) == Fraction(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(8, 255), "8/255"),
        (Fraction(15, 255), "15/255"),
        (Fraction(1, 5), "0.2"),
        (Fraction(3), "3"),
        (Fraction(0), "0"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(1, 7), "1/7"),
        (Fraction(1234567, 7654321), "0.1613"),
        (0.0123456, "0.0123"),
        (1e-5, "1e-05"),
        ("trades", "trades"),
        (7, "7"),
    ],
)
def test_format_value(value: Any, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("8/0", "evaluation.epsilon: divides by zero, got the text '8/0'"),
        ("-8/255", "evaluation.epsilon: must be > 0, got the text '-8/255'"),
        (0, "evaluation.epsilon: must be > 0, got 0"),
        (1.5, "evaluation.epsilon: must be <= 1 for linf (pixels go from 0 to 1), got 1.5"),
        (8, "evaluation.epsilon: must be <= 1 for linf (pixels go from 0 to 1), got 8"),
        (True, "evaluation.epsilon: must be a number such as 8/255 or 0.2, got true"),
        ("about 0.1", "evaluation.epsilon: must be a number such as 8/255 or 0.2, got the text 'about 0.1'"),
        (None, "evaluation.epsilon: must be a number such as 8/255 or 0.2, got null"),
    ],
)
def test_an_epsilon_that_is_none(tmp_path: Path, written: Any, sentence: str) -> None:
    assert faults(tmp_path, changed(evaluation={"epsilon": written})) == (sentence,)


def test_l2_may_be_larger_than_one(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        changed(
            evaluation={"epsilon": "3/2", "norm": "l2"}, train={"norm": "l2", "epsilon": 1.5}, controls=[]
        ),
    )
    assert space.evaluation.epsilon == space.train.epsilon == Fraction(3, 2)


SLIP = "0.031 is not a multiple of 1/255; write 8/255 (= 0.03137)"


def test_a_decimal_among_255ths_is_a_slip(tmp_path: Path) -> None:
    content = searched(
        epsilon={"type": "float", "low": 0, "high": 0.031},
        step_size={"type": "categorical", "choices": ["2/255", 0.007]},
    )
    content |= {"evaluation": {"epsilon": "8/255"}, "controls": ["trades", {"mine": {"epsilon": "0.031"}}]}
    assert set(faults(tmp_path, content)) == {
        f"parameters.epsilon.high: {SLIP}",
        "parameters.step_size.choices[1]: 0.007 is not a multiple of 1/255; write 2/255 (= 0.007843)",
        f"controls[1].mine.epsilon: {SLIP}",
    }
    assert faults(tmp_path, changed(evaluation={"epsilon": "8/255"}), ["train.epsilon=0.031"]) == (
        f"train.epsilon: {SLIP} (--set)",
    )


def test_decimals_alone_and_whole_255ths_are_fine(tmp_path: Path) -> None:
    assert load(tmp_path, changed(evaluation={"epsilon": 0.031})).evaluation.epsilon == Fraction(31, 1000)
    assert load(
        tmp_path, changed(evaluation={"epsilon": "8/255", "step_size": 0.2}, train={"epsilon": 0})
    ).evaluation.step_size == Fraction(51, 255)
    assert load(
        tmp_path, changed(evaluation={"epsilon": "8/255"}, train={"epsilon": "1/7"})
    ).train.epsilon == Fraction(1, 7)
