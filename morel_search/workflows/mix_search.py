"""Choosing mixtures of two networks by their accuracies on validation images alone.

All mixtures of all pairs are tried on adversarial examples of the members and of the even mixture (upper
bounds, on some of the images). Those that would add the most hypervolume are attacked with the final attack
of the search, through the mixture, on all validation images; of these, the ones that no single network and no
other mixture dominates are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import nn

from morel_search._dominance import dominates
from morel_search.analysis.hypervolume import largest_gains
from morel_search.errors import OutOfMemoryError
from morel_search.training.compute_settings import Compute
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.evaluation import Evaluation, evaluate
from morel_search.training.memory import outline_problem
from morel_search.training.mixing import Answers, Recipe, answers_of, bounds, examples_of
from morel_search.training.networks.mixture import FORMS, Mixture
from morel_search.training.settings import EvaluationSettings

__all__ = ["CANDIDATES", "SCREENED_IMAGES", "Judge", "Mixed", "choose_mixtures", "steps_of"]

PERCENTS = tuple(range(10, 100, 10))
"""Weights of the first network, in percent."""

CANDIDATES = 16
"""Number of mixtures that are attacked with the final attack."""

SCREENED_IMAGES = 500
"""Number of validation images for the upper bounds, at most."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mixture of two networks that was attacked.

    Attributes:
        members: Names of both networks.
        recipe: How they are mixed.
        clean: Clean accuracy on the validation images.
        robust: Robust accuracy under the final attack of the search, through the mixture.
    """

    members: tuple[str, str]
    recipe: Recipe
    clean: float
    robust: float

    @property
    def point(self) -> Point:
        """Both accuracies."""
        return self.clean, self.robust


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What mixtures are measured with.

    Attributes:
        validation: The validation images, on the device.
        evaluation: Attacks and batch size.
        compute: The arithmetic of the attacks' gradients.
        device: ``cpu``, ``cuda`` or ``mps``.
    """

    validation: ImageSet
    evaluation: EvaluationSettings
    compute: Compute
    device: str

    def score(self, model: nn.Module) -> Evaluation:
        """Measure a network as the search measured the selected epochs of its trainings."""
        return evaluate(model, self.validation, self.evaluation, final=True, compute=self.compute)

    @property
    def screened(self) -> ImageSet:
        """The images for the upper bounds: a fixed sample of the validation images."""
        count = len(self.validation)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:SCREENED_IMAGES]
        rows = order.sort().values.to(self.validation.labels.device)
        return ImageSet(self.validation.images[rows], self.validation.labels[rows])


def steps_of(networks: int) -> int:
    """Return the number of steps of a choice among this many networks, for a progress bar."""
    return networks + networks * (networks - 1) // 2 + CANDIDATES


def choose_mixtures(
    networks: Mapping[str, nn.Module],
    points: Mapping[str, Point],
    judge: Judge,
    most: int,
    on_step: Callable[[], object] = lambda: None,
) -> list[Mixed]:
    """Choose the mixtures of pairs of networks that are worth keeping.

    Args:
        networks: The networks by name, on the CPU; at least two.
        points: Clean and robust validation accuracy of each single network of the run.
        judge: Images and attacks.
        most: Number of mixtures to keep, at most.
        on_step: Called after each step; see :func:`steps_of`.

    Returns:
        The mixtures that no single network and no other mixture dominates or equals, from the largest to the
        smallest gain in hypervolume.

    Raises:
        OutOfMemoryError: Two networks do not fit into the memory of the device.
    """
    screened = list(_screened(networks, judge, on_step))
    alone = {own.members[0]: own.point for own in screened if own.members[0] == own.members[1]}
    pairs = [own for own in screened if own.members[0] != own.members[1]]
    scored = []
    for own in _promising([*alone.values()], pairs):
        with _mixture(networks, own.members, own.recipe, judge.device) as model:
            result = judge.score(model)
        scored.append(Mixed(own.members, own.recipe, result.clean_accuracy, result.robust_accuracy))
        on_step()
    singles = [*points.values()]
    front = [own for own in scored if not any(dominates(other.point, own.point) for other in scored)]
    return [front[index] for index in largest_gains(singles, [own.point for own in front], most)]


def _promising(alone: Sequence[Point], pairs: Sequence[Mixed]) -> list[Mixed]:
    """Return :data:`CANDIDATES` mixtures at most: those that add the most hypervolume by their bounds.

    Bounds are optimistic, so a mixture below the front of the bounds may be above it after the attack. Once
    no further mixture adds to the chosen ones, those that add to the single networks follow.
    """
    chosen: list[Mixed] = []
    left = [*pairs]
    while len(chosen) < CANDIDATES:
        indices = largest_gains(alone, [own.point for own in left], CANDIDATES - len(chosen))
        if not indices:
            break
        chosen += [left[index] for index in indices]
        left = [own for index, own in enumerate(left) if index not in indices]
    return chosen


def _screened(
    networks: Mapping[str, nn.Module], judge: Judge, on_step: Callable[[], object]
) -> Iterator[Mixed]:
    """Yield the upper bounds of each network, as a mixture with itself, and of each mixture of a pair."""
    images, batch_size = judge.screened, judge.evaluation.batch_size
    labels = images.labels.cpu()
    own = {}
    for name, network in networks.items():
        with _on(judge.device, network) as model:
            own[name] = examples_of(model, images, judge.evaluation, judge.compute)
        on_step()
    answers: dict[str, Answers] = {}
    for name, network in networks.items():
        with _on(judge.device, network) as model:
            answers[name] = answers_of(model, images, [*own.values()], batch_size)
    recipes = [Recipe(percent / 100, form) for form in FORMS for percent in PERCENTS]
    even = Recipe(0.5, "probabilities")
    for name in networks:
        yield Mixed((name, name), even, *bounds((answers[name], answers[name]), labels, even))
    for first, second in combinations(networks, 2):
        with _mixture(networks, (first, second), even, judge.device) as model:
            examples = examples_of(model, images, judge.evaluation, judge.compute)
        pair = []
        for name in (first, second):
            with _on(judge.device, networks[name]) as model:
                new = answers_of(model, images, [examples], batch_size)
            pair.append(Answers(new.clean, (*answers[name].attacked, *new.attacked)))
        for recipe in recipes:
            yield Mixed((first, second), recipe, *bounds((pair[0], pair[1]), labels, recipe))
        on_step()


@contextmanager
def _mixture(
    networks: Mapping[str, nn.Module], members: tuple[str, str], recipe: Recipe, device: str
) -> Iterator[nn.Module]:
    """Yield a mixture on the device.

    Raises:
        OutOfMemoryError: Both networks, and the copies that attacks ask for gradients, do not fit.
    """
    mixture = Mixture([networks[name] for name in members], recipe.weights, recipe.form).eval()
    if problem := outline_problem(lambda: mixture, copies=2, device=device):
        raise OutOfMemoryError(
            f"out of memory: the mixture of the networks {' and '.join(members)} {problem}; use a device "
            "with more memory"
        )
    with _on(device, mixture) as model:
        yield model


@contextmanager
def _on(device: str, network: nn.Module) -> Iterator[nn.Module]:
    """Keep a network on the device for the block, and on the CPU afterwards: few fit there together."""
    try:
        yield network.to(device)
    finally:
        network.to("cpu")
