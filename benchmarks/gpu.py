"""What trainings, attacks and verifications take on a GPU, measured in pieces of at most 8 minutes.

    bash benchmarks/gpu.sh                               # writes benchmarks/gpu/PIECE.json and tables.md
    bash benchmarks/gpu.sh --train A.parquet --test B.parquet   # also a small front of CIFAR-10
    bash benchmarks/gpu.sh --budget 5                    # start no piece after 5 minutes; run it again later
    bash benchmarks/gpu.sh --device cpu --tiny           # try the script itself

Each piece runs in a process of its own, and its result is a file; a piece whose file exists is not run again.
A piece that fails or takes too long is named in the tables and tried again by the next run. Of the reference
(``advermorel``), torchattacks, ART and pyautoattack, those that are installed are measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from morel_search.training.compute_settings import Compute

HERE = Path(__file__).parent
Row = dict[str, object]
LOSSES = (("trades", 10), ("mart", 10), ("loat", 100))
TOGETHER = (1, 2, 4, 8)
FRONT = (("trades", 0.0), ("trades", 0.3), ("mart", 0.0), ("mart", 0.3), ("pgd", 0.0), ("none", 0.0))
"""Accuracy objective and weight of the robust objective of the trainings of the small front."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; the defaults are for a GPU."""

    width: int = 64
    batch: int = 128
    repeats: int = 10
    epoch_images: int = 45_000
    test_images: int = 1000
    network_epochs: int = 4
    seconds: float = 60.0
    front_images: int | None = None
    front_epochs: int = 10


