from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
from config_files import changed, faults, least, load, searched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from morel_search.config import Control, Space, changes
from morel_search.errors import SpaceError

CHAIN = searched(
    norm={"type": "categorical", "choices": ["linf", "l2"]},
    accuracy_loss={"type": "categorical", "choices": ["trades", "loat"], "when": {"norm": "l2"}},
    loat_theta={"type": "float", "low": 0, "high": 1, "when": {"accuracy_loss": "loat"}},
    epsilon={"type": "float", "low": 0, "high": "8/255", "step": "1/255"},
)


def test_active_is_transitive(tmp_path: Path) -> None:
    space = load(tmp_path, CHAIN)
    values = {"loat_theta": 0.5, "accuracy_loss": "loat", "norm": "linf", "epsilon": Fraction(1, 255)}
    assert space.active(values) == {"norm": "linf", "epsilon": Fraction(1, 255)}
    assert space.active({**values, "norm": "l2"}) == {**values, "norm": "l2"}
    assert space.active({**values, "norm": "l2", "accuracy_loss": "trades"}).keys() == {
        "norm",
        "accuracy_loss",
        "epsilon",
    }
    assert space.active({}) == {}
    with pytest.raises(SpaceError, match="gamma is not a parameter of this space"):
        space.active({"gamma": 1})


def test_train_settings(tmp_path: Path) -> None:
    space = load(tmp_path, {**CHAIN, "train": {"epochs": 3, "beta": 2}})
    values = {"loat_theta": 0.5, "accuracy_loss": "loat", "norm": "linf", "epsilon": Fraction(4, 255)}
    made = space.train_settings(values)
    assert (made.epochs, made.beta, made.norm, made.epsilon) == (3, 2.0, "linf", Fraction(4, 255))
    assert (made.accuracy_loss, made.loat_theta) == ("trades", 1.0)
    assert space.train_settings({**values, "norm": "l2"}).loat_theta == 0.5
    with pytest.raises(SpaceError, match="epsilon must be >= 0, got -1"):
        space.train_settings({"epsilon": Fraction(-1)})


def test_built_in_controls(tmp_path: Path) -> None:
    """The reference defaults and the plain objectives beside them, written out once more."""
    space = load(
        tmp_path,
        changed(
            evaluation={"epsilon": "1/5"}, controls=["trades", "mart", "pgd", "none", "morel", "morel_alpha0"]
        ),
    )
    made = {control.name: space.control_settings(control) for control in space.controls}
    for name in ("trades", "mart", "pgd", "none"):
        assert made[name].accuracy_loss == name
        assert (made[name].k_robust, made[name].accuracy_weight, made[name].gamma) == (0, 1, 0)
    assert {name: settings.epsilon for name, settings in made.items() if name != "none"} == dict.fromkeys(
        made.keys() - {"none"}, Fraction(1, 5)
    )
    assert made["none"].epsilon == Fraction(8, 255)
    for name, alpha in (("morel", 1e-5), ("morel_alpha0", 0.0)):
        got = made[name]
        assert (got.accuracy_loss, got.k_robust, got.accuracy_weight, got.gamma, got.alpha) == (
            "mart",
            0.1,
            0.9,
            2e-5,
            alpha,
        )
        assert (
            got.temperature,
            got.beta,
            got.contrastive_features,
            got.embedding_dim,
            got.attention_heads,
        ) == (0.1, 6, "both", 128, 2)


def test_controls_of_ones_own(tmp_path: Path) -> None:
    controls: list[Any] = ["mart", {"weak": {"epsilon": "2/255", "beta": 1}, "trades": {"beta": 1}}]
    space = load(tmp_path, changed(evaluation={"epsilon": "16/255"}, controls=controls, train={"epochs": 2}))
    mart, weak, trades = (space.control_settings(control) for control in space.controls)
    assert (mart.epsilon, mart.beta, mart.epochs) == (Fraction(16, 255), 6.0, 2)
    assert (weak.epsilon, weak.beta, weak.accuracy_loss, weak.norm) == (
        Fraction(2, 255),
        1.0,
        "trades",
        "linf",
    )
    assert (trades.epsilon, trades.beta, trades.k_robust) == (Fraction(16, 255), 1.0, 0.0)
    fixed = load(
        tmp_path,
        changed(evaluation={"epsilon": "16/255"}, controls={"own": {"beta": 1}}, train={"epsilon": "4/255"}),
    )
    assert fixed.control_settings(fixed.controls[0]).epsilon == Fraction(4, 255)
    with pytest.raises(SpaceError, match=r"controls\.x: lr must be > 0"):
        space.control_settings(Control("x", {"lr": -1.0}))


