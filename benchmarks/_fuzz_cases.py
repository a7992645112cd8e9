"""The cases of benchmarks/fuzz.py: valid folders, how they are damaged, and what reads them."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _mutations import damaged_bytes, damaged_entry, damaged_text, damaged_tree, odd_value

__all__ = ["KINDS", "Base", "Kind", "command_of", "make_base", "remove"]

ROOT = Path(__file__).parents[1]
SPACES = ROOT / "search_spaces"
KEPT_TRIALS = 20
OVERRIDES = (
    *("train.epochs", "train.lr", "search.trials", "parameters.beta.high", "constraints.seconds", "controls"),
)


@dataclass(frozen=True)
class Kind:
    """A kind of case.

    Attributes:
        share: Share of all cases.
        prepare: Writes a damaged folder: the random generator, the valid folders, the folder to write.
        read: Reads the folder with the functions of the commands: the random generator, the folder.
    """

    share: float
    prepare: Callable[[random.Random, Base, Path], None]
    read: Callable[[random.Random, Path], object]


@dataclass(frozen=True)
class Base:
    """Valid content: a run with the weights of its front, a picked network, a study, and space files."""

    run: Path
    model: Path
    study: Path
    spaces: Mapping[str, Any]


def make_base(folder: Path) -> Base:
    """Make the valid folders from the example of the repository; the weights are those of no training."""
    from ruamel.yaml import YAML

    from morel_search.workflows.pick import pick_network

    run = folder / "run"
    shutil.copytree(ROOT / "results" / "example", run)
    _shorten(run)
    for name in _members(run):
        _write_network(run, name)
    with contextlib.redirect_stdout(io.StringIO()):
        model = pick_network(run, target=folder / "model")
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(SPACES.glob("*.yaml"))}
    trees = {name: (text, YAML(typ="safe", pure=True).load(text)) for name, text in texts.items()}
    return Base(run, model, _study(folder), trees)


def _shorten(run: Path) -> None:
    """Keep the trials with verified networks and a few others, so that a report takes little time."""
    import pandas as pd

    trials = pd.read_csv(run / "trials.csv")
    named = {int(path.stem.split("-")[0]) for path in (run / "verification").glob("*.csv")}
    kept = trials[(trials["number"] < KEPT_TRIALS) | trials["number"].isin(named)]["number"]
    for name in ("trials", "epochs"):
        table = pd.read_csv(run / f"{name}.csv", dtype=str)
        table[table["number"].astype(int).isin(kept)].to_csv(run / f"{name}.csv", index=False)


def _members(run: Path) -> list[str]:
    from morel_search import load_results

    return [entry.name for entry in load_results(run).networks if entry.member]


def _write_network(run: Path, name: str) -> None:
    from morel_search.models.checkpoint import save_model
    from morel_search.training.networks import build_network
    from morel_search.training.settings import NetworkSettings

    space = json.loads((run / "settings.json").read_text(encoding="utf-8"))["space"]
    network = NetworkSettings(name="small_cnn", options={"width": 4})
    folder = run / "front" / name
    folder.mkdir(parents=True)
    classes = [str(digit) for digit in range(10)]
    save_model(
        folder / "model.pt", build_network(network, (1, 8, 8), 10), network, (1, 8, 8), classes, epoch=1
    )
    settings = {
        **{
            "format": 1,
            "number": int(name.partition("-")[0]),
            "epoch": 1,
            "seed": 0,
            "select_epoch": "best_sum",
        },
        **{section: space[section] for section in ("train", "data", "evaluation")},
        "network": {"name": network.name, "options": dict(network.options)},
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")


def _study(folder: Path) -> Path:
    from morel_search.config import load_space
    from morel_search.search.controller import SearchController
    from morel_search.search.study import TrialStore

    space, path = load_space(SPACES / "digits.yaml"), folder / "study" / "study.db"
    path.parent.mkdir()
    store = TrialStore.of_file(path, "study")
    store.set_identity(space.identity())
    SearchController.begin(space, store, ())
    store.close()
    return path.parent


def _prepare_space(rng: random.Random, base: Base, folder: Path) -> None:
    folder.mkdir()
    name = rng.choice(["digits.yaml"] * 3 + list(base.spaces))
    text, tree = base.spaces[name]
    change = rng.randrange(10)
    path = folder / "space.yaml"
    if change <= 1:
        path.write_bytes(damaged_bytes(rng, text.encode()))
    elif change <= 4:
        path.write_bytes(damaged_text(rng, text).encode("utf-8", "surrogatepass"))
    elif change == 5:
        path.write_text(text, encoding="utf-8")
    elif change <= 7:
        path.write_text(json.dumps(damaged_tree(rng, tree, changes=1)), encoding="utf-8")
    else:
        path.write_text(json.dumps(damaged_tree(rng, tree)), encoding="utf-8")


def _read_space(rng: random.Random, folder: Path) -> None:
    from morel_search.config import load_space
    from morel_search.workflows import preflight
    from morel_search.workflows.plan import plan_text

    overrides = [f"{rng.choice(OVERRIDES)}={odd_value(rng, 3)}"] if rng.randrange(4) == 0 else []
    space = load_space(folder / "space.yaml", overrides)
    space.describe()
    space.identity()
    if space.data.name.startswith("cifar"):  # the archive would be downloaded
        return
    preflight.check_device(space)
    checked = preflight.inspect(space)
    plan_text(space, checked, 1.0, 1)


def _prepare_folder(part: str, rng: random.Random, base: Base, folder: Path) -> None:
    shutil.copytree(getattr(base, part), folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "figures" not in path.parts)
    for path in rng.sample(files, min(len(files), rng.choice((1, 1, 1, 2, 3)))):
        damaged_entry(rng, path)


def _read_run(rng: random.Random, folder: Path) -> None:
    from morel_search.analysis.members import read_members
    from morel_search.analysis.picking import choose, knee_point
    from morel_search.analysis.replication import read_replication
    from morel_search.analysis.report.page import write_report
    from morel_search.analysis.run_data import read_run_data
    from morel_search.analysis.verification_reader import read_verification
    from morel_search.results.folder import open_run_folder
    from morel_search.workflows.pick import pick_network

    command = rng.randrange(12)
    if command == 0:
        write_report(open_run_folder(folder))
    elif command <= 3:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pick_network(folder, target=folder / "picked" / "one")
    else:
        data = read_run_data(open_run_folder(folder))
        assert data.hypervolume >= 0
        assert data.control_hypervolume >= 0
        read_replication(data)
        read_verification(data)
        choose(read_members(data), knee_point)


def _read_model(_: random.Random, folder: Path) -> None:
    from morel_search import load_model
    from morel_search._consent import NO_CODE
    from morel_search.models.export import settings_of
    from morel_search.models.recipe import read_training_config

    read_training_config(settings_of(folder), folder, NO_CODE)
    load_model(folder)


def _read_study(_: random.Random, folder: Path) -> None:
    from morel_search.search.study import TrialStore

    store = TrialStore.of_file(folder / "study.db", "study")
    store.identity()
    store.trials()
    store.close()


KINDS: dict[str, Kind] = {
    "space files": Kind(0.4, _prepare_space, _read_space),
    "run folders": Kind(0.35, partial(_prepare_folder, "run"), _read_run),
    "model folders": Kind(0.2, partial(_prepare_folder, "model"), _read_model),
    "studies": Kind(0.05, partial(_prepare_folder, "study"), _read_study),
}


def command_of(rng: random.Random, base: Base, folder: Path) -> list[str]:
    """Prepare a damaged folder and return the words of a command that reads it."""
    kind = rng.choice(("space", "report", "pick", "train"))
    if kind == "space":
        _prepare_space(rng, base, folder)
        return ["run", "--dry-run", "--space", str(folder / "space.yaml"), "--results", str(folder)]
    if kind == "train":
        _prepare_folder("model", rng, base, folder)
        device = "quantum" if rng.randrange(3) else "cpu"
        return ["train", str(folder), "--out", str(folder / "new"), "--device", device]
    _prepare_folder("run", rng, base, folder)
    words = [kind, str(folder)]
    if kind == "pick" and rng.randrange(2):
        words += rng.choice((["--member", "12"], ["--robust-at-least", "0.3"], ["--weights", "1,x"]))
    return words


def remove(folder: Path) -> None:
    """Delete the folder of a case."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        folder.chmod(0o700)
        shutil.rmtree(folder)
