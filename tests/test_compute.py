"""The arithmetic: the choice of auto, refusals, and numbers that differ by rounding alone."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from morel_search.config import load_space
from morel_search.errors import OutOfMemoryError, TrainingError
from morel_search.training.attacks import attack_mode, cross_entropy_objective, pgd
from morel_search.training.augment import to_float
from morel_search.training.compute import (
    TINY,
    _float32_switches,
    breaks_bfloat16,
    exact_arithmetic,
    operations,
    resolve_compute,
    supports_channels_last,
)
from morel_search.training.compute_settings import FLOAT32, Compute, ComputeSettings
from morel_search.training.datasets.loading import Development, ImageSet, load_development
from morel_search.training.evaluation import evaluate
from morel_search.training.networks import build_network
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.trainer import Training
from morel_search.workflows.preflight import inspect

FAST = Compute(precision="bfloat16", channels_last=True)
NETWORK = NetworkSettings(name="small_cnn", options={"width": 8})
EVALUATION = EvaluationSettings(epsilon=Fraction(1, 5), steps=20)
SETTINGS = TrainSettings(
    epochs=3,
    batch_size=64,
    optimizer="adamw",
    lr=0.01,
    k_robust=0.3,
    alpha=0.1,
    epsilon=Fraction(1, 10),
    attack_steps=3,
)


@pytest.fixture(scope="module")
def digits() -> Development:
    return load_development(DataSettings(name="digits", validation=0.3))


def train(digits: Development, compute: Compute, settings: TrainSettings = SETTINGS) -> Training:
    training = Training(
        settings, NETWORK, digits, dataclasses.replace(EVALUATION, every=100), seed=0, compute=compute
    )
    for _ in range(settings.epochs):
        training.train_epoch()
    return training


@pytest.fixture(scope="module")
def trained(digits: Development) -> Training:
    return train(digits, FLOAT32)


def with_capabilities(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize(
    ("capabilities", "count", "precision"),
    [
        ({"avx512_bf16": True}, TINY, "bfloat16"),
        ({"bf16": True}, TINY, "bfloat16"),
        ({"avx512_bf16": True}, TINY - 1, "float32"),
        ({"avx512_bf16": False, "avx2": True}, TINY, "float32"),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], count: int, precision: str
) -> None:
    with_capabilities(monkeypatch, **capabilities)
    assert resolve_compute(ComputeSettings(), "cpu", count) == Compute(
        precision=precision, channels_last=True
    )


def test_what_is_asked_for_is_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with_capabilities(monkeypatch, avx512_bf16=True)
    asked = ComputeSettings(precision="bfloat16", channels_last="on", deterministic=True)
    assert resolve_compute(asked, "cpu", 1) == Compute(
        precision="bfloat16", channels_last=True, deterministic=True
    )
    asked = ComputeSettings(precision="float32", channels_last="off")
    assert resolve_compute(asked, "cpu", 10**9) == FLOAT32


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_a_precision_that_the_device_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    with_capabilities(monkeypatch)
    with pytest.raises(
        TrainingError, match=f"compute.precision is {precision}, which .* use float32 or auto"
    ):
        resolve_compute(ComputeSettings(precision=precision), "cpu", 10**9)


def test_compile_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match=r"compute.compile is on, but no C\+\+ compiler is installed"):
        resolve_compute(ComputeSettings(compile="on"), "cpu", 10**9)


class Viewing(nn.Module):
    """``view`` after a convolution, which wants the usual layout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv(x)
        return maps.view(len(x), -1)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "breaks"),
    [
        (1, 3, 2, True),
        (2, 3, 3, True),
        (2, 3, 2, False),
        (1, 3, 1, False),
        (1, 1, 2, False),
        (8, 3, 2, False),
    ],
)
def test_a_stride_larger_than_its_input_is_found(side: int, kernel: int, stride: int, breaks: bool) -> None:
    network = nn.Conv2d(3, 4, kernel, stride, kernel // 2).train()
    assert breaks_bfloat16(network, torch.rand(2, 3, side, side)) == breaks
    assert network.training
    functional = Padded(stride)
    assert breaks_bfloat16(functional, torch.rand(2, 3, side, side)) == (stride > side + 2)


class Padded(nn.Module):
    """A convolution by function, on images that were padded before."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride, self.weight = stride, nn.Parameter(torch.rand(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1)), self.weight, stride=self.stride)


@pytest.mark.parametrize("network", ["timm/test_resnet", "resnet18"])
def test_a_network_that_bfloat16_breaks_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    with_capabilities(monkeypatch, avx512_bf16=True)
    breaks = network == "timm/test_resnet"  # its last convolutions have stride 2 on maps of 1 x 1

    def computes(precision: str) -> str:
        text = f"""
data: {{name: digits, validation: 0.25, limit: 200}}
network: {{name: {network}}}
train: {{epochs: 2}}
evaluation: {{norm: linf, epsilon: 1/5}}
parameters: {{beta: {{type: float, low: 1, high: 12}}}}
search: {{trials: 40}}
compute: {{precision: {precision}}}
"""
        Path("space.yaml").write_text(text)
        return inspect(load_space("space.yaml")).compute.precision

    assert computes("auto") == ("float32" if breaks else "bfloat16")
    if breaks:
        with pytest.raises(TrainingError, match="a stride larger than its input"):
            computes("bfloat16")


class Strided(nn.Module):
    """A network of a user, whose option decides whether its convolution has too large a stride."""

    def __init__(self, num_classes: int = 10, stride: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3, stride, 1)
        self.deep = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(32, 64, 3, stride, 1), nn.Flatten())
        self.head = nn.LazyLinear(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.deep(self.conv(x)))
        return logits


@pytest.mark.parametrize(("choices", "precision"), [("[1, 2]", "bfloat16"), ("[1, 3]", "float32")])
def test_one_network_of_the_search_that_bfloat16_breaks_is_enough(
    monkeypatch: pytest.MonkeyPatch, choices: str, precision: str
) -> None:
    with_capabilities(monkeypatch, avx512_bf16=True)
    monkeypatch.setattr("morel_search.training.compute.TINY", 1)
    Path("space.yaml").write_text(
        f"""
data: {{name: digits, validation: 0.25, limit: 200}}
network: {{name: "test_compute:strided", options: {{stride: 2}}}}
train: {{epochs: 2}}
evaluation: {{norm: linf, epsilon: 1/5}}
parameters: {{network.options.stride: {{type: categorical, choices: {choices}}}}}
search: {{trials: 40}}
"""
    )
    assert inspect(load_space("space.yaml")).compute.precision == precision


def strided(num_classes: int = 10, stride: int = 2) -> nn.Module:
    network = Strided(num_classes, stride)
    network(torch.zeros(1, 1, 8, 8))
    return network


def test_a_network_that_cannot_have_the_layout_is_found() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert supports_channels_last(build_network(NetworkSettings(name="small_cnn"), (3, 8, 8), 10), images)
    assert not supports_channels_last(Viewing(), images)


def test_exact_arithmetic_leaves_the_switches_as_they_were() -> None:
    """The switches are the process's, and are there without a GPU."""
    before = [switch.fp32_precision for switch in _float32_switches()]
    with exact_arithmetic(torch.device("cuda")):
        assert [switch.fp32_precision for switch in _float32_switches()] == ["ieee"] * 3
    assert [switch.fp32_precision for switch in _float32_switches()] == before
    torch.get_float32_matmul_precision()
    assert isinstance(torch.backends.cudnn.allow_tf32, bool)


def test_operations_are_counted() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 8 * 8, 10)
    ).train()
    assert operations(network, (3, 8, 8)) == 2 * (8 * 8 * 3 * 9 * 5 + 5 * 8 * 8 * 10)
    assert network.training


