"""Distillation from a teacher: losses by their formulas, the attack, the teacher's place in a step."""

from __future__ import annotations

import copy
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morel_search.errors import TrainingError
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.datasets.loading import load_development
from morel_search.training.distillation import ard, rslad, soft_labels
from morel_search.training.networks import Classifier, build_network
from morel_search.training.networks.mixture import Mixture
from morel_search.training.objectives import Outputs, accuracy_objective
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep
from morel_search.training.teacher import Teacher
from morel_search.training.trainer import Training

NETWORK = NetworkSettings(name="small_cnn", options={"width": 4})
PLAIN: dict[str, Any] = {"k_robust": 0.0, "k_accuracy": 1.0, "gamma": 0.0}
ATTACK: dict[str, Any] = {"epsilon": Fraction(1, 5), "attack_steps": 2}
BF16 = Compute(precision="bfloat16", channels_last=True, compile=False, deterministic=False)


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build_network(NETWORK, (1, 8, 8), 10)


def batch(count: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % 10


def logits(seed: int, count: int = 6, classes: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(count, classes, generator=generator, dtype=torch.float64)


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> float:
    """sum_k q_k log(q_k / p_k), the mean over the images, from the definition alone."""
    total = 0.0
    for row, own in zip((teacher / temperature).tolist(), (student / temperature).tolist(), strict=True):
        q, p = torch.tensor(row).double().exp(), torch.tensor(own).double().exp()
        q, p = q / q.sum(), p / p.sum()
        total += float((q * (q / p).log()).sum())
    return total / len(teacher)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 30.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_losses_are_those_of_the_papers(weight: float, temperature: float) -> None:
    clean, attacked, teacher, labels = logits(0), logits(1), logits(2), torch.arange(6) % 5
    square = temperature**2
    hard = -float(sum(clean.log_softmax(1)[row, label] for row, label in enumerate(labels))) / 6
    expected = (1 - weight) * hard + weight * square * divergence(teacher, attacked, temperature)
    value = ard(clean, attacked, teacher, labels, weight=weight, temperature=temperature)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    expected = square * (
        (1 - weight) * divergence(teacher, clean, temperature)
        + weight * divergence(teacher, attacked, temperature)
    )
    value = rslad(clean, attacked, teacher, weight=weight, temperature=temperature)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_two_classes_by_hand() -> None:
    """q = (3/4, 1/4) and p = p' = (1/2, 1/2): KL = 3/4 log(3/2) + 1/4 log(1/2)."""
    even, teacher = torch.zeros(1, 2).double(), torch.tensor([[3.0, 1.0]]).double().log()
    expected = float(0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log())
    assert float(rslad(even, even, teacher, weight=5 / 6, temperature=1.0)) == pytest.approx(expected)
    value = ard(even, even, teacher, torch.tensor([0]), weight=1.0, temperature=1.0)
    assert float(value) == pytest.approx(expected)


def test_a_student_that_equals_its_teacher_has_the_loss_zero() -> None:
    teacher = logits(4)
    student = teacher.clone().requires_grad_()
    loss = rslad(student, student, teacher, weight=0.5, temperature=3.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert float(gradient.abs().max()) < 1e-12


def test_a_high_temperature_gives_the_squared_distance_of_the_centred_logits() -> None:
    """The limit of Hinton et al. 2015, section 2.1: t^2 KL tends to ||z - v||^2 / (2 C), z and v centred."""
    student, teacher = logits(5), logits(6)
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = float(difference.square().sum(1).mean() / (2 * 5))
    value = ard(student, student, teacher, torch.arange(6) % 5, weight=1.0, temperature=1e4)
    assert float(value) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_the_attack_of_rslad_climbs_the_divergence_from_the_teacher(temperature: float) -> None:
    teacher, student = logits(7), logits(8).requires_grad_()
    log_q = F.log_softmax(teacher / temperature, dim=1)
    exact = F.kl_div(F.log_softmax(student / temperature, dim=1), log_q, reduction="sum", log_target=True)
    (expected,) = torch.autograd.grad(exact, student)
    (gradient,) = torch.autograd.grad(soft_labels(teacher, temperature)(student), student)
    torch.testing.assert_close(gradient, expected)


def test_null_means_the_weights_and_temperatures_of_the_authors() -> None:
    clean, attacked, teacher, labels = logits(0), logits(1), logits(2), torch.arange(6) % 5
    out = Outputs(clean, attacked, labels, 0, teacher)
    given = accuracy_objective(TrainSettings(accuracy_loss="ard")).loss(out)
    torch.testing.assert_close(given, ard(clean, attacked, teacher, labels, weight=1.0, temperature=30.0))
    given = accuracy_objective(TrainSettings(accuracy_loss="rslad")).loss(out)
    torch.testing.assert_close(given, rslad(clean, attacked, teacher, weight=5 / 6, temperature=1.0))
    changed = TrainSettings(accuracy_loss="rslad", teacher_weight=0.0, teacher_temperature=2.0)
    given = accuracy_objective(changed).loss(out)
    torch.testing.assert_close(given, rslad(clean, attacked, teacher, weight=0.0, temperature=2.0))


def step_of(loss: str, teacher: nn.Module | None, compute: Compute = FLOAT32, **changes: Any) -> MorelStep:
    settings = TrainSettings(accuracy_loss=loss, **{**PLAIN, **ATTACK, **changes})
    taught = None if teacher is None else Teacher(teacher, batch()[0], compute)
    return MorelStep(network(), settings, compute, taught)


def test_the_attacks_are_those_of_trades_and_of_pgd_training() -> None:
    """With itself as the teacher, RSLAD has the attack of TRADES; ARD has that of PGD training."""
    images, labels = batch()
    found = {
        name: step_of(name, network()).train().attack(images, labels, torch.Generator().manual_seed(1))
        for name in ("trades", "pgd", "rslad", "ard")
    }
    other = step_of("rslad", network(9)).train().attack(images, labels, torch.Generator().manual_seed(1))

    def equal(first: Tensor, second: Tensor) -> float:
        return float((first == second).float().mean())

    # The attack's copy folds batch norm, which rounds, and at the start the divergence is near 0.
    assert equal(found["rslad"], found["trades"]) > 0.9
    assert torch.equal(found["ard"], found["pgd"])
    assert equal(found["rslad"], found["ard"]) < 0.8
    assert equal(found["rslad"], other) < 0.8


class Recorder(nn.Module):
    """A teacher with a weight, a batch norm and a dropout, which stores the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(1), nn.Dropout(0.5)
        self.linear = nn.Linear(64, 10)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.seen.append(x)
        logits: Tensor = self.linear(self.drop(self.norm(x)).flatten(1))
        return logits


@pytest.mark.parametrize("awp", [0.0, 0.01])
@pytest.mark.parametrize("loss", ["ard", "rslad"])
def test_a_step_asks_the_teacher_once_about_the_clean_images(loss: str, awp: float) -> None:
    torch.manual_seed(2)
    teacher = Recorder().train()
    before = copy.deepcopy(teacher.state_dict())
    step = step_of(loss, teacher, awp=awp).train()
    images, labels = batch()
    losses, _ = step(images, labels, 0, torch.Generator().manual_seed(1))
    losses.total.backward()
    assert len(teacher.seen) == 1
    assert torch.equal(teacher.seen[0], images)
    assert not teacher.training
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any("teacher" in name for name in step.state_dict())
    assert len([*step.parameters()]) == len([*step.classifier.parameters()])


def test_the_loss_of_a_step_by_hand() -> None:
    images, labels = batch()
    teacher, step = network(5).eval(), step_of("rslad", network(5), epsilon=Fraction(0)).eval()
    losses, _ = step(images, labels)
    with torch.no_grad():
        student, answers = step.classifier(images), teacher(images)
    expected = divergence(answers, student, 1.0)
    assert float(losses.total) == pytest.approx(expected, rel=1e-4)


def test_a_mixture_teaches_in_bfloat16_as_in_float32_up_to_rounding() -> None:
    images, _ = batch()
    mixture = Mixture([network(1), network(2)], [0.3, 0.7])
    exact = Teacher(copy.deepcopy(mixture), images)(images)
    torch.testing.assert_close(exact, mixture.eval()(images).detach())
    rounded = Teacher(mixture, images, BF16)(images.contiguous(memory_format=torch.channels_last))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    assert not torch.equal(rounded, exact)


@pytest.mark.parametrize("loss", ["ard", "rslad", f"{__name__}:taught"])
def test_without_a_teacher_a_step_is_refused(loss: str) -> None:
    with pytest.raises(TrainingError, match=rf"accuracy_loss {loss} needs a teacher: set train\.teacher"):
        step_of(loss, None)


def taught(
    logits: Tensor,
    adversarial_logits: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    settings: TrainSettings,
    teacher_logits: Tensor,
) -> Tensor:
    """A loss of the user's own with a teacher: RSLAD again, with torch's functions."""
    q = F.softmax(teacher_logits, dim=1)
    natural = F.kl_div(F.log_softmax(logits, dim=1), q, reduction="batchmean")
    return (natural + 5 * F.kl_div(F.log_softmax(adversarial_logits, dim=1), q, reduction="batchmean")) / 6


def distance(
    logits: Tensor,
    adversarial_logits: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    settings: TrainSettings,
    teacher_logits: Tensor,
) -> Tensor:
    q = F.softmax(teacher_logits, dim=1)
    return F.kl_div(F.log_softmax(adversarial_logits, dim=1), q, reduction="sum")


taught.attack_target = distance  # type: ignore[attr-defined]  # as a user writes it


def test_an_own_loss_gets_the_logits_of_the_teacher() -> None:
    images, labels = batch()
    results = []
    for name in ("rslad", f"{__name__}:taught"):
        step = step_of(name, network(5)).train()
        losses, _ = step(images, labels, 0, torch.Generator().manual_seed(1))
        results.append(float(losses.total))
    assert results[0] == pytest.approx(results[1], rel=1e-4)


@pytest.fixture(scope="module")
def digits() -> Any:
    return load_development(DataSettings(name="digits", limit=200, validation=60, augmentation="crop"))


SHORT = TrainSettings(
    **PLAIN, **ATTACK, accuracy_loss="rslad", epochs=2, batch_size=70, optimizer="adamw", lr=0.01
)
QUICK = EvaluationSettings(epsilon=Fraction(1, 5), steps=2, targets=2)


def training(digits: Any, teacher: nn.Module, **changes: Any) -> Training:
    settings = replace(SHORT, **changes)
    return Training(settings, NETWORK, digits, QUICK, seed=1, augmentation="crop", teacher=teacher)


def test_a_training_asks_about_the_augmented_images_and_learns_from_the_teacher(digits: Any) -> None:
    teacher = Recorder()
    first = training(digits, teacher)
    first.train_epoch()
    assert [len(images) for images in teacher.seen] == [70, 70]
    stored = digits.train.images.float() / 255
    unchanged = [bool((stored == image).flatten(1).all(1).any()) for image in teacher.seen[0]]
    assert sum(unchanged) < len(unchanged)
    same, other = training(digits, network(3)), training(digits, network(4))
    again = training(digits, network(3))
    results = [one.train_epoch()[0].total for one in (same, other, again)]
    assert results[0] == results[2] != results[1]


def test_a_training_continues_from_its_state_to_the_last_bit(digits: Any) -> None:
    whole, first, second = (training(digits, network(3)) for _ in range(3))
    for _ in range(2):
        whole.train_epoch()
    first.train_epoch()
    second.load_state_dict(first.state_dict())
    second.train_epoch()
    states = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not any("teacher" in name for name in first.state_dict()["step"])


def test_a_loss_without_a_teacher_does_not_ask_it(digits: Any) -> None:
    teacher = Recorder()
    training(digits, teacher, accuracy_loss="pgd").train_epoch()
    assert teacher.seen == [] or all(len(images) == 2 for images in teacher.seen)  # the trial of its layout
