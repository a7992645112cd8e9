"""Verification on the command line: at the end of a small search, by its own command, and with masking."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from run_folders import make_run

from morel_search.models.load import load_model
from morel_search.pick import main as pick
from morel_search.results.attack_records import BROKEN, ROBUST, UNKNOWN, read_records
from morel_search.results.folder import RunFolder
from morel_search.results.pictures_file import read_pictures
from morel_search.train import main as train
from morel_search.training.datasets.loading import load_test
from morel_search.training.settings import DataSettings
from morel_search.verify import main

ROOT = Path(__file__).parents[1]
SEARCH = (
    *("train.epochs=4", "search.population=2", "data.limit=600", "controls=[pgd, none]"),
    *("network.options.width=8", "verify.images=40", "verify.minutes=5"),
)


def call(*words: str, timeout: int = 400) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, subprocess.CompletedProcess[str]]:
    results = tmp_path_factory.mktemp("results")
    settings = [word for setting in SEARCH for word in ("--set", setting)]
    words = ("--space", "search_spaces/digits.yaml", "--trials", "2", *settings)
    result = call("morel_search.run", *words, "--results", str(results), "--name", "small")
    assert result.returncode == 0, result.stderr
    return RunFolder(results / "small"), result


@pytest.mark.slow
def test_a_search_ends_with_its_verification(
    searched: tuple[RunFolder, subprocess.CompletedProcess[str]],
) -> None:
    run, result = searched
    assert "verified on 40 of 359 images" in result.stdout
    table = pd.read_csv(run.verified)
    front = run.read_front()
    assert set(front["number"]) <= set(table["number"])
    assert {"pgd", "none"} <= set(table["name"].dropna()) | set(front["name"].dropna())
    assert (table["images"] == 40).all()
    assert (table["late_images"] == 40).all()
    assert (table["robust_accuracy"] <= table["after_pgd"] + 1e-12).all()
    undefended = table[table["name"] == "none"]
    assert float(undefended["robust_accuracy"].iloc[0]) < 0.3
    for record in read_records(run).values():
        seen = record.table[:, 0] != UNKNOWN
        assert int(seen.sum()) == 40
        broken = (record.table == BROKEN).sum(axis=1)
        assert broken.max() <= 1, "a broken image is not attacked again"
        standing = seen & (broken == 0)
        assert (record.table[standing][:, 1:] == ROBUST).all(), "an image that stands has met every attack"
    assert "Verified front" in run.report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_pictures_are_test_images_and_the_predictions_those_of_the_networks(
    searched: tuple[RunFolder, subprocess.CompletedProcess[str]],
) -> None:
    run, _ = searched
    pictures, test = read_pictures(run), load_test(DataSettings(name="digits"))
    assert pictures is not None
    page = run.report.read_text(encoding="utf-8")
    assert page.count("<figure><img") == 3 * len(pictures.images) * len(pictures.networks)
    for network in pictures.networks:
        (folder,) = (
            parent / network.name
            for parent in (run.front_models, run.control_models)
            if (parent / network.name).is_dir()
        )
        model = load_model(folder)
        for image, picture in zip(pictures.images, network.pictures, strict=True):
            assert (test.images[image.index].numpy() == image.pixels).all()
            assert int(test.labels[image.index]) == image.label == picture.before.label
            assert abs(picture.pixels.astype(int) - image.pixels).max() <= 51  # a fifth of 255
            for pixels, prediction in ((image.pixels, picture.before), (picture.pixels, picture.after)):
                with torch.no_grad():
                    shares = model(torch.from_numpy(pixels.copy()).float()[None] / 255).softmax(dim=1)[0]
                assert prediction.label == int(shares.argmax())
                assert prediction.probability == pytest.approx(float(shares.max()), abs=1e-4)


def attacks(run: RunFolder) -> int:
    """Return the number of results that the records hold."""
    return sum(int((record.table != UNKNOWN).sum()) for record in read_records(run).values())


@pytest.mark.slow
def test_killed_or_short_of_time_it_continues_to_the_same_end(
    searched: tuple[RunFolder, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    import shutil

    whole = {name: record.table for name, record in read_records(searched[0]).items()}
    shutil.copytree(searched[0].path, tmp_path / "small")
    run = RunFolder(tmp_path / "small")
    shutil.rmtree(run.verification)
    run.verified.unlink()
    short = call("morel_search.verify", str(run.path), "--images", "40", "--minutes", "0.02")
    assert short.returncode == 0, short.stderr
    attacked = [record for record in read_records(run).values() if (record.table[:, 0] == ROBUST).any()]
    assert read_pictures(run) is not None or not attacked, "an attacked network has pictures"
    process = subprocess.Popen(
        [sys.executable, "-m", "morel_search.verify", str(run.path), "--images", "40"],
        cwd=ROOT,
        start_new_session=True,
    )
    before = attacks(run)
    while attacks(run) <= before:
        assert process.poll() is None, "it has ended before it could be killed"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    last = call("morel_search.verify", str(run.path), "--images", "40")
    assert last.returncode == 0, last.stderr
    again = {name: record.table for name, record in read_records(run).items()}
    assert again.keys() == whole.keys()
    assert all(np.array_equal(again[name], whole[name]) for name in whole)
    pictures = [folder.verification / "pictures.json" for folder in (run, searched[0])]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


@pytest.mark.slow
def test_a_masked_copy_is_flagged_and_gets_no_better_figure(
    searched: tuple[RunFolder, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Multiplying the last layer by 10,000 changes no decision, but the softmax has no gradient any more."""
    import shutil

    shutil.copytree(searched[0].path, tmp_path / "small")
    run = RunFolder(tmp_path / "small")
    before = pd.read_csv(run.verified).set_index("number")
    number = int(before["robust_accuracy"].idxmax())
    path = next(
        folder / str(number) / "model.pt"
        for folder in (run.front_models, run.control_models)
        if (folder / str(number)).exists()
    )
    content = torch.load(path, weights_only=True)
    for name in ("head.weight", "head.bias"):
        content["weights"][name] *= 1e4
    torch.save(content, path)
    result = call("morel_search.verify", str(run.path), "--images", "40")
    assert result.returncode == 0, result.stderr
    after = pd.read_csv(run.verified).set_index("number")
    assert "logits are scaled up" in after.loc[number, "flags"]
    assert not after.loc[number, "on_front"]
    assert after.loc[number, "clean_accuracy"] == before.loc[number, "clean_accuracy"]
    assert 40 * abs(after.loc[number, "robust_accuracy"] - before.loc[number, "robust_accuracy"]) <= 1
    others = after.index != number
    pd.testing.assert_series_equal(
        after.loc[others, "robust_accuracy"], before.loc[others, "robust_accuracy"], check_exact=True
    )


