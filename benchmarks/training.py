"""The cost of trainings, attacks and verifications, compared with other libraries in the same run.

    python benchmarks/training.py                       # all parts; about an hour on two cores
    python benchmarks/training.py --only steps pgd      # some parts
    python benchmarks/training.py --batch 32 --repeats 1 --only steps

The parts:

- *steps*: one training step (loss, gradient and update) against the losses of MOREL's reference code
  (``advermorel``), with the same network, weights, images and noise.
- *memory*: peak memory of such a step.
- *attention*: the embedding space of such a step alone.
- *epoch*: a whole epoch against the sum of its steps.
- *pgd*: PGD-20 on a test set against torchattacks and ART.
- *verify*: AutoAttack's standard version against ``pyautoattack`` without changes.
- *start*: time from the start of a trial to the end of its first step.
- *sharing*: four trainings at the same time on one GPU, against one after the other.

A GPU is used when there is one. A ratio above 1 means that this project is faster.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from _floor import arithmetic_rate, copy_rate, side_by_side, synchronise
from torch import Tensor, nn

from morel_search.results.provenance import hardware
from morel_search.training.attacks import attack_mode
from morel_search.training.augment import to_float
from morel_search.training.compute import configure, resolve_compute
from morel_search.training.compute import operations as operations_of
from morel_search.training.compute_settings import FLOAT32, Compute, ComputeSettings
from morel_search.training.datasets.loading import Development, ImageSet, load_development, load_test
from morel_search.training.evaluation import evaluate
from morel_search.training.networks import build_network
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep
from morel_search.training.trainer import Training
from morel_search.verification.attack_suite import autoattack

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

SHAPE = (3, 32, 32)
RESNET = NetworkSettings(name="resnet18")
FAST = Compute(precision="bfloat16", channels_last=True)
SAME = Compute(channels_last=True)


def arithmetics(device: torch.device) -> dict[str, Compute]:
    """Return float32, and bfloat16 where the device computes it natively, by name."""
    native = resolve_compute(ComputeSettings(), device, 10**9).precision == "bfloat16"
    return {"float32": SAME, **({"bfloat16": FAST} if native else {})}


STEP = TrainSettings(
    k_robust=0.1,
    alpha=0.1,
    epsilon=Fraction("0.031"),
    step_size=Fraction("0.007"),
    attack_steps=10,
    loat_variant="lore",
)
PHASE = 0
Rates = Mapping[str, float]
"""Operations a second, by precision."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    for line in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(line) + " |", flush=True)
    print(flush=True)


def spread(times: Sequence[float]) -> str:
    """Return the median, and the smallest and the largest time."""
    return f"{statistics.median(times):.3g} ({min(times):.3g} to {max(times):.3g})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """Return the median time of another library divided by that of this project."""
    return f"{statistics.median(theirs) / statistics.median(ours):.2f}"


class FixedNoise:
    """A context in which every attack starts from the same noise, in this project and in the reference."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise

    def __enter__(self) -> None:
        self.patches = [mock.patch.object(torch, "randn", side_effect=lambda *_, **__: self.noise.clone())]
        if (
            self.noise.device.type == "cpu"
        ):  # the reference uses the device "cuda" whatever the images' device
            from reference import on_cpu

            self.patches = [on_cpu(self.noise)]
        for patch in self.patches:
            patch.__enter__()

    def __exit__(self, *error: object) -> None:
        for patch in self.patches:
            patch.__exit__(None, None, None)


def make_step(
    loss: str, classes: int, device: torch.device, compute: Compute
) -> tuple[MorelStep, torch.optim.Optimizer]:
    """Make the training step of a ResNet-18 with fixed weights, and its optimizer."""
    configure(compute, device)
    torch.manual_seed(0)
    network = build_network(RESNET, SHAPE, classes).to(device)
    if compute.channels_last:
        network.to(memory_format=torch.channels_last)
    step = MorelStep(network, replace(STEP, accuracy_loss=loss), compute).to(device).train()
    return step, torch.optim.SGD(step.parameters(), lr=0.0, momentum=0.9)


