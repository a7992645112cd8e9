"""Searched options of the network and searched augmentation, from the space file to the loaded network."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from config_files import changed, faults, load

from morel_search._consent import NO_CODE
from morel_search.cluster.trainable import train_job
from morel_search.cluster.tuner import job_maker
from morel_search.config import Space
from morel_search.errors import NetworkError, OutOfMemoryError, SpaceError
from morel_search.models.load import load_model, read_settings
from morel_search.models.recipe import read_training_config, train_from_config
from morel_search.results.folder import RunFolder
from morel_search.results.settings import RunSettings
from morel_search.search.controller import SearchController
from morel_search.search.study import TrialStore
from morel_search.search.warm_start import enqueued_configurations
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.datasets.loading import load_development
from morel_search.workflows import network_variants as variants
from morel_search.workflows.artifacts import RunArtifacts

WIDTHS = {"type": "categorical", "choices": [2, 5]}
AUGMENTATIONS = {"type": "categorical", "choices": ["none", "crop"]}
WIDTH, POOLING, AUGMENTATION = "network.options.width", "network.options.pooling", "data.augmentation"


def content(**parameters: Any) -> dict[str, Any]:
    return changed(
        data={"name": "digits", "limit": 150, "validation": 50, "test_limit": 20},
        network={"name": "small_cnn", "options": {"width": 3}},
        train={"epochs": 1, "attack_steps": 1, "optimizer": "adamw", "lr": 0.01},
        evaluation={"epsilon": "1/5", "steps": 1, "final_steps": 0},
        search={"trials": 4, "population": 2, "sampler": "random"},
        early_stopping={"enabled": False},
        controls=["pgd"],
        parameters=parameters,
    )


FULL = content(**{WIDTH: WIDTHS, AUGMENTATION: AUGMENTATIONS})


def test_a_search_trains_saves_and_loads_the_network_of_each_trial(tmp_path: Path) -> None:
    """All but Ray: the front's folders rebuild the networks that were trained, weight by weight."""
    space = load(tmp_path, FULL)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_settings(RunSettings(name="run"))
    store = TrialStore.of_file(run.study, "run")
    controller = SearchController.begin(space, store)
    artifacts, make = RunArtifacts(space, run, store, controller), job_maker(space, run.checkpoints)
    trained = {}
    while (assignment := controller.next()) is not None:
        job = make(assignment)
        history = train_job(job, lambda report: None)
        trained[job.number] = (job, history[-1])
        # Every network joins the front: each is better in one accuracy and worse in the other.
        point = {"clean_accuracy": 0.1 * (job.number + 1), "robust_accuracy": 0.9 - 0.1 * job.number}
        faked = [type(history[-1])(**{**vars_of(history[-1]), **point})]
        artifacts.finished(controller.finish(job.number, faked, ""))
    artifacts.finish("finished", test=False)
    store.close()

    with run.trials.open() as file:
        rows = {int(row["number"]): row for row in csv.DictReader(file)}
    widths = {rows[number][f"param_{WIDTH}"] for number in rows}
    assert widths == {"3", "2", "5"}  # the control has that of the file
    images = torch.rand(4, 1, 8, 8)
    for number, (job, result) in trained.items():
        folder = next(iter(run.path.glob(f"*/{number}/model.pt"))).parent
        row, settings = rows[number], read_settings(folder)
        assert str(settings.network["options"]["width"]) == row[f"param_{WIDTH}"]  # type: ignore[index]
        assert settings.data["augmentation"] == (row[f"param_{AUGMENTATION}"])
        model = load_model(folder)
        first = next(weight for weight in model.parameters() if weight.ndim == 4)
        assert len(first) == int(row[f"param_{WIDTH}"])
        config = read_training_config(settings, folder, NO_CODE)
        assert (config.network, config.data.augmentation) == (job.network, job.data.augmentation)
        again, network = train_from_config(config, load_development(config.data), compute=FLOAT32)
        assert again.loss == result.loss
        assert torch.equal(network.eval()(images), model(images))


def vars_of(result: Any) -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__dataclass_fields__}