@pytest.mark.slow
def test_replicates_are_what_the_train_command_makes_and_are_made_once(
    searched: tuple[RunFolder, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(searched[0].path, tmp_path / "small")
    run = RunFolder(tmp_path / "small")
    names = {
        path.parent.name
        for path in (*run.front_models.glob("*/model.pt"), *run.control_models.glob("*/model.pt"))
    }
    first = call("morel_search.verify", str(run.path), "--images", "40", "--replicates", "1")
    assert first.returncode == 0, first.stderr
    before = pd.read_csv(run.replicates, dtype={"network": str})
    assert sorted(before["network"]) == sorted(names)
    second = call("morel_search.verify", str(run.path), "--images", "40", "--replicates", "2")
    assert second.returncode == 0, second.stderr
    assert f"{len(names)} trainings to do" in second.stdout
    assert "replicates with other seeds: test accuracy" in second.stdout
    table = pd.read_csv(run.replicates, dtype={"network": str})
    pd.testing.assert_frame_equal(table.iloc[: len(before)], before)
    assert (table.groupby("network")["seed"].nunique() == 2).all()
    assert "Replicates with other seeds" in run.report.read_text(encoding="utf-8")
    row = table.iloc[-1]
    place = next(
        folder / row["network"]
        for folder in (run.front_models, run.control_models)
        if (folder / row["network"]).exists()
    )
    again = call(
        "morel_search.train", str(place), "--seed", str(row["seed"]), "--out", str(tmp_path / "again")
    )
    assert again.returncode == 0, again.stderr
    figures = json.loads((tmp_path / "again" / "settings.json").read_text())["figures"]
    for kind, prefix in (("test", "test_"), ("validation", "")):
        for accuracy in ("clean_accuracy", "robust_accuracy"):
            assert figures[kind][accuracy] == row[f"{prefix}{accuracy}"]


@pytest.mark.slow
def test_a_search_s_own_trial_can_be_picked_and_trained_again(
    searched: tuple[RunFolder, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """A network of a real search has the same weights and accuracies again."""
    import shutil

    shutil.copytree(searched[0].path, tmp_path / "small")
    run = RunFolder(tmp_path / "small")
    assert pick([str(run.path)]) == 0
    (folder,) = (run.path / "picked").iterdir()
    assert train([str(folder)]) == 0
    seed = json.loads((folder / "settings.json").read_text())["seed"]
    again = folder.with_name(f"{folder.name}-seed{seed}")
    old, new = (
        model.state_dict() for model in (load_model(run.front_models / folder.name), load_model(again))
    )
    assert list(new) == list(old)
    assert all(torch.equal(new[name], old[name]) for name in old)
    front = pd.read_csv(run.front).set_index("number").loc[int(folder.name)]
    figures = json.loads((again / "settings.json").read_text())["figures"]
    for what in ("clean_accuracy", "robust_accuracy"):
        assert figures["test"][what] == front[f"test_{what}"]
        assert figures["validation"][what] == front[what]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], ["nothing", "does not exist"]),
        (["made"], ["there is nothing to verify", "front/ holds no weights"]),
        (["empty"], ["there is nothing to verify", "no trial has finished yet"]),
        (["newer"], ["written by a newer morel_search"]),
        (["made", "--minutes", "0"], ["--minutes must be above 0"]),
        (["made", "--images", "-3"], ["--images must be above 0"]),
        (["made", "--replicates", "0"], ["--replicates must be above 0"]),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, "made")
    make_run(tmp_path, "empty", trials=0, controls=False, failures=0)
    newer = make_run(tmp_path, "newer")
    newer.write_json(newer.settings, {**newer.read_settings().to_json(), "format": 99})
    assert main([str(tmp_path / arguments[0]), *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert json.loads((tmp_path / "made" / "settings.json").read_text())["format"] == 1
