"""The attacks of a verification, one after the other, each on the images that those before it left standing.

PGD is this project's own; the rest is AutoAttack's standard version (Croce and Hein 2020), by its authors'
code, ``pyautoattack``. The attacks get their logits and gradients from a frozen copy of the network, which is
faster; whether an image is broken is decided by the network itself, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from morel_search.results.attack_names import STAGES, STANDARD
from morel_search.training.attacks import attack_mode, project, starting_points
from morel_search.training.augment import to_float
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.evaluation import correct, robust_mask
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import FLOAT32, Compute, EvaluationSettings

__all__ = ["AttackSuite", "Verdict", "autoattack"]

DLR_CLASSES = 4
"""The targeted DLR loss looks at the four largest logits."""

NORMS = {"linf": "Linf", "l2": "L2"}
"""What AutoAttack calls the norms."""

STRONG_STEPS, STRONG_STARTS = 50, 5
"""PGD-50's steps and starts."""

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What is left of N images.

    Attributes:
        clean: Which images are classified rightly as they are, shape (N,).
        robust: Which are so after every attack, shape (N,).
        broken: How many images each attack broke that those before it had left.
    """

    clean: Tensor
    robust: Tensor
    broken: Mapping[str, int]


class AttackSuite:
    """The attacks on one network.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients are left as they
            were.
        images: A few images, float in [0, 1], on the model's device.
        evaluation: Norm and radius of every attack, and the attack ``pgd``.
        seed: Seed of all attacks; what they find on a batch depends on nothing else.
        compute: The arithmetic of the frozen copy.
        scale: What the logits are divided by for the attacks: softmax of very large ones has no gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        evaluation: EvaluationSettings,
        *,
        seed: int = 0,
        compute: Compute = FLOAT32,
        scale: float = 1.0,
    ) -> None:
        self._model, self._evaluation, self._seed = model, evaluation, seed
        with attack_mode(model), _own_randomness(images.device, seed), torch.no_grad():
            copy = FrozenNetwork(model, images[:2], compute)
            self._copy, self._exact = _divided(copy, scale), _divided(model, scale)
            classes = int(copy(images[:1]).shape[1])
        self._standard = [
            _standard(network, classes, images.device, evaluation, seed)
            for network in (self._copy, self._exact)
        ]
        self._own = {
            "fgsm": replace(
                evaluation, steps=1, step_size=evaluation.epsilon, random_start="none", restarts=1
            ),
            "pgd": evaluation,
            "pgd-50": replace(
                evaluation,
                steps=STRONG_STEPS,
                step_size=None,
                step_ratio=2.5,
                restarts=STRONG_STARTS,
                random_start="uniform",
            ),
        }
        self.names = tuple(name for name in STAGES if name in self._own or name in self._standard[0])
        """The attacks that there are: with fewer than four classes APGD-T, whose loss looks at four logits, is not."""

    def correct(self, images: Tensor, labels: Tensor) -> Tensor:
        """Which images, float in [0, 1], shape (N, C, H, W), the network classifies rightly: booleans of shape (N,)."""
        with attack_mode(self._model):
            return correct(self._model, images, labels)

    def robust_mask(self, name: str, images: Tensor, labels: Tensor) -> Tensor:
        """Which images withstand one attack.

        Args:
            name: One of :attr:`names`.
            images: Float in [0, 1], shape (N, C, H, W); an image that is wrong as it is does not survive.
            labels: Shape (N,).

        Returns:
            Booleans, shape (N,).
        """
        if not len(images):
            return torch.zeros(0, dtype=torch.bool, device=images.device)
        with attack_mode(self._model), _own_randomness(images.device, self._seed):
            if name in self._own:
                return self._by_gradient(self._own[name], images, labels)
            return self._by_standard(name, images, labels)

    def _by_gradient(self, settings: EvaluationSettings, images: Tensor, labels: Tensor) -> Tensor:
        starts = [starting_points(images, settings.attack) for _ in range(settings.restarts)]
        alive = torch.arange(len(images), device=images.device)
        for start in starts:
            found = robust_mask(self._model, self._copy, images[alive], labels[alive], start[alive], settings)
            alive = alive[found]
        is_robust = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        is_robust[alive] = True
        return is_robust

    @torch.no_grad()
    def _by_standard(self, name: str, images: Tensor, labels: Tensor) -> Tensor:
        """On the frozen copy; where that ends with an image that the network itself does not get wrong, once more on the network."""
        fast, exact = (attacks[name] for attacks in self._standard)
        points = project(fast(images, labels), images, self._evaluation.attack)
        is_robust = correct(self._model, points, labels)
        disputed = (is_robust & ~correct(self._copy, points, labels)).nonzero().squeeze(1)
        if len(disputed):
            images, labels = images[disputed], labels[disputed]
            is_robust[disputed] = correct(
                self._model, project(exact(images, labels), images, self._evaluation.attack), labels
            )
        return is_robust


def autoattack(
    model: nn.Module,
    image_set: ImageSet,
    evaluation: EvaluationSettings,
    *,
    seed: int = 0,
    compute: Compute = FLOAT32,
) -> Verdict:
    """Attack a network with AutoAttack's standard version and say which images withstand all of it.

    Before AutoAttack's own attacks runs the evaluation's, which breaks most of what can be broken at a
    fraction of the cost. An image that is broken is not attacked again. With fewer than four classes APGD-T
    is left out.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients are left as they
            were.
        image_set: On the model's device.
        evaluation: Norm and radius of every attack, the first attack, and the batch size.
        seed: Seed of all attacks.
        compute: The arithmetic of the frozen copy.
    """
    images, labels = to_float(image_set.images), image_set.labels
    suite = AttackSuite(model, images, evaluation, seed=seed, compute=compute)
    everything = torch.arange(len(labels), device=labels.device)
    clean = torch.cat(
        [suite.correct(images[part], labels[part]) for part in torch.split(everything, evaluation.batch_size)]
    )
    robust, broken = clean.clone(), {}
    for name in ("pgd", *STANDARD):
        if name in suite.names:
            alive = robust.nonzero().squeeze(1)
            for batch in torch.split(alive, evaluation.batch_size):
                robust[batch] = suite.robust_mask(name, images[batch], labels[batch])
            broken[name] = len(alive) - int(robust.sum())
    return Verdict(clean, robust, broken)


def _divided(network: Network, scale: float) -> Any:
    return network if scale == 1.0 else lambda images: network(images) / scale


def _standard(
    network: Network, classes: int, device: torch.device, evaluation: EvaluationSettings, seed: int
) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """AutoAttack's standard version on a network: each attack takes images and labels to points."""
    from pyautoattack import AutoAttack

    whole = AutoAttack(
        network, norm=NORMS[evaluation.norm], eps=float(evaluation.epsilon), seed=seed, device=device
    )
    whole.apgd.loss, whole.fab.targeted = "ce", True
    whole.apgd_targeted.n_target_classes = whole.fab.n_target_classes = min(9, classes - 1)
    attacks = {
        "apgd-ce": whole.apgd,
        "apgd-t": whole.apgd_targeted,
        "fab-t": whole.fab,
        "square": whole.square,
    }
    return {name: one.perturb for name, one in attacks.items() if name != "apgd-t" or classes >= DLR_CLASSES}


@contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """AutoAttack seeds torch's global random state; outside it stays as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
