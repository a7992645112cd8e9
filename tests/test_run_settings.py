"""The settings of a run: written and read back, older and newer folders, errors that name the key."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from morel_search.config import load_space
from morel_search.errors import RunFolderError
from morel_search.results.folder import RunFolder, open_run_folder
from morel_search.results.new_run import create_run_folder
from morel_search.results.renamed import LATER_TRAIN
from morel_search.results.settings import FORMAT, ComputeRecord, RunSettings
from morel_search.training.compute_settings import FLOAT32, Compute, ComputeSettings
from morel_search.workflows.run_settings import continued_compute, write_resumed

EXAMPLE = Path(__file__).parents[1] / "results" / "example"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = create_run_folder(tmp_path, "one")
    made.write_settings(RunSettings())
    return made


def full() -> dict[str, Any]:
    """Return the content of a file with every key."""
    return {
        "format": FORMAT,
        "name": "one",
        "created": "2026-03-01T09:30:00+00:00",
        "finished": "2026-03-01T09:32:11+00:00",
        "status": "finished",
        "seed": 3,
        "space": {
            "train": {**LATER_TRAIN, "epochs": 12},
            "search": {"select_epoch": "front"},
            "resources": {"cpu": 2.0, "gpu": 0.0},
            "parameters": [{"name": "beta", "type": "float", "low": 1.0, "high": 12.0}],
            "controls": [{"name": "trades", "overrides": {"beta": 6.0}}],
        },
        "rungs": [1, 3],
        "images": {"train": 1078, "validation": 360, "shape": [1, 8, 8], "classes": 10},
        "overrides": ["search.trials=5"],
        "versions": {"torch": "2.14.1"},
        "hardware": {"cpu": "a CPU", "cores": 2, "memory_gib": 23.5, "gpus": ["a GPU"], "platform": "Linux"},
        "commit": "0123abc+",
        "device": "cuda",
        "compute": {
            "precision": "bfloat16",
            "channels_last": True,
            "compile": False,
            "deterministic": False,
        },
        "command": ["python", "-m", "morel_search.run"],
        "warnings": ["a warning"],
    }


def change(values: dict[str, Any], key: str, value: object) -> None:
    """Set a key such as ``images.train`` or ``rungs``."""
    *sections, last = key.split(".")
    for section in sections:
        values = values[section]
    values[last] = value


def test_settings_of_an_earlier_version_get_the_defaults_of_later_keys(run: RunFolder) -> None:
    values = full()
    values["space"]["train"] = {"epochs": 12}
    run.write_json(run.settings, values)
    assert run.read_settings().section("train") == {**LATER_TRAIN, "epochs": 12}


def test_every_key_is_read_and_written_back_in_its_order(run: RunFolder) -> None:
    run.write_json(run.settings, full())
    before = run.settings.read_bytes()
    settings = run.read_settings()
    assert (settings.name, settings.status, settings.seed) == ("one", "finished", 3)
    assert (settings.select_epoch, settings.epochs, settings.threads) == ("front", 12, 2)
    assert settings.section("train") == {**LATER_TRAIN, "epochs": 12}
    assert settings.section("nothing") == {}
    assert [parameter["name"] for parameter in settings.parameters] == ["beta"]
    assert [control["name"] for control in settings.controls] == ["trades"]
    assert (settings.rungs, settings.validation_images) == ((1, 3), 360)
    assert settings.compute is not None
    assert settings.compute["precision"] == "bfloat16"
    assert settings.hardware["gpus"] == ["a GPU"]
    run.write_settings(settings)
    assert run.settings.read_bytes() == before


def test_a_run_that_is_shipped_is_rewritten_with_the_same_content(tmp_path: Path) -> None:
    """The example is compared as a whole, so that no key of a real run is lost."""
    text = (EXAMPLE / "settings.json").read_text(encoding="utf-8")
    settings = RunSettings.from_json(json.loads(text))
    again = create_run_folder(tmp_path, "again")
    again.write_settings(settings)
    assert RunSettings.from_json(json.loads(again.settings.read_text(encoding="utf-8"))) == settings
    assert list(json.loads(again.settings.read_text(encoding="utf-8"))) == list(json.loads(text))


def test_keys_of_a_later_version_survive_a_change_of_status(run: RunFolder) -> None:
    values = full() | {"later": {"key": [1, None]}}
    values["hardware"]["later"], values["compute"]["later"], values["space"]["later"] = 1, 2, "three"
    run.write_json(run.settings, values)
    run.write_settings(replace(run.read_settings(), status="stopped"))
    assert json.loads(run.settings.read_text(encoding="utf-8")) == values | {"status": "stopped"}


def test_an_older_folder_is_read(run: RunFolder) -> None:
    values = full()
    for key in ("rungs", "images", "compute", "command", "warnings"):
        del values[key]
    values["space"]["search"] = {"point": "best_robust", "trials": 5}
    run.write_json(run.settings, values)
    settings = open_run_folder(run.path).read_settings()
    assert settings.select_epoch == "best_robust"
    assert settings.section("search") == {"select_epoch": "best_robust", "trials": 5}
    assert (settings.rungs, settings.images, settings.compute, settings.command) == ((), None, None, ())
    run.write_settings(settings)
    rewritten = json.loads(run.settings.read_text(encoding="utf-8"))
    assert "compute" not in rewritten
    assert "images" not in rewritten
    assert run.read_settings() == settings


def test_the_least_that_a_file_must_hold_is_its_format(run: RunFolder) -> None:
    run.write_json(run.settings, {"format": FORMAT})
    settings = run.read_settings()
    assert settings == RunSettings()
    assert (settings.select_epoch, settings.epochs, settings.threads) == ("best_sum", None, None)
    assert settings.parameters == []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("name", 3, "'name' must be a text, got 3"),
        ("status", ["running"], "'status' must be a text"),
        ("seed", True, "'seed' must be a whole number, got True"),
        ("seed", 1.5, "'seed' must be a whole number, got 1.5"),
        ("rungs", "3", "'rungs' must be a list of whole numbers, got '3'"),
        ("rungs", [None, "x"], "'rungs' must be a list of whole numbers"),
        ("overrides", "a=1", "'overrides' must be a list of texts"),
        ("command", [1], "'command' must be a list of texts"),
        ("warnings", {}, "'warnings' must be a list of texts"),
        ("space", [], "'space' must be an object"),
        ("space.search", 5, "'space.search' must be an object, got 5"),
        ("space.parameters", {}, "'space.parameters' must be a list of objects"),
        (
            "space.parameters",
            [{"type": "float"}],
            "'space.parameters[0]' must be an object with the text 'name'",
        ),
        ("space.controls", ["trades"], "'space.controls[0]' must be an object"),
        ("images", 360, "'images' must be an object"),
        ("images.validation", "360", "'images.validation' must be a whole number"),
        ("images.shape", 8, "'images.shape' must be a list of whole numbers"),
        ("versions.torch", 2.14, "'versions.torch' must be a text"),
        ("hardware.gpus", "A100", "'hardware.gpus' must be a list of texts"),
        ("hardware.memory_gib", "23", "'hardware.memory_gib' must be a number"),
        ("compute.compile", "off", "'compute.compile' must be true or false"),
        ("compute.precision", 32, "'compute.precision' must be a text"),
        ("name", {"x": "y" * 200}, "'name' must be a text"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(run: RunFolder, key: str, value: object, words: str) -> None:
    values = full()
    change(values, key, value)
    run.write_json(run.settings, values)
    with pytest.raises(RunFolderError) as error:
        open_run_folder(run.path)
    message = str(error.value)
    assert message.startswith(f"{run.settings} is damaged: {words}")
    assert "\n" not in message
    assert len(message) < len(str(run.settings)) + 160


def test_a_newer_format_is_refused_before_its_keys_are_checked(run: RunFolder) -> None:
    run.write_json(run.settings, full() | {"format": FORMAT + 1, "rungs": "another form"})
    with pytest.raises(RunFolderError, match=f"has format {FORMAT + 1}, .* install a newer morel_search"):
        run.read_settings()


@pytest.mark.parametrize(
    ("earlier", "asked", "here", "then"),
    [
        # begun without, by an earlier version or on another processor
        (Compute(), ComputeSettings(), Compute("bfloat16", channels_last=True), Compute()),
        (
            Compute(channels_last=True),
            ComputeSettings(),
            Compute("bfloat16", channels_last=True),
            Compute(channels_last=True),
        ),
        # this machine cannot compute what the run began with
        (Compute("bfloat16", channels_last=True), ComputeSettings(), Compute(), Compute()),
        (Compute("tf32"), ComputeSettings(), Compute("bfloat16"), Compute("bfloat16")),
        # the space file asks for it
        (
            Compute(),
            ComputeSettings(precision="bfloat16", channels_last="on"),
            Compute("bfloat16", channels_last=True),
            Compute("bfloat16", channels_last=True),
        ),
    ],
)
def test_a_resumed_run_goes_on_in_its_arithmetic(
    earlier: Compute, asked: ComputeSettings, here: Compute, then: Compute
) -> None:
    before = RunSettings()
    record = ComputeRecord(
        precision=earlier.precision,
        channels_last=earlier.channels_last,
        compile=earlier.compile,
        deterministic=earlier.deterministic,
    )
    assert continued_compute(replace(before, compute=record), asked, here) == then
    assert continued_compute(replace(before, compute=None), asked, here) == here


def test_the_space_file_of_a_resumed_run_fits_its_overrides(tmp_path: Path) -> None:
    """A value of ``--set`` may be written into the file before ``--resume``; ``verify`` reads both again."""
    given = tmp_path / "given.yaml"
    text = (EXAMPLE / "space.yaml").read_text(encoding="utf-8")
    given.write_text(text, encoding="utf-8")
    space = load_space(given, ["data.validation=0.3"])
    run = create_run_folder(tmp_path, "one")
    run.write_text(run.space, space.text)
    run.write_settings(RunSettings(space=space.describe(), overrides=tuple(space.overrides)))
    write_resumed(run, run.read_settings(), space, FLOAT32)
    assert not list(run.path.glob("*earlier*"))
    given.write_text(re.sub(r"(?m)^data:.*\n(  .*\n|\n)*", "data: {name: digits, validation: 0.3}\n", text))
    changed = load_space(given)
    assert changed.identity() == space.identity()
    write_resumed(run, run.read_settings(), changed, FLOAT32)
    settings = run.read_settings()
    assert load_space(run.space, settings.overrides).describe() == settings.space == changed.describe()
    assert (run.path / "space.earlier.yaml").read_text(encoding="utf-8") == text
    (run.path / "space.yaml").unlink()
    write_resumed(run, run.read_settings(), space, FLOAT32)
    assert run.space.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("full_at", ["space.earlier.yaml", "space.yaml"])
def test_a_resumed_run_whose_disk_is_full_keeps_its_space_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    space = load_space(EXAMPLE / "space.yaml")
    run = create_run_folder(tmp_path, "one")
    run.write_text(run.space, "the earlier file")
    run.write_settings(RunSettings(space=space.describe()))
    before, write = run.read_settings(), RunFolder.write_bytes

    def full(self: RunFolder, path: Path | str, data: bytes) -> None:
        if Path(path).name == full_at:
            raise RunFolderError("the disk is full")
        write(self, path, data)

    monkeypatch.setattr(RunFolder, "write_bytes", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        write_resumed(run, before, space, FLOAT32)
    assert run.space.read_text() == "the earlier file"
