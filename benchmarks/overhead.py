"""The cost of a trial besides its training: this project against plain Ray Tune, with trials of zero cost.

    python benchmarks/overhead.py                             # 100 and 1,000 trials with Ray, 10,000 without
    python benchmarks/overhead.py --trials 100 1000 10000     # half an hour

With Ray: one trial at a time, with reused actors, and with all that a search does on the driver (study on
disk, tables, front). *gap*: time from the end of a trial to the start of the next one, measured by the
worker; median of all trials, and of the last hundred. *driver*: processor time of the driver for each trial.
*wall*: duration of the search divided by the number of trials. Without Ray: the time that this project adds
to a trial, by the number of trials before it. The search is NSGA-II without the model
(``search.children: 1``); with it, a proposal takes about 0.1 s.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from morel_search.cluster.session import quiet_ray
from morel_search.cluster.trial_report import TrialReport
from morel_search.config import Space, load_space
from morel_search.results.new_run import create_run_folder
from morel_search.training.selection import EpochResult

HERE = Path(__file__).parent
SPACE = HERE.parent / "search_spaces" / "digits.yaml"


def space_of(trials: int) -> Space:
    """Return the space of the digits, with nine parameters, and a number of trials."""
    settings = [f"search.trials={trials}", "search.children=1", "controls=[]", "resources.concurrent=1"]
    return load_space(SPACE, settings)


def epoch(number: int, value: float) -> EpochResult:
    """The invented result of an epoch."""
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 1.0)
    return EpochResult(
        epoch=number,
        **losses,
        lr=0.1,
        train_accuracy=0.5,
        clean_accuracy=1 - value**2,
        robust_accuracy=value,
        seconds=0.0,
    )


def nothing(config: dict[str, Any]) -> None:
    """Run a trial of zero cost that reports as this project does, and write down when it began and ended."""
    from ray import tune

    began = time.time()
    job = config["job"]
    report = TrialReport(final=True, history=(epoch(1, float(job.train.epsilon) / 0.3),))
    with Path(job.folder).parent.joinpath("times").open("a") as file:
        file.write(f"{began} {time.time()}\n")
    tune.report(report.to_ray())


def for_ray(config: dict[str, Any]) -> None:
    """Run the same trial for plain Ray Tune."""
    from ray import tune

    began = time.time()
    value = float(config["epsilon"])
    with Path(config["folder"]).joinpath("times").open("a") as file:
        file.write(f"{began} {time.time()}\n")
    tune.report({"clean": 1 - value**2, "robust": value})


def with_this(trials: int, folder: Path) -> None:
    """Search with this project."""
    from morel_search.cluster.tuner import job_maker, search
    from morel_search.search.controller import SearchController
    from morel_search.search.study import TrialStore
    from morel_search.workflows.artifacts import RunArtifacts

    space, run = space_of(trials), create_run_folder(folder, "run")
    record = TrialStore.of_file(run.study, run.name)
    controller = SearchController.begin(space, record)
    artifacts = RunArtifacts(space, run, record, controller)
    search(
        controller,
        record,
        ray_folder=run.ray,
        job=job_maker(space, folder),
        on_finished=artifacts.finished,
        trainable=nothing,
    )
    assert controller.finished == trials


def with_ray(trials: int, folder: Path, search_alg: Any = None) -> None:
    """Search with plain Ray Tune, by default with its random search."""
    from ray import tune

    config = {f"x{index}": tune.uniform(0, 1) for index in range(8)} | {
        "epsilon": tune.uniform(0, 1),
        "folder": str(folder),
    }
    settings = tune.TuneConfig(
        num_samples=trials, max_concurrent_trials=1, reuse_actors=True, search_alg=search_alg
    )
    where = tune.RunConfig(storage_path=str(folder), name="plain", verbose=0)
    tune.Tuner(
        tune.with_resources(for_ray, {"cpu": 1}), param_space=config, tune_config=settings, run_config=where
    ).fit()


def with_optuna(trials: int, folder: Path) -> None:
    """Search with Ray Tune, OptunaSearch and NSGA-II, with the study in memory."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.NSGAIISampler(population_size=10, seed=0)
    with_ray(trials, folder, OptunaSearch(metric=["clean", "robust"], mode=["max", "max"], sampler=sampler))


