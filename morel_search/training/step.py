"""One training step's losses: the attack, two forward passes, the objectives and their scalarisation."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from morel_search.training import losses
from morel_search.training.attacks import Objective, attack_mode, cross_entropy_objective, kl_objective, pgd
from morel_search.training.embedding import EmbeddingSpace, stack
from morel_search.training.networks import Classifier
from morel_search.training.objectives import accuracy_objective
from morel_search.training.settings import TrainSettings

__all__ = ["MorelStep", "StepLosses"]

Number = TypeVar("Number")


class StepLosses(NamedTuple, Generic[Number]):
    """The scalarised loss and its parts. Parts that are not in use are 0."""

    total: Number
    accuracy: Number
    robust: Number
    cosine: Number
    contrastive: Number


class MorelStep(nn.Module):
    """The loss of MOREL on a batch, with the embedding space that only training needs.

    The clean and the adversarial batch pass the network once each in training mode, where the reference passes them four to five times
    with the same outcome; batch-norm's running statistics therefore follow two updates a step.

    Args:
        classifier: The network; shared, not copied.
        settings: The training's settings.

    Raises:
        TrainingError: The accuracy objective's import path leads nowhere.
    """

    def __init__(self, classifier: Classifier, settings: TrainSettings) -> None:
        super().__init__()
        self.settings = settings
        self.classifier = classifier
        self.objective = accuracy_objective(settings)
        self.robust_weight = settings.k_robust + settings.gamma
        self.embedding = (
            EmbeddingSpace(classifier.feature_dim, settings.embedding_dim, settings.attention_heads) if self.robust_weight > 0 else None
        )

    def forward(
        self, images: Tensor, labels: Tensor, epoch: int = 0, generator: torch.Generator | None = None
    ) -> tuple[StepLosses[Tensor], Tensor]:
        """Attack the batch and compute every loss.

        Args:
            images: Float in [0, 1], shape (N, C, H, W).
            labels: Integers, shape (N,).
            epoch: From 0; LOAT's phases depend on it.
            generator: Source of the attack's noise, on the images' device.

        Returns:
            The losses, and the clean logits of shape (N, classes).
        """
        adversarial = self.attack(images, labels, generator) if self.objective.needs_attack or self.embedding is not None else None
        features = self.classifier.features(images)
        logits: Tensor = self.classifier.head(features)
        if adversarial is None:
            features_adv, logits_adv = features, logits
        else:
            features_adv = self.classifier.features(adversarial)
            logits_adv = self.classifier.head(features_adv)
        accuracy = self.objective.loss(logits, logits_adv, labels, epoch)
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
        return StepLosses(total, accuracy, robust, cosine, contrastive), logits.detach()

    def attack(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The adversarial batch, made in eval mode; arguments as in :meth:`forward`."""
        with attack_mode(self.classifier):
            return pgd(self.classifier, images, self._attack_objective(images, labels), self.settings.attack, generator)

    @torch.no_grad()
    def _attack_objective(self, images: Tensor, labels: Tensor) -> Objective:
        return kl_objective(self.classifier(images)) if self.objective.attack_target == "kl" else cross_entropy_objective(labels)

    def _robust(self, features: Tensor, features_adv: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f = L_cos + alpha L_con, L_cos and L_con; zeros where the scalarisation gives them no weight."""
        if self.embedding is None:
            zero = features.new_zeros(())
            return zero, zero, zero
        z, t = self.embedding(features, labels)
        z_adv, t_adv = self.embedding(features_adv, labels)
        cosine = losses.cosine(z, z_adv)
        rows, row_labels = stack(t, t_adv, labels, self.settings.contrastive_features)
        contrastive = losses.contrastive(rows, row_labels, temperature=self.settings.temperature)
        return cosine + self.settings.alpha * contrastive, cosine, contrastive