def test_the_recipes_are_the_plain_trainings_with_everything(tmp_path: Path) -> None:
    """Written out once more; the rest is as in the controls pgd and trades."""
    recipe = {"label_smoothing": 0.1, "ema": 0.995, "schedule": "one_cycle", "warmup": 0.3}
    perturbed = {"pgd": {"awp": 0.01}, "trades": {"awp": 0.005, "awp_warmup": 0.05}}
    names = ["pgd", "trades", "pgd_recipe", "trades_recipe"]
    space = load(tmp_path, changed(evaluation={"epsilon": "1/5"}, controls=names))
    made = {control.name: space.control_settings(control) for control in space.controls}
    for plain, more in perturbed.items():
        expected = dataclasses.replace(made[plain], **cast(Any, {**recipe, **more}))
        assert made[f"{plain}_recipe"] == expected


@pytest.mark.parametrize(
    ("controls", "sentence"),
    [
        (["tardes"], "controls[0]: tardes is not a built-in control; did you mean trades?"),
        (["mart", "mart"], "controls[1]: the control mart is given twice; remove one of the two"),
        (
            ["mart", {"mart": {"beta": 1}}],
            "controls[1].mart: the control mart is given twice; remove one of the two",
        ),
        (
            {"mine": None},
            "controls.mine: mine is not a built-in control; known: trades, mart, pgd, none, morel, "
            "morel_alpha0, pgd_recipe, trades_recipe",
        ),
        ({"mine": [1]}, "controls.mine: must be a mapping of settings (name: value)"),
        ({"mine": {"bta": 1}}, "controls.mine.bta: unknown key; did you mean beta?"),
        ({"mine": {"beta": -1}}, "controls.mine.beta: must be >= 0, got -1"),
        ([3], "controls[0]: must be the name of a built-in control or a mapping (name: settings), got 3"),
        (
            "mart",
            "controls: must be a list of built-in controls or a mapping (name: settings), got the text "
            "'mart'",
        ),
        (
            {"../x": {}},
            "controls.'../x': the name of a control must be a letter and at most 39 more letters, digits, "
            "- and _, got the "
            "text '../x'",
        ),
    ],
)
def test_controls_that_are_wrong(tmp_path: Path, controls: Any, sentence: str) -> None:
    assert faults(tmp_path, changed(controls=controls)) == (sentence,)


def as_file(description: dict[str, Any]) -> dict[str, Any]:
    """A description as the space file that says the same."""
    content = json.loads(json.dumps(description))
    content["parameters"] = {
        entry.pop("name"): {k: v for k, v in entry.items() if v or k in ("low", "high")}
        for entry in content["parameters"]
    }
    content["controls"] = {entry["name"]: entry["overrides"] for entry in content["controls"]}
    content["rivals"] = {
        entry["name"]: entry["source"] if "source" in entry else entry["network"]
        for entry in content["rivals"]
    }
    for section in ("train", "evaluation"):
        content[section] = {
            name: value
            for name, value in content[section].items()
            if name not in content["parameters"] or section != "train"
        }
    return dict(content)


def check_round_trip(folder: Path, space: Space) -> None:
    again = load(folder, as_file(space.describe()))
    assert again.describe() == space.describe()
    assert (again.parameters, again.train, again.evaluation) == (
        space.parameters,
        space.train,
        space.evaluation,
    )
    assert [again.control_settings(control) for control in again.controls] == [
        space.control_settings(control) for control in space.controls
    ]


numeric = st.floats(1e-6, 1e6)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """A few parameters of each kind, with conditions."""
    low = draw(numeric)
    levels = sorted(draw(st.sets(st.integers(0, 255), min_size=2, max_size=2)))
    losses = draw(
        st.lists(st.sampled_from(["trades", "mart", "loat", "pgd", "none"]), min_size=2, unique=True)
    )
    found: dict[str, Any] = {
        "alpha": {
            "type": "float",
            "low": low,
            "high": low * draw(st.floats(1.5, 100)),
            "log": draw(st.booleans()),
        },
        "epsilon": {
            "type": "float",
            "low": f"{levels[0]}/255",
            "high": f"{levels[1]}/255",
            "step": draw(st.sampled_from([None, "1/255"])),
        },
        "accuracy_loss": {"type": "categorical", "choices": losses},
        "beta": {
            "type": "float",
            "low": 1,
            "high": 2,
            "when": {"accuracy_loss": draw(st.lists(st.sampled_from(losses), min_size=1, unique=True))},
        },
        "attack_steps": {"type": "int", "low": draw(st.integers(1, 5)), "high": draw(st.integers(6, 20))},
    }
    names = draw(st.permutations(sorted(found)))
    return {name: found[name] for name in names if name in ("accuracy_loss", "alpha") or draw(st.booleans())}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries(),
    st.sampled_from(["8/255", "51/255", "1/1"]),
    st.fixed_dictionaries({"epochs": st.integers(1, 10**6), "lr": numeric, "weight_decay": numeric}),
)
def test_round_trip(tmp_path: Path, parameters: dict[str, Any], epsilon: str, train: dict[str, Any]) -> None:
    check_round_trip(
        tmp_path, load(tmp_path, changed(parameters=parameters, evaluation={"epsilon": epsilon}, train=train))
    )