def test_the_shipped_networks_fall_on_their_sides() -> None:
    def count(name: str, shape: tuple[int, int, int], **options: Any) -> int:
        return operations(build_network(NetworkSettings(name=name, options=options), shape, 10), shape)

    assert count("small_cnn", (1, 8, 8), width=4) < TINY < count("small_cnn", (1, 8, 8), width=16)
    # 0.56 billion multiplications and additions, as the field counts CIFAR's ResNet-18
    assert count("resnet18", (3, 32, 32)) == pytest.approx(2 * 0.56e9, rel=0.01)


@pytest.mark.parametrize("loss", ["trades", "mart", "loat"])
def test_bfloat16_moves_a_loss_and_its_gradient_by_its_rounding(digits: Development, loss: str) -> None:
    """Eight bits are 0.4 %; ten batches, whose means are compared."""
    settings = dataclasses.replace(SETTINGS, accuracy_loss=loss, random_start="none")
    found: list[tuple[float, Tensor]] = []
    for compute in (FLOAT32, FAST):
        step = Training(settings, NETWORK, digits, EVALUATION, seed=0, compute=compute).step.train()
        total = 0.0
        for number in range(10):
            batch = slice(64 * number, 64 * number + 64)
            losses, _ = step(to_float(digits.train.images[batch]), digits.train.labels[batch])
            losses.total.backward()
            assert losses.total.dtype == torch.float32
            total += float(losses.total.detach()) / 10
        found.append(
            (
                total,
                torch.cat([weight.grad.flatten() for weight in step.parameters() if weight.grad is not None]),
            )
        )
    assert found[1][0] == pytest.approx(found[0][0], rel=0.005)
    assert float(torch.cosine_similarity(found[0][1], found[1][1], dim=0)) > 0.98