def test_a_fixed_option_is_that_of_controls_and_of_inactive_trials(tmp_path: Path) -> None:
    wide = {**WIDTHS, "when": {AUGMENTATION: "crop"}}
    space = load(tmp_path, content(**{WIDTH: wide, AUGMENTATION: AUGMENTATIONS}))
    assert space.control_trial(space.controls[0]).network.options == {"width": 3}
    none = space.trial_settings({WIDTH: 5, AUGMENTATION: "none"})
    crop = space.trial_settings({WIDTH: 5, AUGMENTATION: "crop"})
    assert (none.network.options, none.data.augmentation) == ({"width": 3}, "none")
    assert (crop.network.options, crop.data.augmentation) == ({"width": 5}, "crop")
    assert [parameter.name for parameter in space.parameters] == [AUGMENTATION, WIDTH]


def test_an_option_can_be_the_condition(tmp_path: Path) -> None:
    beta = {"type": "float", "low": 1, "high": 2, "when": {WIDTH: 5}}
    space = load(tmp_path, content(**{WIDTH: WIDTHS, "beta": beta}))
    assert set(space.active({WIDTH: 2, "beta": 1.5})) == {WIDTH}
    assert set(space.active({WIDTH: 5, "beta": 1.5})) == {WIDTH, "beta"}
    ranged = {**beta, "when": {WIDTH: {"low": 4}}}
    whole = load(tmp_path, content(**{WIDTH: {"type": "int", "low": 2, "high": 9}, "beta": ranged}))
    assert set(whole.active({WIDTH: 3, "beta": 1.5})) == {WIDTH}
    fixed = load(tmp_path, content(beta={**beta, "when": {WIDTH: 3}}))
    assert set(fixed.active({"beta": 1.5})) == {"beta"}


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        (
            {WIDTH: {"type": "categorical", "choices": [2, None]}},
            f"parameters.'{WIDTH}'.choices[1]: must be a number, a text, true or false",
        ),
        ({WIDTH: {"type": "categorical", "choices": [2, 2]}}, f"parameters.'{WIDTH}'.choices[1]: 2 is given"),
        ({WIDTH: {"type": "int", "low": 2, "high": 2.5}}, f"parameters.'{WIDTH}'.high: "),
        (
            {WIDTH: {"low": 2, "high": 3}},
            f"parameters.'{WIDTH}': type must be given: float or int or categor",
        ),
        ({"network.width": WIDTHS}, "parameters.'network.width': cannot be searched; beside the settings of"),
        ({"network.options.": WIDTHS}, "parameters.'network.options.': cannot be searched"),
        ({"network.name": WIDTHS}, "parameters.'network.name': cannot be searched"),
        ({"data.seed": WIDTHS}, "parameters.'data.seed': cannot be searched"),
        (
            {AUGMENTATION: {"type": "categorical", "choices": ["none", "crop_flop"]}},
            f"parameters.'{AUGMENTATION}'.choices[1]: must be",
        ),
        (
            {"beta": {"type": "float", "low": 1, "high": 2, "when": {"network.depth": 2}}, WIDTH: WIDTHS},
            "parameters.beta.when.'network.depth': network.depth is not a setting",
        ),
        (
            {"beta": {"type": "float", "low": 1, "high": 2, "when": {WIDTH: 3}}, WIDTH: WIDTHS},
            f"parameters.beta.when.'{WIDTH}': {WIDTH} never takes the value 3; its values are 2, 5",
        ),
    ],
)
def test_a_wrong_entry_is_one_sentence(tmp_path: Path, parameters: dict[str, Any], fault: str) -> None:
    found = faults(tmp_path, content(**parameters))
    assert len(found) == 1
    assert found[0].startswith(fault)


def test_overrides_name_the_settings_with_their_dots(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        content(beta={"type": "float", "low": 1, "high": 2}),
        [
            f"parameters.{WIDTH}={{type: categorical, choices: [2, 5, 7]}}",
            f"parameters.{WIDTH}.choices=[2, 7]",
            f"parameters.beta.when.{WIDTH}=7",
            "parameters.data.augmentation={type: categorical, choices: [none, crop]}",
            "network.options.width=4",
        ],
    )
    by_name = {parameter.name: parameter for parameter in space.parameters}
    assert by_name[WIDTH].choices == (2, 7)
    assert by_name["beta"].when == {WIDTH: (7,)}
    assert set(by_name) == {WIDTH, "beta", AUGMENTATION}
    assert space.base.value(WIDTH) == 4
    removed = load(tmp_path, FULL, [f"parameters.{WIDTH}=null"])
    assert [parameter.name for parameter in removed.parameters] == [AUGMENTATION]


