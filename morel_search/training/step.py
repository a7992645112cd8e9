"""The losses of one training step: the attack, two forward passes, the objectives and their scalarisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from morel_search.errors import OutOfMemoryError, TrainingError
from morel_search.training import losses
from morel_search.training.attacks import pgd
from morel_search.training.compute import autocast, to_memory_format
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.embedding import EmbeddingSpace, stack
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.memory import outline_problem
from morel_search.training.networks import Classifier
from morel_search.training.networks.classifier import count_batches
from morel_search.training.objectives import Outputs, accuracy_objective
from morel_search.training.settings import TrainSettings
from morel_search.training.teacher import Teacher
from morel_search.training.weight_perturbation import WeightPerturbation

__all__ = ["MorelStep", "StepLosses", "TermGradients"]

Number = TypeVar("Number")


class StepLosses(NamedTuple, Generic[Number]):
    """The scalarised loss and its terms; terms that are not used are 0."""

    total: Number
    accuracy: Number
    robust: Number
    cosine: Number
    contrastive: Number


class TermGradients(NamedTuple):
    """Norms of the gradients of the weighted loss terms with respect to the features of a batch.

    The features of the clean and of the adversarial images are taken together.
    """

    accuracy: float
    cosine: float
    contrastive: float


class MorelStep(nn.Module):
    """The loss of MOREL on a batch, with the embedding space, which only the training uses.

    The clean and the adversarial batch pass the network once each in training mode. The reference code passes
    them four to five times with the same result. The running statistics of batch normalisation therefore have
    two updates in each step.

    With ``awp``, the forward pass first adds a perturbation to the weights of the classifier, from a pass of
    its own over both batches; its losses and its gradient are those of the perturbed weights.
    :meth:`restore_weights` must follow the step of the optimizer.

    Args:
        classifier: The network; it is not copied.
        settings: The settings of the training.
        compute: The arithmetic of the layers; the head, the embedding space and every loss are float32.
        teacher: The teacher; it is not asked if the accuracy objective needs none. It answers the clean batch
            once in each step.

    Raises:
        TrainingError: The import path of the accuracy objective names nothing, it needs a teacher and there
            is none, or ``awp`` is set and the network has no weights to perturb.
    """

    def __init__(
        self,
        classifier: Classifier,
        settings: TrainSettings,
        compute: Compute = FLOAT32,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.compute = settings, compute
        self.classifier = classifier
        self.objective = accuracy_objective(settings)
        self._teacher = teacher if self.objective.needs_teacher else None
        if self.objective.needs_teacher and teacher is None:
            raise TrainingError(
                f"accuracy_loss {settings.accuracy_loss} needs a teacher: set train.teacher to the folder of "
                "a network"
            )
        self.robust_weight = settings.k_robust + settings.gamma
        self.embedding = (
            _embedding_space(classifier.feature_dim, settings) if self.robust_weight > 0 else None
        )
        self._perturbation = WeightPerturbation(classifier, settings.awp) if settings.awp else None
        self._adversary: FrozenNetwork | None = None
        self.watch = False
        """Whether the next forward pass is stored for :meth:`term_gradients`."""
        self._watched: tuple[tuple[Tensor, Tensor], StepLosses[Tensor]] | None = None
        self._encode: Callable[[Tensor], Tensor] = (
            torch.compile(classifier.features) if compute.compile else classifier.features
        )

    def forward(
        self, images: Tensor, labels: Tensor, epoch: int = 0, generator: torch.Generator | None = None
    ) -> tuple[StepLosses[Tensor], Tensor]:
        """Attack the batch and compute every loss.

        Args:
            images: Float in [0, 1], shape (N, C, H, W).
            labels: Integers, shape (N,).
            epoch: From 0; LOAT's phases and the warm-up of AWP depend on it.
            generator: Random generator of the attack, on the device of the images.

        Returns:
            The losses, and the clean logits of shape (N, classes).
        """
        images = to_memory_format(self.compute, images)
        taught = self._teacher(images) if self._teacher is not None else None
        adversarial = (
            self._attacked(images, labels, generator, epoch, taught)
            if self.objective.needs_attack or self.embedding is not None
            else None
        )
        if self._perturbation is not None and epoch >= self.settings.awp_warmup * self.settings.epochs:
            self._perturbation.add(lambda: self._losses(images, adversarial, labels, epoch, taught)[0].total)
        step_losses, logits, features = self._losses(images, adversarial, labels, epoch, taught)
        if self.watch:
            self._watched = features, step_losses
        return step_losses, logits.detach()

    def restore_weights(self) -> None:
        """Remove the perturbation of AWP from the weights, after the step of the optimizer."""
        if self._perturbation is not None:
            self._perturbation.remove()

    def _losses(
        self,
        images: Tensor,
        adversarial: Tensor | None,
        labels: Tensor,
        epoch: int,
        taught: Tensor | None,
    ) -> tuple[StepLosses[Tensor], Tensor, tuple[Tensor, Tensor]]:
        """Return the losses, the clean logits, and the features of the clean and of the adversarial batch."""
        batches = [images] if adversarial is None else [images, adversarial]
        encoded = self._features(batches)
        features, features_adv = encoded[0], encoded[-1]
        logits: Tensor = self.classifier.head(features)
        logits_adv = logits if adversarial is None else self.classifier.head(features_adv)
        if self.classifier.training:
            count_batches(self.classifier, len(batches))
        accuracy = self.objective.loss(Outputs(logits, logits_adv, labels, epoch, taught))
        robust, cosine, contrastive = self._robust(features, features_adv, labels)
        total = losses.conic_scalarization(
            robust,
            accuracy,
            k_robust=self.settings.k_robust,
            k_accuracy=self.settings.accuracy_weight,
            gamma=self.settings.gamma,
            reference_robust=self.settings.reference_robust,
            reference_accuracy=self.settings.reference_accuracy,
        )
        return StepLosses(total, accuracy, robust, cosine, contrastive), logits, (features, features_adv)

    def term_gradients(self) -> TermGradients:
        """Return the gradient norms of the loss terms for the stored forward pass.

        It must be called before ``backward()``. Gradients pass the head and the embedding space, but not the
        encoder.
        """
        assert self._watched is not None, "no forward pass is stored"
        features, step_losses = self._watched
        self._watched = None
        weights = (
            self.settings.accuracy_weight + self.settings.gamma,
            self.robust_weight,
            self.robust_weight * self.settings.alpha,
        )
        norms = []
        terms = (step_losses.accuracy, step_losses.cosine, step_losses.contrastive)
        for term, weight in zip(terms, weights, strict=True):
            # Features of a frozen encoder have no gradient.
            trained = [part for part in features if part.requires_grad]
            in_use = weight > 0 and term.requires_grad and trained
            parts = (
                torch.autograd.grad(weight * term, trained, retain_graph=True, allow_unused=True)
                if in_use
                else ()
            )
            norms.append(sum(float(part.square().sum()) for part in parts if part is not None) ** 0.5)
        return TermGradients(*norms)

    def attack(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
        epoch: int = 0,
    ) -> Tensor:
        """Return the adversarial batch, computed on a frozen copy of the network in eval mode.

        Arguments as in :meth:`forward`.
        """
        taught = self._teacher(images) if self._teacher is not None else None
        return self._attacked(images, labels, generator, epoch, taught)

    def _attacked(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
        epoch: int,
        taught: Tensor | None,
    ) -> Tensor:
        if self._adversary is None:
            self._adversary = FrozenNetwork(self.classifier, images, self.compute)
        else:
            self._adversary.refresh()
        adversary = self._adversary

        @torch.no_grad()
        def clean_logits() -> Tensor:
            return adversary(images)

        objective = self.objective.attack_target(clean_logits, labels, epoch, taught)
        return pgd(adversary, images, objective, self.settings.attack, generator)

    def _features(self, batches: list[Tensor]) -> list[Tensor]:
        """Encode each batch; in bfloat16 the weights are converted once for all of them."""
        with autocast(self.compute, batches[0].device):
            features = [self._encode(images) for images in batches]
        return [part.float() for part in features]

    def _robust(
        self, features: Tensor, features_adv: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return f = L_cos + alpha L_con, L_cos and L_con; zeros if the scalarisation gives f no weight."""
        if self.embedding is None:
            zero = features.new_zeros(())
            return zero, zero, zero
        z, t = self.embedding(features, labels)
        z_adv, t_adv = self.embedding(features_adv, labels)
        cosine = losses.cosine(z, z_adv)
        rows, row_labels = stack(t, t_adv, labels, self.settings.contrastive_features)
        contrastive = losses.contrastive(rows, row_labels, temperature=self.settings.temperature)
        return cosine + self.settings.alpha * contrastive, cosine, contrastive


def _embedding_space(feature_dim: int, settings: TrainSettings) -> EmbeddingSpace:
    """Build the embedding space.

    Raises:
        OutOfMemoryError: Its weights do not fit into memory.
    """

    def build() -> EmbeddingSpace:
        return EmbeddingSpace(feature_dim, settings.embedding_dim, settings.attention_heads)

    if problem := outline_problem(build):
        raise OutOfMemoryError(
            f"the embedding space with embedding_dim {settings.embedding_dim} {problem}; lower embedding_dim"
        )
    return build()
