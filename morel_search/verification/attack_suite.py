"""The attacks of a verification, in order; each runs on the images that are robust to all before it.

PGD is this project's own; the other attacks are AutoAttack's standard version (Croce and Hein 2020,
arXiv:2003.01690), by its authors' code, ``pyautoattack``; FAB-T and Square with fewer forward passes and the
same results. The attacks compute logits and gradients on a frozen copy of the network, which is faster;
whether an image is misclassified is decided by the network itself, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from morel_search.results.attack_names import STAGES, STANDARD
from morel_search.training.attacks import attack_mode, project
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.evaluation import attack_starts, correct, finite, robust_mask
from morel_search.training.evaluation_attacks import (
    EvaluationAttack,
    final_attack,
    margin_attack,
    plain_attack,
)
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import EvaluationSettings

__all__ = ["AttackSuite", "SuiteResult", "autoattack"]

DLR_CLASSES = 4
"""The targeted DLR loss uses the four largest logits."""

NORMS = {"linf": "Linf", "l2": "L2"}
"""The norms' names in AutoAttack."""

STRONG_STEPS, STRONG_STARTS = 50, 5
"""PGD-50's steps and random starts."""

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class SuiteResult:
    """The result of all attacks on N images.

    Attributes:
        clean: Which images are correctly classified without an attack, shape (N,).
        robust: Which images are also correctly classified after every attack, shape (N,).
        broken: Number of images that each attack made misclassified, of those that were robust to all attacks
            before it.
    """

    clean: Tensor
    robust: Tensor
    broken: Mapping[str, int]


class AttackSuite:
    """The attacks on one network.

    Args:
        model: Network from float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients do
            not change.
        images: A few images, float in [0, 1], on the model's device.
        evaluation: Norm and radius of every attack, and the attack ``pgd``: the search's final evaluation.
            Where that has no targeted margins with restarts, they are added to ``pgd-50``.
        seed: Random seed of all attacks; the result on a batch depends on no other random state.
        compute: The arithmetic of the frozen copy.
        scale: Divisor of the logits in the attacks: the softmax of very large logits has no gradient.

    Attributes:
        names: Names of the attacks. With fewer than four classes APGD-T is left out, because its loss needs
            four logits.
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
        strong = plain_attack(
            replace(
                evaluation,
                loss="cross_entropy",
                steps=STRONG_STEPS,
                step_size=None,
                step_ratio=2.5,
                restarts=STRONG_STARTS,
                random_start="uniform",
            )
        )
        margins = margin_attack(evaluation)
        self._own = {
            "fgsm": (_fgsm(evaluation),),
            "pgd": (final_attack(evaluation),),
            "pgd-50": (strong,) if margins is None else (strong, margins),
        }
        self.names = tuple(name for name in STAGES if name in self._own or name in self._standard[0])

    def correct(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return which images are correctly classified without an attack.

        Args:
            images: Float in [0, 1], shape (N, C, H, W).
            labels: Shape (N,).

        Returns:
            Booleans, shape (N,).
        """
        with attack_mode(self._model):
            return correct(self._model, images, labels)

    def finite(self, images: Tensor) -> Tensor:
        """Return on which images all logits are finite without an attack; arguments as in :meth:`correct`."""
        with attack_mode(self._model):
            return finite(self._model, images)

    def robust_mask(self, name: str, images: Tensor, labels: Tensor) -> Tensor:
        """Return which images are correctly classified after one attack.

        Args:
            name: One of :attr:`names`.
            images: Float in [0, 1], shape (N, C, H, W); an image that is misclassified without an attack is
                not robust.
            labels: Shape (N,).

        Returns:
            Booleans, shape (N,).
        """
        if not len(images):
            return torch.zeros(0, dtype=torch.bool, device=images.device)
        with attack_mode(self._model), _own_randomness(images.device, self._seed):
            if name in self._own:
                return self._own_mask(self._own[name], images, labels)
            return self._standard_mask(name, images, labels)

    def _own_mask(self, attacks: tuple[EvaluationAttack, ...], images: Tensor, labels: Tensor) -> Tensor:
        """Attack with PGD, with each attack from each of its starts.

        Later starts attack only the images that are still robust.
        """
        remaining = torch.arange(len(images), device=images.device)
        for attack in attacks:
            for start in attack_starts(images, attack):
                mask = robust_mask(
                    self._model, self._copy, images[remaining], labels[remaining], start[remaining], attack
                )
                remaining = remaining[mask]
        is_robust = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        is_robust[remaining] = True
        return is_robust

    @torch.no_grad()
    def _standard_mask(self, name: str, images: Tensor, labels: Tensor) -> Tensor:
        """Attack the frozen copy; where only the copy misclassifies the result, attack the network itself."""
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
) -> SuiteResult:
    """Attack a network with AutoAttack's standard version and return which images are robust to all of it.

    The evaluation's own attack runs before AutoAttack's attacks: most images that are not robust are
    misclassified after it, at a fraction of the cost. An image that is misclassified is not attacked again.
    With fewer than four classes APGD-T is left out.

    Args:
        model: Network from float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients do
            not change.
        image_set: Images and labels on the model's device.
        evaluation: Norm and radius of every attack, the first attack, and the batch size.
        seed: Random seed of all attacks.
        compute: The arithmetic of the frozen copy.
    """
    images, labels = to_float(image_set.images), image_set.labels
    suite = AttackSuite(model, images, evaluation, seed=seed, compute=compute)
    indices = torch.arange(len(labels), device=labels.device)
    clean = torch.cat(
        [suite.correct(images[part], labels[part]) for part in torch.split(indices, evaluation.batch_size)]
    )
    robust, broken = clean.clone(), {}
    for name in ("pgd", *STANDARD):
        if name in suite.names:
            remaining = robust.nonzero().squeeze(1)
            for batch in torch.split(remaining, evaluation.batch_size):
                robust[batch] = suite.robust_mask(name, images[batch], labels[batch])
            broken[name] = len(remaining) - int(robust.sum())
    return SuiteResult(clean, robust, broken)


def _fgsm(evaluation: EvaluationSettings) -> EvaluationAttack:
    """Return one step of length epsilon along the sign of the gradient of the cross entropy."""
    once = replace(
        evaluation,
        loss="cross_entropy",
        steps=1,
        step_size=evaluation.epsilon,
        random_start="none",
        restarts=1,
    )
    return plain_attack(once)


def _divided(network: Network, scale: float) -> Any:
    return network if scale == 1.0 else lambda images: network(images) / scale


def _standard(
    network: Network, classes: int, device: torch.device, evaluation: EvaluationSettings, seed: int
) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return AutoAttack's attacks on a network by name.

    Each maps images and labels to adversarial examples.
    """
    from pyautoattack import AutoAttack

    from morel_search.verification.batched_attacks import AllTargetsFab, SparingSquare
    from morel_search.verification.square_l2 import SquareL2

    suite = AutoAttack(
        network, norm=NORMS[evaluation.norm], eps=float(evaluation.epsilon), seed=seed, device=device
    )
    suite.apgd.loss, suite.fab.targeted = "ce", True
    suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = min(9, classes - 1)
    attacks = {
        "apgd-ce": suite.apgd,
        "apgd-t": suite.apgd_targeted,
        "fab-t": AllTargetsFab(suite.fab, evaluation.batch_size),
        "square": (SquareL2 if evaluation.norm == "l2" else SparingSquare)(suite.square),
    }
    return {
        name: attack.perturb for name, attack in attacks.items() if name != "apgd-t" or classes >= DLR_CLASSES
    }


@contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global random state, as AutoAttack does, and restore it afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