def test_a_front_with_options_starts_another_search(tmp_path: Path) -> None:
    listed = content(**{WIDTH: WIDTHS, AUGMENTATION: AUGMENTATIONS})
    listed["search"]["start_from"] = [{WIDTH: 5, AUGMENTATION: "crop"}]
    assert enqueued_configurations(load(tmp_path, listed)) == ({WIDTH: 5, AUGMENTATION: "crop"},)
    listed["search"]["start_from"] = [{WIDTH: 3}]
    assert f"search.start_from[0].'{WIDTH}': must lie in the range" in faults(tmp_path, listed)[0]


def options_of(space: Space) -> list[dict[str, object]]:
    return [dict(settings.options) for settings in variants.network_variants(space)]


def test_every_combination_is_checked(tmp_path: Path) -> None:
    pooling = {"type": "categorical", "choices": ["flatten", "global"]}
    space = load(tmp_path, content(**{WIDTH: WIDTHS, POOLING: pooling}))
    assert options_of(space) == [
        {"width": width, "pooling": way} for width in (2, 5) for way in ("flatten", "global")
    ]
    assert options_of(load(tmp_path, content(beta={"type": "float", "low": 1, "high": 2}))) == []
    many = load(tmp_path, content(**{WIDTH: {"type": "int", "low": 1, "high": 60}, POOLING: pooling}))
    checked = options_of(many)
    assert len(checked) < 70
    assert {options["width"] for options in checked} == set(range(1, 61))
    assert {options["pooling"] for options in checked} == {"flatten", "global"}


def test_combinations_that_conditions_exclude_are_not_checked(tmp_path: Path) -> None:
    """Eight heads do not divide a width of 12, and are never drawn with it."""
    heads = {"type": "categorical", "choices": [4, 8]}
    widths = {"type": "categorical", "choices": [12, 16, 32]}
    free = content(**{WIDTH: widths, "network.options.heads": heads})
    free["network"] = {"name": "vit", "options": {"heads": 4}}
    with pytest.raises(NetworkError, match="heads"):
        variants.check_variants(load(tmp_path, free), (1, 8, 8), 10)
    bound = content(**{WIDTH: widths, "network.options.heads": {**heads, "when": {WIDTH: [16, 32]}}})
    bound["network"] = free["network"]
    space = load(tmp_path, bound)
    variants.check_variants(space, (1, 8, 8), 10)
    assert [(options["width"], options["heads"]) for options in options_of(space)] == [
        (12, 4),
        (16, 4),
        (16, 8),
        (32, 4),
        (32, 8),
    ]
    loss = {"type": "categorical", "choices": ["pgd", "mart"]}
    other = content(**{WIDTH: {**WIDTHS, "when": {"accuracy_loss": "mart"}}, "accuracy_loss": loss})
    assert options_of(load(tmp_path, other)) == [{"width": 2}, {"width": 5}, {"width": 3}]


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        (
            {WIDTH: {"type": "int", "low": 0, "high": 4}},
            NetworkError,
            "option width must be a whole number >",
        ),
        ({"network.options.deph": WIDTHS}, NetworkError, "has no option deph; its options are width"),
        (
            {WIDTH: {"type": "categorical", "choices": [2, 2_000_000]}},
            MemoryError,
            "GiB of memory, but cpu has",
        ),
    ],
)
def test_a_network_that_cannot_be_built_ends_the_search_before_it_starts(
    tmp_path: Path, parameters: dict[str, Any], error: type[Exception], text: str
) -> None:
    space = load(tmp_path, content(**parameters))
    kinds = (NetworkError, OutOfMemoryError) if error is MemoryError else (error,)
    with pytest.raises(kinds, match=text) as caught:
        variants.check_variants(space, (1, 8, 8), 10)
    assert "which the search can propose" in str(caught.value)


def test_the_identity_of_a_run_has_the_searched_options(tmp_path: Path) -> None:
    described = json.loads(json.dumps(load(tmp_path, FULL).describe()))
    assert [entry["name"] for entry in described["parameters"]] == [WIDTH, AUGMENTATION]
    with pytest.raises(SpaceError, match=r"network\.options\.depth is not a parameter"):
        load(tmp_path, FULL).active({"network.options.depth": 3})