def ours(
    loss: str,
    classes: int,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    compute: Compute,
    adversarial: Tensor | None = None,
) -> Callable[[], float]:
    """Return a function that makes one step of this project and returns the loss.

    Args:
        loss: The accuracy objective.
        classes: Number of classes.
        images: Images, shape (N, C, H, W), in [0, 1].
        labels: Labels, shape (N,).
        noise: Noise from which the attack starts, with the shape of the images.
        compute: The arithmetic.
        adversarial: Adversarial images to use instead of an attack, to compare the loss alone.
    """
    step, optimizer = make_step(loss, classes, images.device, compute)
    if adversarial is not None:
        step.attack = lambda *_: adversarial  # type: ignore[method-assign]

    def work() -> float:
        with FixedNoise(noise):
            losses, _ = step(images, labels, PHASE)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        return float(losses.total.detach())

    return work


def theirs(
    loss: str, classes: int, images: Tensor, labels: Tensor, noise: Tensor, attacked: list[Tensor]
) -> Callable[[], float]:
    """Return a function that makes one step of the reference and returns the loss.

    The arguments are those of :func:`ours`; the adversarial images are put into the list ``attacked``.
    """
    from reference import reference_model, reference_morel

    step, optimizer = make_step(loss, classes, images.device, FLOAT32)
    model = reference_model(step).to(images.device)
    settings = step.settings
    extra = {
        "epoch": PHASE,
        "reg": True,
        "reg_type": "mse",
        "device": str(images.device),
        "theta": 1.0,
        "gamma_loat": 0.05,
        "lot": "LORE",
    }
    weights = {
        "k": [settings.k_robust, settings.accuracy_weight],
        "a": [0.0, 0.0],
        "gamma": settings.gamma,
        "alpha": settings.alpha,
    }
    attack = {"step_size": 0.007, "epsilon": 0.031, "perturb_steps": 10, "beta": settings.beta}
    # The reference's LOAT assumes 10 classes unless it is told their number.
    inner = partial(
        getattr(reference_morel, f"{loss}_loss"), **({"classes": classes} if loss == "loat" else {})
    )

    def kept(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        value, adversarial = inner(*args, **options)
        attacked[:] = [adversarial.detach()]
        return value, adversarial

    def work() -> float:
        with FixedNoise(noise), mock.patch.object(reference_morel, f"{loss}_loss", kept):
            value = reference_morel.morel_loss(
                model,
                images,
                labels,
                optimizer,
                accu_obj=loss,
                feat_type="both",
                extra_configs=extra,
                **weights,
                **attack,
            )
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return float(value.detach())

    return work


def steps(arguments: argparse.Namespace, device: torch.device, rates: Rates) -> None:
    print(
        f"### One training step: ResNet-18, batch {arguments.batch}, 10 attack steps; seconds, median of "
        f"{arguments.repeats}\n"
    )
    rows = []
    for loss, classes in (("trades", 10), ("mart", 10), ("loat", 100), ("loat", 200)):
        generator = torch.Generator().manual_seed(1)
        images = torch.rand(arguments.batch, *SHAPE, generator=generator).to(device)
        labels = torch.randint(classes, (arguments.batch,), generator=generator).to(device)
        noise = torch.randn(images.shape, generator=generator).to(device)
        batch = (loss, classes, images, labels, noise)
        attacked: list[Tensor] = []
        computes = arithmetics(device)
        works = [theirs(*batch, attacked), *(ours(*batch, compute) for compute in computes.values())]
        expected, own = works[0](), works[1]()
        same_images = ours(*batch, SAME, attacked[0])()
        passes = (
            2 * STEP.attack_steps + (loss == "trades") + 6
        )  # forward pass and input gradient of each attack step; then two forward passes with both gradients
        counted = arguments.batch * passes * operations_of(build_network(RESNET, SHAPE, classes), SHAPE)
        times = side_by_side(works, device, arguments.repeats)
        medians = [statistics.median(seconds) for seconds in times]
        shares = [counted / rates[name] / median for name, median in zip(computes, medians[1:], strict=True)]
        rows.append(
            [
                f"{loss}, {classes} classes",
                *(spread(seconds) for seconds in times),
                " / ".join(f"{abs(value - expected) / abs(expected):.0e}" for value in (same_images, own)),
                *(ratio(times[0], seconds) for seconds in times[1:]),
                " / ".join(f"{share:.2f}" for share in shares),
            ]
        )
    names = list(arithmetics(device))
    head = ["step", "reference", *names, "float32 loss differs by, given the adversarial images / all in"]
    head += [*(f"{name}: times faster" for name in names), "share of the floor"]
    table(head, rows)


def attention(arguments: argparse.Namespace, device: torch.device, _: Rates) -> None:
    print(
        f"### Embedding and class attention alone, forward and backward: {arguments.batch} rows of 512 "
        f"features; milliseconds\n"
    )
    from reference import reference_model

    rows = []
    for classes in (10, 100, 200):
        step, _ = make_step("mart", classes, device, FLOAT32)
        embedding, model = step.embedding, reference_model(step).to(device)
        assert embedding is not None
        generator = torch.Generator().manual_seed(1)
        features = torch.randn(arguments.batch, 512, generator=generator).to(device).requires_grad_()
        labels = torch.randint(classes, (arguments.batch,), generator=generator).to(device)
        sums: dict[str, float] = {}

        def done(name: str, rows: Tensor, sums: dict[str, float] = sums) -> None:
            total = rows.abs().sum()
            total.backward()
            sums[name] = float(total.detach())

        def by_class(
            model: nn.Module = model,
            features: Tensor = features,
            labels: Tensor = labels,
            done: Callable = done,
        ) -> None:
            done(
                "reference",
                nn.functional.normalize(torch.cat(model.get_emb_space_feats(features, labels)[2]), dim=1),
            )

        def at_once(
            embedding: nn.Module = embedding,
            features: Tensor = features,
            labels: Tensor = labels,
            done: Callable = done,
        ) -> None:
            done("own", embedding(features, labels)[1])

        times = side_by_side([by_class, at_once], device, 10 * arguments.repeats)
        apart = abs(sums["own"] / sums["reference"] - 1)
        rows.append(
            [
                str(classes),
                *(spread([1000 * value for value in seconds]) for seconds in times),
                ratio(*times),
                f"{apart:.0e}",
            ]
        )
    table(["classes", "reference", "own", "times faster", "sums differ by"], rows)


def memory(arguments: argparse.Namespace, device: torch.device, _: Rates) -> None:
    print(
        f"### Peak memory of a TRADES step, ResNet-18, batch {arguments.batch}: GiB beyond what the "
        f"process had before, each in its own\n"
    )
    names = ["reference", *arithmetics(device)]
    rows = [
        [name, output_of_child("memory", name, "--batch", str(arguments.batch), "--device", device.type)]
        for name in names
    ]
    table(["", "GiB"], rows)


def memory_of(name: str, batch: int, device: torch.device) -> str:
    """Measure the peak memory of one step, in GiB.

    On a GPU it is the memory of the tensors, on a CPU the growth of the process that the kernel reports.
    """
    import resource

    images, labels = torch.rand(batch, *SHAPE).to(device), torch.arange(batch).to(device) % 10
    batch_of = ("trades", 10, images, labels, torch.randn_like(images))
    work = theirs(*batch_of, []) if name == "reference" else ours(*batch_of, arithmetics(device)[name])
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return f"{(torch.cuda.max_memory_allocated(device) - before) / 2**30:.2f}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20:.2f}"


def output_of_child(*words: str) -> str:
    """Run this script in another process and return the last line of its output."""
    process = subprocess.run(
        [sys.executable, __file__, "--child", *words], stdout=subprocess.PIPE, text=True, check=True
    )
    return process.stdout.strip().splitlines()[-1]


def digits32() -> tuple[Development, ImageSet]:
    """Return the digits of scikit-learn as images of CIFAR's shape: three channels, 32 x 32 pixels."""

    def enlarged(images: ImageSet) -> ImageSet:
        large = (
            nn.functional.interpolate(to_float(images.images), scale_factor=4, mode="bilinear")
            .mul(255)
            .round()
            .to(torch.uint8)
        )
        return ImageSet(large.repeat(1, 3, 1, 1), images.labels)

    settings = DataSettings(name="digits")
    development = load_development(settings)
    return Development(
        enlarged(development.train), enlarged(development.validation), development.classes
    ), enlarged(load_test(settings))


def trained(device: torch.device, width: int, epochs: int) -> tuple[nn.Module, ImageSet]:
    """Train a robust ResNet-18 on the enlarged digits; return it and the test images."""
    development, test = digits32()
    settings = TrainSettings(
        epochs=epochs,
        batch_size=32,
        lr=0.02,
        warmup=0.2,
        accuracy_loss="pgd",
        k_robust=0.0,
        epsilon=Fraction(1, 10),
        attack_steps=3,
    )
    network = NetworkSettings(name="resnet18", options={"width": width})
    once = EvaluationSettings(epsilon=Fraction(1, 10), every=epochs)
    compute = [*arithmetics(device).values()][-1]
    training = Training(
        settings, network, development, once, seed=0, device=device, augmentation="none", compute=compute
    )
    last = list(training)[-1]
    print(
        f"(ResNet-18 of width {width}, {epochs} epochs: validation {last.clean_accuracy:.3f} / "
        f"{last.robust_accuracy:.3f})\n"
    )
    return training.classifier.eval(), test.to(device)


def epoch(arguments: argparse.Namespace, device: torch.device, _: Rates) -> None:
    print("### One epoch, all in, against the sum of its steps\n")
    count, size = 10 * arguments.batch // 2, arguments.batch // 2
    generator = torch.Generator().manual_seed(0)
    data = ImageSet(
        torch.randint(0, 256, (count, *SHAPE), generator=generator).to(torch.uint8), torch.arange(count) % 10
    )
    development = Development(data, ImageSet(data.images[:16], data.labels[:16]), tuple("0123456789"))
    settings = replace(STEP, batch_size=size, epochs=100, lr=1e-4)
    rows = []
    for name, compute in arithmetics(device).items():
        training = Training(
            settings,
            RESNET,
            development,
            EvaluationSettings(every=100),
            seed=0,
            device=device,
            augmentation="crop_flip",
            compute=compute,
        )
        images, labels = to_float(training.data.images[:size]), training.data.labels[:size]

        def only_steps(
            training: Training = training, images: Tensor = images, labels: Tensor = labels
        ) -> None:
            for _ in range(10):
                losses, _ = training.step(images, labels, 0, training.noise)
                training.optimizer.zero_grad()
                losses.total.backward()
                training.optimizer.step()

        times = side_by_side([only_steps, training.train_epoch], device, arguments.repeats)
        more = statistics.median(times[1]) / statistics.median(times[0]) - 1
        rows.append([name, *(spread(seconds) for seconds in times), f"{100 * more:+.1f} %"])
    table(["precision", "ten steps, s", "an epoch of ten steps, s", "more"], rows)


def pgd(arguments: argparse.Namespace, device: torch.device, _: Rates) -> None:
    print("### PGD-20 on a test set\n")
    import torchattacks

    model, test = trained(device, arguments.width, 3)
    test = ImageSet(test.images[: arguments.images], test.labels[: arguments.images])
    images, labels = to_float(test.images), test.labels
    settings = EvaluationSettings(epsilon=Fraction(1, 10), loss="cross_entropy", steps=20, batch_size=128)
    eps, alpha = 0.1, settings.attack.step_size
    counts: dict[str, int] = {}

    def count(name: str, adversarial: Tensor) -> None:
        with torch.no_grad():
            counts[name] = sum(
                int((model(x).argmax(1) == y).sum())
                for x, y in zip(adversarial.split(128), labels.split(128), strict=True)
            )

    def with_torchattacks() -> None:
        attack = torchattacks.PGD(model, eps=eps, alpha=alpha, steps=20)
        count(
            "torchattacks",
            torch.cat([attack(x, y) for x, y in zip(images.split(128), labels.split(128), strict=True)]),
        )

    def with_art() -> None:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

        wrapped = PyTorchClassifier(
            model,
            nn.CrossEntropyLoss(),
            SHAPE,
            10,
            clip_values=(0.0, 1.0),
            device_type=device.type.replace("cuda", "gpu"),
        )
        attack = ProjectedGradientDescentPyTorch(
            wrapped, eps=eps, eps_step=alpha, max_iter=20, num_random_init=1, batch_size=128, verbose=False
        )
        count("ART", torch.from_numpy(attack.generate(images.cpu().numpy(), labels.cpu().numpy())).to(device))

    def own(compute: Compute) -> Callable[[], None]:
        def work() -> None:
            counts[compute.precision] = round(
                evaluate(model, test, settings, compute=compute).robust_accuracy * len(test)
            )

        return work

    rivals: dict[str, Callable[[], None]] = {"torchattacks": with_torchattacks}
    try:
        import art  # noqa: F401
    except ImportError:
        print("(ART is not installed: pip install adversarial-robustness-toolbox)\n")
    else:
        rivals["ART"] = with_art
    works = {**rivals, **{name: own(compute) for name, compute in arithmetics(device).items()}}
    times = dict(zip(works, side_by_side([*works.values()], device, arguments.repeats), strict=True))
    rows = [
        [
            name,
            spread(seconds),
            f"{counts[name]} of {len(test)}",
            *(ratio(times[rival], seconds) for rival in rivals),
        ]
        for name, seconds in times.items()
    ]
    table(["", "seconds", "robust", *(f"times faster than {rival}" for rival in rivals)], rows)


def verify(arguments: argparse.Namespace, device: torch.device, _: Rates) -> None:
    print("### Verification: AutoAttack's standard version\n")
    from pyautoattack import AutoAttack

    model, test = trained(device, 16, 4)
    test = ImageSet(test.images[: arguments.images], test.labels[: arguments.images])
    rows: list[list[str]] = []
    reference = AutoAttack(model, norm="Linf", eps=0.1, seed=0, device=device)
    for name in ("pyautoattack", *arithmetics(device)):
        begin = time.perf_counter()
        if name == "pyautoattack":
            adversarial, _ = reference.run_standard_evaluation(
                to_float(test.images), test.labels, batch_size=250
            )
            with attack_mode(model), torch.no_grad():
                clean = model(to_float(test.images)).argmax(1) == test.labels
                robust, broken = int((clean & (model(adversarial).argmax(1) == test.labels)).sum()), ""
        else:
            settings = EvaluationSettings(epsilon=Fraction(1, 10), batch_size=250)
            verdict = autoattack(model, test, settings, compute=SAME if name == "float32" else FAST)
            robust, broken = (
                int(verdict.robust.sum()),
                ", ".join(f"{key} {value}" for key, value in verdict.broken.items()),
            )
        took = time.perf_counter() - begin
        rows.append(
            [
                name,
                f"{took:.1f}",
                f"{robust} of {len(test)}",
                broken,
                f"{float(rows[0][1]) / took:.2f}" if rows else "",
            ]
        )
    table(["", "seconds", "robust", "broken by", "times faster"], rows)


def start(_arguments: argparse.Namespace, device: torch.device, _: Rates) -> None:
    print("### From a trial's start to the end of its first step, one process, 5,000 PNG images\n")
    import io

    import pandas as pd
    from PIL import Image

    from morel_search.cluster.trainable import Job, begin_training
    from morel_search.cluster.worker_data import development_for

    def png(pixels: Tensor) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "png")
        return file.getvalue()

    pixels = torch.randint(0, 256, (5000, *SHAPE)).to(torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.parquet"
        pd.DataFrame(
            {"image": [png(image) for image in pixels], "label": [number % 10 for number in range(5000)]}
        ).to_parquet(path)
        data = DataSettings(name="parquet", train=str(path))
        rows = []
        for network in (NetworkSettings(name="small_cnn"), RESNET):
            compute = arithmetic(network, device)
            development_for.cache_clear()
            for name in ("first trial", "second", "third"):
                began = time.perf_counter()
                job = Job(
                    number=0,
                    seed=0,
                    train=replace(STEP, batch_size=8, attack_steps=1),
                    network=network,
                    data=data,
                    evaluation=EvaluationSettings(),
                    select_epoch="last",
                    device=device.type,
                    threads=torch.get_num_threads(),
                    folder=folder,
                    compute=compute,
                )
                training, _ = begin_training(
                    job, development_for(data, device.type), Path(folder) / "state.pt"
                )
                ready = time.perf_counter() - began
                training.step(
                    to_float(training.data.images[:8]), training.data.labels[:8], 0, training.noise
                )[0].total.backward()
                synchronise(device)
                rows.append([network.name, name, f"{ready:.2f}", f"{time.perf_counter() - began:.2f}"])
    table(["network", "trial", "ready, s", "first step (batch 8) done, s"], rows)


def arithmetic(network: NetworkSettings, device: torch.device) -> Compute:
    """Return the arithmetic that the settings ``auto`` choose."""
    return resolve_compute(ComputeSettings(), device, operations_of(build_network(network, SHAPE, 10), SHAPE))


def sharing(_arguments: argparse.Namespace, device: torch.device, _: Rates) -> None:
    if device.type != "cuda":
        print("### Four trainings on one GPU\n\nnot measured: no CUDA device here\n")
        return
    print("### Trainings of ResNet-18 at batch 128 on one GPU: steps a second in all\n")
    rows = []
    for together in (1, 2, 4):
        children = [
            subprocess.Popen([sys.executable, __file__, "--child", "rate"], stdout=subprocess.PIPE, text=True)
            for _ in range(together)
        ]
        rate = sum(float(child.communicate()[0]) for child in children)
        rows.append([str(together), f"{rate:.2f}", f"{rate / (float(rows[0][1]) if rows else rate):.2f}"])
    table(["at a time", "steps a second", "times one"], rows)


def steps_per_second() -> float:
    """Measure the steps a second of one training over 60 seconds, without the first 20 seconds."""
    device = torch.device("cuda")
    images, labels = torch.rand(128, *SHAPE).to(device), torch.arange(128).to(device) % 10
    work = ours("trades", 10, images, labels, torch.randn_like(images), FAST)
    begin, count, now = time.perf_counter(), 0, 0.0
    while now < 60:
        work()
        now = time.perf_counter() - begin
        count += now > 20
    return count / 40


PARTS = {
    "steps": steps,
    "memory": memory,
    "attention": attention,
    "epoch": epoch,
    "pgd": pgd,
    "verify": verify,
    "start": start,
    "sharing": sharing,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=200, help="test images of pgd and verify")
    parser.add_argument("--width", type=int, default=64, help="width of the network of pgd")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.child:
        print(
            steps_per_second()
            if arguments.child[0] == "rate"
            else memory_of(arguments.child[1], arguments.batch, device)
        )
        return
    machine = hardware()
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{machine['cpu']}, {torch.get_num_threads()} threads"
    )
    rates = {name: arithmetic_rate(getattr(torch, name), device) for name in arithmetics(device)}
    print(f"{where}, torch {torch.__version__}. Arithmetic: ", end="")
    print(", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items()), end="")
    print("" if len(rates) > 1 else " (bfloat16 is not native here)", end="")
    print(f"; copying: {copy_rate(device) / 1e9:.0f} GB/s.\n", flush=True)
    for name in arguments.only:
        PARTS[name](arguments, device, rates)


if __name__ == "__main__":
    main()