METHODS: dict[str, Callable[[int, Path], None]] = {
    "Ray Tune, random search": with_ray,
    "Ray Tune, OptunaSearch, NSGA-II": with_optuna,
    "morel_search": with_this,
}


def measure(name: str, trials: int) -> dict[str, float]:
    """Run one search with Ray; return median gaps and times for each trial, in milliseconds."""
    quiet_ray()
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="overhead-", dir="/tmp") as folder:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        cpu, began = time.process_time(), time.monotonic()
        METHODS[name](trials, Path(folder))
        cpu, took = time.process_time() - cpu, time.monotonic() - began
        ray.shutdown()
        times = sorted(
            tuple(map(float, line.split())) for line in (Path(folder) / "times").read_text().splitlines()
        )
    gaps = [1000 * (later[0] - earlier[1]) for earlier, later in itertools.pairwise(times)]
    medians = {"gap": statistics.median(gaps), "last": statistics.median(gaps[-100:])}
    return {**medians, "driver": 1000 * cpu / trials, "wall": 1000 * took / trials}


def without_ray(trials: int) -> list[tuple[int, float, float]]:
    """Measure the milliseconds that this project adds to a trial, and those of the tables.

    Returns:
        Rows of the number of trials so far, and both times, averaged since the row before.
    """
    from morel_search.search.controller import Decision, SearchController
    from morel_search.search.study import TrialStore
    from morel_search.workflows.artifacts import RunArtifacts

    rows = []
    with tempfile.TemporaryDirectory(prefix="overhead-", dir="/tmp") as folder:
        space, run = space_of(trials), create_run_folder(Path(folder), "run")
        record = TrialStore.of_file(run.study, run.name)
        controller = SearchController.begin(space, record)
        artifacts = RunArtifacts(space, run, record, controller)
        added, tables, count = 0.0, 0.0, 0
        for number in range(trials):
            began = time.perf_counter()
            assignment = controller.next()
            assert assignment is not None
            value = float(assignment.train.epsilon) / 0.3
            for one in range(1, space.train.epochs + 1):
                if controller.report(number, [epoch(one, value * one / space.train.epochs)]) is Decision.STOP:
                    break
            finished = controller.finish(number, (), "")
            between = time.perf_counter()
            artifacts.finished(finished)
            added, tables, count = added + between - began, tables + time.perf_counter() - between, count + 1
            if number + 1 in (100, 300, 1000, 3000, 10_000, trials):
                rows.append((number + 1, 1000 * added / count, 1000 * tables / count))
                added, tables, count = 0.0, 0.0, 0
    return rows


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 1000], help="searches with Ray")
    parser.add_argument("--alone", type=int, default=10_000, help="trials of the search without Ray; 0: none")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "TRIALS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print("\n" + json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    if arguments.alone:
        print(
            "| trials before | ms a trial, study and sampler and rungs | ms a trial, files |\n|---|---|---|"
        )
        for number, added, tables in without_ray(arguments.alone):
            print(f"| {number:,} | {added:.1f} | {tables:.1f} |", flush=True)
    if arguments.trials:
        heads = (
            "trials",
            "method",
            "gap, ms",
            "gap at the end, ms",
            "driver, ms",
            "wall, ms",
            "gap x plain",
            "wall x plain",
        )
        print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for trials in arguments.trials:
        plain: dict[str, float] = {}
        for name in arguments.methods:
            command = [sys.executable, __file__, "--one", name, str(trials)]
            row = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
            plain = plain or row
            cells = [f"{trials:,}", name, *(f"{row[key]:.1f}" for key in ("gap", "last", "driver", "wall"))]
            cells += [f"{row[key] / plain[key]:.2f}" for key in ("gap", "wall")]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
