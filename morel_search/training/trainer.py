"""One MOREL training, epoch by epoch."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from morel_search.errors import DivergedError, OutOfMemoryError
from morel_search.training.augment import augment, resolve_augmentation, to_float
from morel_search.training.average import WeightAverage
from morel_search.training.batches import batch_sizes, draw
from morel_search.training.compute import configure
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.data_settings import Augmentation
from morel_search.training.datasets.loading import Development
from morel_search.training.evaluation import Evaluation, evaluate
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.networks import Classifier, build_network
from morel_search.training.optimizers import SGD, AdamW, Optimizer
from morel_search.training.schedules import learning_rate
from morel_search.training.selection import EpochResult
from morel_search.training.settings import EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep, StepLosses, TermGradients
from morel_search.training.teacher import Teacher

__all__ = ["Training", "seed_everything"]


def seed_everything(seed: int) -> None:
    """Seed Python's and torch's global random states on every device."""
    random.seed(seed)
    torch.manual_seed(seed)


class Training:
    """A training that is iterated epoch by epoch and can be stopped, saved and continued between two epochs.

    Args:
        settings: The training.
        network: The network; its weights are drawn after seeding.
        development: Training and validation images; they are moved to the device.
        evaluation: The attack that measures validation accuracy.
        seed: Decides weights, order, augmentation and noise.
        device: Where to train.
        augmentation: As in :class:`DataSettings`.
        extra_share: As in :class:`DataSettings`; not used if there are no extra images.
        also_evaluate: Epochs that are evaluated whatever ``evaluation.every`` says; this changes nothing
            else.
        compute: The arithmetic, see :func:`morel_search.training.compute.resolve_compute`.
        teacher: The network of ``settings.teacher``, for an accuracy objective that needs it; it is moved to
            the device and frozen.

    Raises:
        NetworkError: The network does not fit the images.
        TrainingError: The accuracy objective cannot be used, or needs a teacher and there is none.
        DivergedError: While iterating, when the loss is no longer finite.
        OutOfMemoryError: While iterating, when the device's memory does not hold a batch.
    """

    def __init__(
        self,
        settings: TrainSettings,
        network: NetworkSettings,
        development: Development,
        evaluation: EvaluationSettings,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        augmentation: Augmentation = "auto",
        extra_share: float = 0.5,
        also_evaluate: Collection[int] = (),
        compute: Compute = FLOAT32,
        teacher: nn.Module | None = None,
    ) -> None:
        self.settings, self.evaluation = settings, evaluation
        self.also_evaluate = frozenset(also_evaluate)
        self.device = torch.device(device)
        development = development.to(self.device)
        self.data, self.validation = development.train, development.validation
        self.extra, self.extra_share = development.extra, extra_share
        shape = (
            int(self.data.images.shape[1]),
            int(self.data.images.shape[2]),
            int(self.data.images.shape[3]),
        )
        self.augmentation = resolve_augmentation(augmentation, shape)
        self.compute = compute
        configure(compute, self.device)
        seed_everything(seed)
        self.classifier: Classifier = build_network(network, shape, len(development.classes)).to(self.device)
        if compute.channels_last:
            self.classifier.to(memory_format=torch.channels_last)
        taught = None if teacher is None else Teacher(teacher, to_float(self.data.images[:2]), compute)
        self.step = MorelStep(self.classifier, settings, compute, taught).to(self.device)
        self.average = WeightAverage(self.classifier, settings.ema) if settings.ema else None
        self.optimizer = _optimizer(self.step, settings)
        self.order = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        self.epoch = 0
        self._adversary: FrozenNetwork | None = None
        self._pulls = TermGradients(0.0, 0.0, 0.0)

    @property
    def model(self) -> nn.Module:
        """The network that is evaluated and kept: the weight average where there is one."""
        return self.classifier if self.average is None else self.average.module

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch; the last one may be smaller."""
        return len(batch_sizes(len(self.data), self.settings.batch_size))

    def __iter__(self) -> Iterator[EpochResult]:
        while self.epoch < self.settings.epochs:
            yield self.run_epoch()

    def run_epoch(self) -> EpochResult:
        """Train for one epoch and, where it is due, evaluate on the validation split."""
        began = time.perf_counter()
        losses, correct, rate = self.train_epoch()
        pulls = self._pulls
        due = (
            self.epoch % self.evaluation.every == 0
            or self.epoch == self.settings.epochs
            or self.epoch in self.also_evaluate
        )
        scores = self.evaluate() if due else None
        return EpochResult(
            epoch=self.epoch,
            loss=losses.total,
            accuracy_loss=losses.accuracy,
            robust_loss=losses.robust,
            cosine_loss=losses.cosine,
            contrastive_loss=losses.contrastive,
            lr=rate,
            train_accuracy=correct,
            clean_accuracy=scores.clean_accuracy if scores else None,
            robust_accuracy=scores.robust_accuracy if scores else None,
            accuracy_gradient=pulls.accuracy,
            cosine_gradient=pulls.cosine,
            contrastive_gradient=pulls.contrastive,
            seconds=time.perf_counter() - began,
        )

    def evaluate(self) -> Evaluation:
        """Return the accuracies on the validation split, under the quick attack."""
        if self._adversary is None:
            self._adversary = FrozenNetwork(self.model, to_float(self.validation.images[:2]), self.compute)
        else:
            self._adversary.refresh()
        return evaluate(
            self.model, self.validation, self.evaluation, compute=self.compute, adversary=self._adversary
        )

    def evaluate_final(self, model: nn.Module) -> Evaluation:
        """Return the accuracies of a network on the validation split, under the final attack.

        Args:
            model: A network of this training, on its device.
        """
        return evaluate(model, self.validation, self.evaluation, final=True, compute=self.compute)

    def train_epoch(self) -> tuple[StepLosses[float], float, float]:
        """Pass over the training images once.

        Returns:
            Mean losses, share of clean training images classified rightly, and the last learning rate.

        Raises:
            DivergedError: A loss or a weight is no longer finite.
            OutOfMemoryError: The device's memory does not hold a batch.
        """
        try:
            return self._train_epoch()
        except torch.OutOfMemoryError as error:
            size, shape = self.settings.batch_size, "x".join(map(str, self.data.images.shape[1:]))
            raise OutOfMemoryError(
                f"out of memory: {self.device} does not hold a training step of {size} images of {shape}; "
                "lower train.batch_size, or give each training more of a GPU (resources.gpu)"
            ) from error

    def _train_epoch(self) -> tuple[StepLosses[float], float, float]:
        sums = torch.zeros(5, device=self.device)
        correct = torch.zeros((), device=self.device)
        steps = self.steps_per_epoch
        self.step.train()
        for number, (stored, labels) in enumerate(self._draw()):
            progress = (self.epoch + number / steps) / self.settings.epochs
            self.optimizer.lr = learning_rate(self.settings, progress)
            images = to_float(augment(stored, self.augmentation, self.noise))
            self.step.watch = number == 0
            losses, logits = self.step(images, labels, self.epoch, self.noise)
            if self.step.watch:
                self._pulls = self.step.term_gradients()
            self.optimizer.zero_grad()
            losses.total.backward()
            self.optimizer.step()
            self.step.restore_weights()
            if self.average is not None:
                self.average.update(self.classifier)
            sums += len(labels) * torch.stack([value.detach() for value in losses])
            correct += (logits.argmax(dim=1) == labels).sum()
        means = [value / len(self.data) for value in sums.tolist()]
        self._check_finite(means[0])
        self.epoch += 1
        return StepLosses(*means), float(correct) / len(self.data), self.optimizer.lr

    def _draw(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the stored images and the labels of each batch of an epoch, in random order."""
        for extra, chosen in draw(
            len(self.data),
            self.settings.batch_size,
            self.order,
            extra=0 if self.extra is None else len(self.extra),
            share=self.extra_share,
            device=self.device,
        ):
            images, labels = self.data.images[chosen], self.data.labels[chosen]
            if self.extra is not None:
                images = torch.cat([self.extra.images[extra], images])
                labels = torch.cat([self.extra.labels[extra], labels])
            yield images, labels

    def _check_finite(self, loss: float) -> None:
        weights = [torch.isfinite(weight).all() for weight in self.step.parameters()]
        if not math.isfinite(loss):
            raise DivergedError(f"diverged in epoch {self.epoch + 1}: the training loss is {loss}")
        if not bool(torch.stack(weights).all()):
            raise DivergedError(
                f"diverged in epoch {self.epoch + 1}: weights are no longer finite after its last step"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which the training continues.

        It holds tensors and plain values only, so that ``torch.load`` reads it with ``weights_only=True``.
        """
        return {
            "epoch": self.epoch,
            "step": self.step.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "noise": self.noise.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, to the last bit on the same device."""
        self.epoch = int(state["epoch"])
        self.step.load_state_dict(state["step"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order.set_state(state["order"].cpu())
        self.noise.set_state(state["noise"].cpu())
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)


def _optimizer(step: MorelStep, settings: TrainSettings) -> Optimizer:
    lr, momentum, weight_decay = settings.lr, settings.momentum, settings.weight_decay
    if settings.optimizer == "adamw":
        return AdamW(step.parameters(), lr, betas=(momentum, 0.999), weight_decay=weight_decay)
    return SGD(step.parameters(), lr, momentum=momentum, weight_decay=weight_decay)