def test_describe_is_json_and_stable(tmp_path: Path) -> None:
    space = load(tmp_path, CHAIN)
    described = space.describe()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert json.dumps(load(tmp_path, CHAIN).describe()) == json.dumps(described)
    assert described["parameters"][3] == {
        "name": "epsilon",
        "type": "float",
        "low": "0",
        "high": "8/255",
        "log": False,
        "step": "1/255",
        "when": {},
    }
    assert described["parameters"][1] == {
        "name": "accuracy_loss",
        "type": "categorical",
        "choices": ["trades", "loat"],
        "when": {"norm": ["l2"]},
    }
    assert described["evaluation"]["epsilon"] == "8/255"


def test_identity_leaves_out_what_may_change(tmp_path: Path) -> None:
    one = load(tmp_path, changed(search={"trials": 20, "population": 5}))
    two = load(
        tmp_path, changed(search={"trials": 50, "population": 5, "max_failures": 9}, resources={"cpu": 2})
    )
    assert one.identity() == two.identity()
    assert changes(one.identity(), two.identity()) == []
    assert changes(one.describe(), two.describe()) == [
        "search.trials was 20 and is 50",
        "search.max_failures was 5 and is 9",
        "resources.cpu was 1.0 and is 2.0",
    ]


def test_changes_in_words(tmp_path: Path) -> None:
    old = load(tmp_path, {**CHAIN, "train": {"epochs": 10}, "controls": ["mart"]}).identity()
    content = {
        **CHAIN,
        "train": {"epochs": 12, "step_size": "1/255"},
        "controls": ["trades"],
        "evaluation": {"epsilon": "4/255"},
    }
    parameters = dict(content["parameters"])
    del parameters["loat_theta"]
    parameters["accuracy_loss"] = {"type": "categorical", "choices": ["trades", "mart"]}
    parameters["alpha"] = {"type": "float", "low": 1, "high": 2}
    found = changes(old, load(tmp_path, {**content, "parameters": parameters}).identity())
    assert "train.epochs was 10 and is 12" in found
    assert "train.step_size was null and is 1/255" in found
    assert "evaluation.epsilon was 8/255 and is 4/255" in found
    assert 'parameters.accuracy_loss.choices was ["trades", "loat"] and is ["trades", "mart"]' in found
    assert 'parameters.accuracy_loss.when.norm was ["l2"] and is removed' in found
    assert any(
        sentence.startswith("parameters.loat_theta was {") and sentence.endswith("and is removed")
        for sentence in found
    )
    assert any(sentence.startswith("parameters.alpha is new: {") for sentence in found)
    assert any(sentence.startswith("controls.mart was") for sentence in found)
    assert len(found) == 9


def test_another_order_of_the_parameters_is_a_change(tmp_path: Path) -> None:
    entry = {"type": "float", "low": 1, "high": 2}
    one, two = (
        load(tmp_path, searched(**dict.fromkeys(names, entry))).identity()
        for names in (("alpha", "beta"), ("beta", "alpha"))
    )
    assert changes(one, two) == ["parameters are in another order: alpha, beta and now beta, alpha"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(2, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from("abc"), plain, max_size=3),
    st.dictionaries(st.sampled_from("abc"), plain, max_size=3),
)
def test_changes_are_empty_exactly_where_nothing_changed(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert (changes(one, two) == []) == (one == two)
    assert changes(one, json.loads(json.dumps(one))) == []


def test_a_space_travels_to_other_processes(tmp_path: Path) -> None:
    space = load(tmp_path, CHAIN)
    assert pickle.loads(pickle.dumps(space)) == space


def test_the_door_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(json.dumps(least()))
    code = (
        "import sys; from pathlib import Path; from morel_search.config import load_space\n"
        "load_space(Path(sys.argv[1]))\n"
        "assert not {'torch', 'ray', 'optuna', 'pandas', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "space.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_rivals_come_back_from_their_description(tmp_path: Path) -> None:
    described = {"name": "small_cnn", "options": {"width": 8}, "weights": "theirs.safetensors"}
    space = load(tmp_path, changed(rivals={"theirs": "torchvision.models:resnet18", "old": described}))
    assert [rival.name for rival in space.rivals] == ["theirs", "old"]
    check_round_trip(tmp_path, space)
    assert load(tmp_path, as_file(space.describe())).rivals == space.rivals
