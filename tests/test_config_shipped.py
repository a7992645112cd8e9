from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from config_files import SHIPPED
from test_config_space import check_round_trip

from morel_search.config import load_space

BY_NAME = {path.stem: path for path in SHIPPED}


def test_what_is_shipped() -> None:
    assert set(BY_NAME) >= {"digits", "cifar10", "cifar10_parquet", "cifar100", "cifar10_wideresnet"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_is_right(tmp_path: Path, path: Path) -> None:
    space = load_space(path)
    assert space.warnings == ()
    assert space.text.encode() == path.read_bytes()
    assert space.search.trials >= 3 * space.search.population
    assert {"trades", "mart", "none", "morel", "morel_alpha0"} <= {control.name for control in space.controls}
    check_round_trip(tmp_path, space)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_searches_where_it_matters(path: Path) -> None:
    """Weights, temperature, attack and objective are searched over ranges in which each has an effect."""
    space = load_space(path)
    parameters = {parameter.name: parameter for parameter in space.parameters}
    assert parameters.keys() >= {
        "k_robust",
        "alpha",
        "beta",
        "temperature",
        "epsilon",
        "attack_steps",
        "step_ratio",
        "accuracy_loss",
    }
    alpha = parameters["alpha"]
    assert (alpha.low, alpha.high, alpha.log) == (1e-3, 10, True)
    epsilon = parameters["epsilon"]
    assert epsilon.low is not None
    assert epsilon.low <= space.evaluation.epsilon / 10
    assert epsilon.contains(space.evaluation.epsilon)
    assert parameters["loat_theta"].when == {"accuracy_loss": ("loat",)}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_corner_of_a_shipped_space_can_be_trained(path: Path) -> None:
    space = load_space(path)
    for pick in (0, -1):
        values = {p.name: p.choices[pick] if p.choices else (p.low, p.high)[pick] for p in space.parameters}
        settings = space.train_settings(values)
        assert settings.epsilon == values["epsilon"]
        assert settings.attack.epsilon == values["epsilon"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_explains_itself(path: Path) -> None:
    """It opens with the command that runs it, and no section or searched parameter is without a comment."""
    lines = path.read_text().splitlines()
    assert f"#     python -m morel_search.run --space search_spaces/{path.name}" in lines
    for line, before in zip(lines[1:], lines, strict=False):
        if (
            line.startswith("  ")
            and line.rstrip("abcdefghijklmnopqrstuvwxyz_ ").startswith("  ")
            and line.partition("#")[0].rstrip().endswith(":")
        ):
            assert "#" in line, f"{line!r} after {before!r}"


def test_digits_is_small_and_cifar_wants_a_gpu() -> None:
    digits = load_space(BY_NAME["digits"])
    assert (digits.data.name, digits.network.name, digits.resources.gpu) == ("digits", "small_cnn", 0)
    assert digits.evaluation.epsilon == Fraction(1, 5)
    for name in ("cifar10", "cifar100", "cifar10_parquet", "cifar10_wideresnet"):
        space = load_space(BY_NAME[name])
        assert (space.evaluation.epsilon, space.resources.gpu) == (Fraction(8, 255), 1)