def test_bfloat16_trains_as_well(digits: Development, trained: Training) -> None:
    fast = train(digits, FAST)
    exact, rounded = (evaluate(one.model, digits.validation, EVALUATION) for one in (trained, fast))
    assert rounded.clean_accuracy == pytest.approx(exact.clean_accuracy, abs=0.04)
    assert rounded.robust_accuracy == pytest.approx(
        exact.robust_accuracy, abs=0.08
    )  # 539 images: one standard error is 0.02


@pytest.mark.parametrize("compute", [FAST, Compute(deterministic=True)])
def test_a_seed_repeats_to_the_last_bit_and_continues_so(digits: Development, compute: Compute) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=2)
    whole = train(digits, compute, settings)
    first = train(digits, compute, dataclasses.replace(settings, epochs=1, schedule="constant"))
    again = Training(
        dataclasses.replace(settings, schedule="constant"),
        NETWORK,
        digits,
        EVALUATION,
        seed=9,
        compute=compute,
    )
    again.load_state_dict(first.state_dict())
    again.train_epoch()
    second = train(digits, compute, settings)
    straight = train(digits, compute, dataclasses.replace(settings, schedule="constant"))
    for a, b in ((whole, second), (straight, again)):
        assert all(
            torch.equal(value, b.model.state_dict()[name]) for name, value in a.model.state_dict().items()
        )


def test_the_attack_is_as_strong_in_bfloat16(digits: Development, trained: Training) -> None:
    """The network itself decides in float32. One start is noisy, five of 539 images here or there.

    Over ten the aim is half a point.
    """
    means = []
    for compute in (FLOAT32, FAST):
        found = [
            evaluate(trained.model, digits.validation, EVALUATION, seed=seed, compute=compute)
            for seed in range(10)
        ]
        means.append(sum(one.robust_accuracy for one in found) / len(found))
    assert 0.1 < means[0] < 0.9
    assert abs(means[1] - means[0]) <= 0.005, means


def slowly(model: nn.Module, images: ImageSet, settings: EvaluationSettings) -> tuple[int, int]:
    """Images correct after the last step, and images correct after every step; all images take every step."""
    last = always = 0
    with attack_mode(model), torch.no_grad():
        x, y = to_float(images.images), images.labels
        right = model(x).argmax(dim=1) == y
        standing, points, attack = right.clone(), x, dataclasses.replace(settings.attack, steps=1)
        for step in range(settings.steps):
            if step:
                standing &= model(points).argmax(dim=1) == y
            delta = pgd(
                model,
                points,
                cross_entropy_objective(y),
                dataclasses.replace(attack, epsilon=Fraction(1)),
                start=points,
            )
            eps = float(settings.epsilon)
            points = torch.minimum(torch.maximum(delta, x - eps), x + eps).clamp(0, 1)
        end = model(points).argmax(dim=1) == y
        last, always = int((right & end).sum()), int((standing & end).sum())
    return last, always


def test_dropping_what_is_broken_changes_nothing_but_the_time(digits: Development, trained: Training) -> None:
    settings = dataclasses.replace(EVALUATION, loss="cross_entropy", random_start="none")
    last, always = slowly(trained.model, digits.validation, settings)
    count = len(digits.validation)
    found = round(evaluate(trained.model, digits.validation, settings).robust_accuracy * count)
    assert always <= last
    assert abs(found - always) <= 1  # another order of additions in smaller batches
    assert last - found <= 0.005 * count + 1


class Small(nn.Module):
    """A network on a device that holds only some images at a time."""

    def __init__(self, model: nn.Module, limit: int) -> None:
        super().__init__()
        self.model, self.limit = model, limit

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.limit:
            raise torch.OutOfMemoryError(f"no room for {len(x)} images")
        logits: Tensor = self.model(x)
        return logits


def test_a_batch_that_memory_does_not_hold_is_taken_in_halves(digits: Development, trained: Training) -> None:
    few = ImageSet(digits.validation.images[:100], digits.validation.labels[:100])
    settings = dataclasses.replace(EVALUATION, batch_size=100, restarts=2)
    whole = evaluate(trained.model, few, settings)
    assert evaluate(Small(trained.model, 13), few, settings) == whole
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(Small(trained.model, 0), few, settings)


def test_a_training_step_that_memory_does_not_hold_says_what_to_do(
    digits: Development, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(SETTINGS, NETWORK, digits, EVALUATION, seed=0)

    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training.classifier.encoder, "forward", full)
    with pytest.raises(
        OutOfMemoryError,
        match=r"^out of memory: cpu does not hold a training step of 64 images of 1x8x8; lower train",
    ):
        training.train_epoch()
