"""Whole trainings: they learn, repeat, continue, average, diverge, and never see the test split."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from morel_search.errors import DivergedError
from morel_search.models.checkpoint import load_model, save_model
from morel_search.training.datasets.loading import Development, ImageSet, load_development
from morel_search.training.evaluation import evaluate
from morel_search.training.schedules import learning_rate
from morel_search.training.selection import EpochResult
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.trainer import Training

NETWORK = NetworkSettings(name="small_cnn", options={"width": 8})
EVALUATION = EvaluationSettings(epsilon=Fraction(1, 5), steps=5)
SETTINGS = TrainSettings(
    epochs=2,
    batch_size=64,
    optimizer="adamw",
    lr=0.01,
    k_robust=0.3,
    alpha=0.1,
    epsilon=Fraction(1, 10),
    attack_steps=2,
    accuracy_loss="trades",
)


@pytest.fixture(scope="module")
def digits() -> Development:
    return load_development(DataSettings(name="digits", validation=0.25, limit=500))


def run(settings: TrainSettings, digits: Development, seed: int = 0) -> tuple[Training, list[EpochResult]]:
    training = Training(settings, NETWORK, digits, EVALUATION, seed=seed)
    return training, list(training)


def without_time(results: list[EpochResult]) -> list[EpochResult]:
    return [dataclasses.replace(result, seconds=0.0) for result in results]


def weights(training: Training) -> dict[str, torch.Tensor]:
    return training.model.state_dict()


def test_same_seed_same_training_to_the_last_bit(digits: Development) -> None:
    (first, a), (second, b) = run(SETTINGS, digits), run(SETTINGS, digits)
    assert without_time(a) == without_time(b)
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
    _, other = run(SETTINGS, digits, seed=1)
    assert without_time(other) != without_time(a)


@pytest.mark.parametrize(("ema", "awp"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.02)])
def test_a_saved_training_continues_to_the_last_bit(digits: Development, ema: float, awp: float) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=3, ema=ema, awp=awp, awp_warmup=0.3)
    whole, expected = run(settings, digits)
    first = Training(settings, NETWORK, digits, EVALUATION, seed=0)
    results = [first.run_epoch()]
    state = first.state_dict()
    torch.manual_seed(999)  # the process did something else meanwhile
    second = Training(settings, NETWORK, digits, EVALUATION, seed=5)
    second.load_state_dict(state)
    results += list(second)
    assert without_time(results) == without_time(expected)
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())


def test_training_with_an_attack_gains_robustness_and_without_one_does_not(digits: Development) -> None:
    robust = dataclasses.replace(
        SETTINGS, epochs=8, epsilon=Fraction(1, 5), attack_steps=5, k_robust=0.0, gamma=0.0
    )
    plain = dataclasses.replace(robust, accuracy_loss="none")
    strong, weak = run(robust, digits)[1][-1], run(plain, digits)[1][-1]
    assert strong.robust_accuracy is not None
    assert weak.robust_accuracy is not None
    assert strong.robust_accuracy > weak.robust_accuracy + 0.1
    assert weak.clean_accuracy is not None
    assert weak.clean_accuracy > 0.85


def test_a_training_is_an_iterator_of_epochs(digits: Development) -> None:
    results = iter(Training(SETTINGS, NETWORK, digits, dataclasses.replace(EVALUATION, every=2), seed=0))
    first = next(results)
    assert (first.epoch, first.clean_accuracy, first.robust_accuracy) == (1, None, None)
    second = next(results)
    assert second.epoch == 2
    assert second.clean_accuracy is not None
    with pytest.raises(StopIteration):
        next(results)


def test_a_hopeless_learning_rate_is_reported_as_divergence(digits: Development) -> None:
    settings = dataclasses.replace(SETTINGS, optimizer="sgd", lr=1e12, schedule="constant")
    with pytest.raises(DivergedError, match="diverged in epoch 1: the training loss is"):
        run(settings, digits)


def test_weights_that_are_not_finite_after_the_last_step_are_a_divergence(
    digits: Development, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(SETTINGS, NETWORK, digits, EVALUATION, seed=0)
    restore, steps = training.step.restore_weights, []

    def after_a_step() -> None:
        restore()
        steps.append(1)
        if len(steps) == training.steps_per_epoch:
            with torch.no_grad():
                next(training.step.parameters()).fill_(torch.nan)

    monkeypatch.setattr(training.step, "restore_weights", after_a_step)
    with pytest.raises(DivergedError, match="diverged in epoch 1: weights are no longer finite"):
        training.train_epoch()


def test_the_average_is_what_is_evaluated(digits: Development) -> None:
    """From the second update on, the decay is min(d, (1 + n) / (10 + n)), worked out by hand here."""
    training = Training(dataclasses.replace(SETTINGS, ema=0.99), NETWORK, digits, EVALUATION, seed=0)
    assert training.average is not None
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 4.0]):
        for weight in training.classifier.parameters():
            weight.data.fill_(value)
        training.average.update(training.classifier)
        decay = min(0.99, (1 + step) / (10 + step))
        expected = value if step == 0 else decay * expected + (1 - decay) * value
    for weight in training.model.parameters():
        assert float(weight.detach().mean()) == pytest.approx(expected, rel=1e-5)


def test_a_model_file_gives_the_same_logits_to_the_bit(digits: Development, tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "model.pt"
    training, _ = run(SETTINGS, digits)
    save_model(path, training.model, NETWORK, (1, 8, 8), digits.classes, epoch=2)
    model, metadata = load_model(path)
    images = torch.rand(5, 1, 8, 8)
    assert torch.equal(model(images), training.model.eval()(images))
    assert metadata.epoch == 2
    assert not any("embedding" in name or "attention" in name for name in model.state_dict())
    scores = [evaluate(one, digits.validation, EVALUATION) for one in (model, training.model)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("changes", [{"loss": "cross_entropy"}, {"loss": "targeted_margin"}])
def test_evaluation_counts_what_a_slow_loop_counts(digits: Development, changes: dict[str, Any]) -> None:
    """One image at a time, by hand: correctly classified at every point that each run visits."""
    from morel_search.training.attacks import attack_mode
    from morel_search.training.augment import to_float

    training, _ = run(SETTINGS, digits)
    model = training.model
    few = ImageSet(digits.validation.images[:40], digits.validation.labels[:40])
    settings = dataclasses.replace(EVALUATION, **changes, random_start="none", steps=4, targets=3)
    epsilon = float(settings.epsilon)

    def first_visited_point_that_is_wrong(image: Tensor, label: Tensor, target: int | None) -> bool:
        point = image
        for step in range(settings.steps):
            point = point.detach().requires_grad_()
            logits = model(point)
            if int(logits.argmax()) != int(label):
                return True
            loss = nn.functional.cross_entropy(logits, label)
            length = settings.attack.step_size
            if target is not None:
                loss = logits[0, target] - logits[0, label]
                length = epsilon * (1 + math.cos(math.pi * step / settings.steps)) / 2
            (gradient,) = torch.autograd.grad(loss.sum(), point)
            moved = point.detach() + length * gradient.sign()
            point = torch.min(torch.max(moved, image - epsilon), image + epsilon).clamp(0, 1)
        return int(model(point).argmax()) != int(label)

    clean = robust = 0
    with attack_mode(model):
        for index in range(len(few)):
            image, label = to_float(few.images[index : index + 1]), few.labels[index : index + 1]
            logits = model(image)[0].detach()
            right = int(logits.argmax()) == int(label)
            wrong = [c for c in logits.argsort(descending=True).tolist() if c != int(label)]
            runs: list[int | None] = [None] if settings.loss == "cross_entropy" else [*wrong[:3]]
            broken = any(first_visited_point_that_is_wrong(image, label, target) for target in runs)
            clean += right
            robust += right and not broken
    assert robust < clean
    for batch_size in (7, 512):
        result = evaluate(model, few, dataclasses.replace(settings, batch_size=batch_size))
        assert (result.clean_accuracy, result.robust_accuracy, result.images) == (clean / 40, robust / 40, 40)


def test_an_image_meets_the_same_start_whatever_the_network_does_on_the_others() -> None:
    """A network that knows each image by its brightness, and what the attack's first step asks it."""
    seen: list[Tensor] = []
    labels = torch.arange(16) % 10
    few = ImageSet((torch.arange(16) * 16).to(torch.uint8)[:, None, None, None].expand(16, 1, 8, 8), labels)

    class Watch(nn.Module):
        def __init__(self, wrong: int) -> None:
            super().__init__()
            self.wrong = wrong

        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                seen.append(x.detach())
            which = (x.mean(dim=(1, 2, 3)) * 255 / 16).round().long().clamp(0, 15)
            answer = torch.where(
                which < self.wrong, labels[which] + 1, labels[which]
            )  # the first images are classified wrongly
            return nn.functional.one_hot(answer % 10, 10).float() + 0.0 * x.sum()

    for wrong in (0, 5):
        plain = dataclasses.replace(
            EVALUATION, loss="cross_entropy", epsilon=Fraction(1, 100), steps=1, final_steps=0
        )
        evaluate(Watch(wrong), few, plain)
    assert [len(one) for one in seen] == [16, 11]
    assert torch.equal(seen[0][5:], seen[1])