TINY = Sizes(4, 4, 1, 16, 12, 1, 1.0, 64, 1)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all pieces know."""

    out: Path
    device: torch.device
    sizes: Sizes
    train: str | None
    test: str | None


def precisions(device: torch.device) -> dict[str, Compute]:
    """Return every arithmetic that the device has, by name; the last one is the fastest."""
    from morel_search.errors import TrainingError
    from morel_search.training.compute import resolve_compute
    from morel_search.training.compute_settings import ComputeSettings, Precision

    names: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
    found: dict[str, Compute] = {}
    for name in names:
        try:
            found[name] = resolve_compute(ComputeSettings(precision=name), device, 10**9)
        except TrainingError:
            continue
    return found


def floor(setting: Setting, _: str) -> list[Row]:
    """Rates of the device: the largest matrix product or convolution, and copying."""
    from _floor import arithmetic_rate, copy_rate

    rows: list[Row] = [
        {
            "what": f"{name}, operations a second",
            "rate": arithmetic_rate(getattr(torch, name), setting.device),
        }
        for name in ("float32", "bfloat16")
        if name in precisions(setting.device)
    ]
    return [*rows, {"what": "bytes copied a second", "rate": copy_rate(setting.device)}]


def counts(_: Setting, __: str) -> list[Row]:
    """Operations of one step, which do not depend on the device."""
    from operations import table

    from morel_search.training.compute_settings import FLOAT32, Compute

    both = (FLOAT32, Compute("bfloat16", channels_last=True))
    return [{"precision": compute.precision, **table(compute, "sgd")} for compute in both]


def step(setting: Setting, which: str) -> list[Row]:
    """One training step in every precision, and the reference's where it is installed."""
    import training as parts
    from _floor import side_by_side

    loss, classes = next((loss, classes) for loss, classes in LOSSES if loss == which)
    parts.RESNET = replace(parts.RESNET, options={"width": setting.sizes.width})
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(setting.sizes.batch, *parts.SHAPE, generator=generator)
    labels = torch.randint(classes, (len(images),), generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    batch = (loss, classes, *(part.to(setting.device) for part in (images, labels, noise)))
    works: dict[str, Callable[[], object]] = {}
    if find_spec("advermorel"):
        works["reference"] = parts.theirs(*batch, [])
    for name, compute in precisions(setting.device).items():
        works[name] = parts.ours(*batch, compute)
    losses = {name: work() for name, work in works.items()}
    seconds = side_by_side([*works.values()], setting.device, setting.sizes.repeats)
    return _beside("reference", dict(zip(works, seconds, strict=True)), "loss", losses)


def epoch(setting: Setting, _: str) -> list[Row]:
    """One epoch of TRADES on images of CIFAR's shape, and the evaluation after it."""
    from morel_search.training.datasets.loading import Development, ImageSet
    from morel_search.training.settings import EvaluationSettings, NetworkSettings, TrainSettings
    from morel_search.training.trainer import Training

    count = setting.sizes.epoch_images
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    data = ImageSet(images, torch.arange(count) % 10)
    rows: list[Row] = []
    fastest = [*precisions(setting.device).values()][-1]
    training = Training(
        TrainSettings(batch_size=setting.sizes.batch, attack_steps=10, ema=0.999),
        NetworkSettings(name="resnet18", options={"width": setting.sizes.width}),
        Development(data, data.first(max(8, count // 9)), tuple("0123456789")),
        EvaluationSettings(),
        seed=0,
        device=setting.device,
        compute=fastest,
    )
    for name, work in (("training", training.train_epoch), ("evaluation", training.evaluate)):
        began = time.perf_counter()
        work()
        rows.append({"what": name, "images": count, "seconds": time.perf_counter() - began})
    return rows


def network(setting: Setting, _: str) -> list[Row]:
    """Train the network that the pieces of attacks measure, on the digits at CIFAR's size."""
    import training as parts

    model, test = parts.trained(setting.device, setting.sizes.width, setting.sizes.network_epochs)
    torch.save(model.state_dict(), setting.out / "network.pt")
    with torch.no_grad():
        right = model(test.images[:100].float() / 255).argmax(dim=1) == test.labels[:100]
    return [{"what": "right of the first 100 test images", "value": int(right.sum())}]


def _network(setting: Setting) -> tuple[torch.nn.Module, object]:
    import training as parts

    from morel_search.training.networks import build_network
    from morel_search.training.settings import NetworkSettings

    settings = NetworkSettings(name="resnet18", options={"width": setting.sizes.width})
    model = build_network(settings, parts.SHAPE, 10).to(setting.device).eval()
    model.load_state_dict(torch.load(setting.out / "network.pt", weights_only=True))
    _, test = parts.digits32()
    return model, test.first(setting.sizes.test_images).to(setting.device)


def pgd(setting: Setting, _: str) -> list[Row]:
    """PGD-20 on test images, against the libraries that are installed."""
    from unittest import mock

    import training as parts

    model, test = _network(setting)
    arguments = argparse.Namespace(
        width=setting.sizes.width, images=setting.sizes.test_images, repeats=setting.sizes.repeats
    )
    printed: list[tuple[list[str], list[list[str]]]] = []
    with (
        mock.patch.object(parts, "trained", return_value=(model, test)),
        mock.patch.object(parts, "table", lambda head, rows: printed.append((head, rows))),
        mock.patch.object(parts, "arithmetics", precisions),
    ):
        parts.pgd(arguments, setting.device, {})
    ((head, rows),) = printed
    return [dict(zip(["what", *head[1:]], row, strict=True)) for row in rows]


def verify(setting: Setting, which: str) -> list[Row]:
    """AutoAttack's standard version, by pyautoattack or by this project in one precision."""
    import training as parts

    from morel_search.training.settings import EvaluationSettings
    from morel_search.verification.attack_suite import autoattack

    model, test = _network(setting)
    began = time.perf_counter()
    if which == "pyautoattack":
        from pyautoattack import AutoAttack

        reference = AutoAttack(model, norm="Linf", eps=0.1, seed=0, device=setting.device)
        images = parts.to_float(test.images)
        adversarial, _ = reference.run_standard_evaluation(images, test.labels, batch_size=250)
        with torch.no_grad():
            robust = int((model(adversarial).argmax(1) == test.labels).sum())
    else:
        compute = precisions(setting.device)[which]
        settings = EvaluationSettings(epsilon=Fraction(1, 10), batch_size=1000)
        robust = int(autoattack(model, test, settings, compute=compute).robust.sum())
    seconds = time.perf_counter() - began
    return [{"by": which, "robust": f"{robust} of {len(test)}", "seconds": seconds}]


def sharing(setting: Setting, which: str) -> list[Row]:
    """Several trainings at the same time on one device: their steps a second in all."""
    command = [sys.executable, __file__, "--piece", "rate", *_words(setting)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(int(which))]
    rates = [float(child.communicate()[0].split()[-1]) for child in children]
    return [{"at a time": int(which), "steps a second": sum(rates)}]


def rate(setting: Setting) -> float:
    """Measure the steps a second of one training, without the first third of the time."""
    import training as parts

    parts.RESNET = replace(parts.RESNET, options={"width": setting.sizes.width})
    images = torch.rand(setting.sizes.batch, *parts.SHAPE).to(setting.device)
    labels = torch.arange(len(images)).to(setting.device) % 10
    compute = [*precisions(setting.device).values()][-1]
    work = parts.ours("trades", 10, images, labels, torch.randn_like(images), compute)
    work()  # the first step chooses algorithms
    began, steps = time.perf_counter(), 0
    warm_up = setting.sizes.seconds / 3
    while (now := time.perf_counter() - began) < setting.sizes.seconds or not steps:
        work()
        steps += now >= warm_up
    return steps / (time.perf_counter() - began - warm_up)


def front(setting: Setting, which: str) -> list[Row]:
    """Train one network of the small front of CIFAR-10, and score it on the test images."""
    from morel_search.training.datasets.loading import load_development, load_test
    from morel_search.training.evaluation import evaluate
    from morel_search.training.settings import (
        DataSettings,
        EvaluationSettings,
        NetworkSettings,
        TrainSettings,
    )
    from morel_search.training.trainer import Training

    loss, weight = FRONT[int(which)]
    sizes = setting.sizes
    data = DataSettings(
        name="parquet",
        train=setting.train,
        test=setting.test,
        limit=sizes.front_images,
        test_limit=sizes.test_images,
    )
    settings = TrainSettings(
        epochs=sizes.front_epochs, batch_size=sizes.batch, accuracy_loss=loss, k_robust=weight, warmup=0.1
    )
    compute = [*precisions(setting.device).values()][-1]
    training = Training(
        settings,
        NetworkSettings(name="resnet18", options={"width": sizes.width}),
        load_development(data),
        EvaluationSettings(every=sizes.front_epochs),
        seed=0,
        device=setting.device,
        compute=compute,
    )
    began = time.perf_counter()
    list(training)
    trained = time.perf_counter() - began
    test = load_test(data).to(setting.device)
    scores = evaluate(training.model, test, training.evaluation, final=True, compute=training.compute)
    return [
        {
            "loss": loss,
            "k_robust": weight,
            "clean": scores.clean_accuracy,
            "robust": scores.robust_accuracy,
            "seconds of training": trained,
        }
    ]


def _beside(
    first: str, seconds: Mapping[str, list[float]], name: str, values: Mapping[str, object]
) -> list[Row]:
    """Rows of medians, with their ratio to the first contestant where it is there."""
    from statistics import median

    base = median(seconds[first]) if first in seconds else None
    rows: list[Row] = []
    for what, times in seconds.items():
        faster = base / median(times) if base else None
        rows.append(
            {"what": what, "seconds": median(times), "all": times, "times faster": faster, name: values[what]}
        )
    return rows


def pieces(setting: Setting) -> dict[str, Callable[[], list[Row]]]:
    """Return all pieces in order, by name."""
    kinds: list[tuple[Callable[[Setting, str], list[Row]], list[str]]] = [
        (floor, [""]),
        (counts, [""]),
        (step, [loss for loss, _ in LOSSES]),
        (epoch, [""]),
        (network, [""]),
        (pgd, [""] if find_spec("torchattacks") else []),
        (verify, [*precisions(setting.device), "pyautoattack"] if find_spec("pyautoattack") else []),
        (sharing, [str(together) for together in TOGETHER]),
        (front, [str(number) for number in range(len(FRONT))] if setting.train and setting.test else []),
    ]
    return {
        f"{kind.__name__}-{which}".rstrip("-"): (lambda kind=kind, which=which: kind(setting, which))
        for kind, each in kinds
        for which in each
    }


def _words(setting: Setting) -> list[str]:
    words = ["--out", str(setting.out), "--device", setting.device.type]
    words += ["--tiny"] if setting.sizes == TINY else []
    words += ["--train", setting.train] if setting.train else []
    return [*words, "--test", setting.test] if setting.test else words


def write(path: Path, text: str) -> None:
    """Replace a file in one step."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def run_pieces(setting: Setting, names: list[str], minutes: float, budget: float | None) -> dict[str, str]:
    """Run each piece that has no result in a process of its own; return the reasons of those that failed."""
    began, failed = time.monotonic(), {}
    for name in names:
        if (setting.out / f"{name}.json").exists():
            continue
        if budget is not None and time.monotonic() - began > 60 * budget:
            failed[name] = "not run yet"
            continue
        print(f"{name} ...", flush=True)
        command = [sys.executable, __file__, "--piece", name, *_words(setting)]
        with (setting.out / f"{name}.log").open("w", encoding="utf-8") as log:
            child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                if child.wait(60 * minutes):
                    failed[name] = f"failed, see {name}.log"
            except subprocess.TimeoutExpired:
                failed[name] = f"not finished in {minutes:g} minutes"
            finally:
                _end(child)
    return failed


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a piece with the processes that it started."""
    import signal
    from contextlib import suppress

    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def tables(setting: Setting, names: list[str], failed: Mapping[str, str]) -> str:
    """Return the results of all pieces in Markdown; pieces of one kind are one table."""
    where = torch.cuda.get_device_name() if setting.device.type == "cuda" else "CPU"
    lines = [f"# Measured on {where}", "", f"Made by `bash benchmarks/gpu.sh`, torch {torch.__version__}."]
    shown: set[str] = set()
    results = {name: _rows(setting.out / f"{name}.json") for name in names}
    _mark_front([rows[0] for name, rows in results.items() if rows and name.startswith("front-")])
    for name in names:
        kind = name.split("-")[0]
        rows = results[name]
        if not rows:
            lines += ["", f"{name}: {failed.get(name, 'not run yet')}"]
            continue
        columns = [column for column in rows[0] if column != "all"]
        title = name if kind == "step" else kind
        if title not in shown:
            shown.add(title)
            lines += ["", f"## {title}", "", "| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
        lines += ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join([*lines, ""])


def _rows(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return rows


def _mark_front(rows: list[Row]) -> None:
    """Say of each training of the small front whether no other dominates it."""
    points = [(float(str(row["clean"])), float(str(row["robust"]))) for row in rows]
    for row, (clean, robust) in zip(rows, points, strict=True):
        better = any(c >= clean and r >= robust and (c, r) != (clean, robust) for c, r in points)
        row["on the front"] = "no" if better else "yes"


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Run one piece, or all of them; 1 where a piece has no result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE / "gpu")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--train", help="Parquet file of CIFAR-10's training images")
    parser.add_argument("--test", help="Parquet file of its test images")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="kinds of pieces, such as step or sharing")
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit of a piece")
    parser.add_argument("--budget", type=float, help="start no further piece after this many minutes")
    parser.add_argument("--tiny", action="store_true", help="try the script with very small sizes")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cpu" and not arguments.tiny:
        parser.error("no CUDA device here; --device cpu --tiny tries the script")
    sizes = TINY if arguments.tiny else Sizes()
    setting = Setting(arguments.out, device, sizes, arguments.train, arguments.test)
    if arguments.piece == "rate":
        print(rate(setting))
        return 0
    every = pieces(setting)
    if arguments.piece:
        rows = every[arguments.piece]()
        name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
        result = {"device": name, "torch": torch.__version__, "sizes": asdict(sizes), "rows": rows}
        write(setting.out / f"{arguments.piece}.json", json.dumps(result, indent=2) + "\n")
        return 0
    names = [name for name in every if not arguments.only or name.split("-")[0] in arguments.only]
    setting.out.mkdir(parents=True, exist_ok=True)
    failed = run_pieces(setting, names, arguments.minutes, arguments.budget)
    text = tables(setting, list(every), failed)
    write(setting.out / "tables.md", text)
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