def test_a_single_image_left_over_joins_the_batch_before(digits: Development) -> None:
    """torch's own batch norm refuses one value for each channel."""
    from morel_search.training.settings import NetworkSettings

    data = Development(
        ImageSet(digits.train.images[:65], digits.train.labels[:65]), digits.validation, digits.classes
    )
    network = NetworkSettings(name="torchvision.models:resnet18")
    settings = dataclasses.replace(SETTINGS, epochs=1, batch_size=32, attack_steps=1)
    colour = Development(
        *(ImageSet(one.images.repeat(1, 3, 1, 1), one.labels) for one in (data.train, data.validation)),
        data.classes,
    )
    training = Training(settings, network, colour, EVALUATION, seed=0)
    assert training.steps_per_epoch == 2
    training.train_epoch()


def test_more_restarts_never_raise_robust_accuracy(digits: Development) -> None:
    training, _ = run(SETTINGS, digits)
    scores = [
        evaluate(
            training.model, digits.validation, dataclasses.replace(EVALUATION, restarts=n)
        ).robust_accuracy
        for n in (1, 3, 6)
    ]
    assert scores == sorted(scores, reverse=True)


def test_schedules() -> None:
    cosine = TrainSettings(lr=0.2, schedule="cosine")
    assert [learning_rate(cosine, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.2, 0.1, 0.0])
    assert learning_rate(cosine, 0.25) == pytest.approx(0.2 * 0.5 * (1 + math.cos(math.pi / 4)))
    step = TrainSettings(lr=1.0, schedule="step", schedule_drops=(0.5, 0.75), schedule_factor=0.1)
    assert [learning_rate(step, p) for p in (0.0, 0.49, 0.5, 0.8)] == pytest.approx([1.0, 1.0, 0.1, 0.01])
    cycle = TrainSettings(lr=1.0, schedule="one_cycle")
    assert [learning_rate(cycle, p) for p in (0.0, 0.3, 1.0)] == pytest.approx([0.04, 1.0, 0.0])
    assert learning_rate(TrainSettings(lr=0.3, schedule="constant", warmup=0.1), 0.05) == pytest.approx(
        0.3 * 0.52
    )
