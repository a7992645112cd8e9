"""FAB-T and Square with fewer forward passes: the same results as ``pyautoattack``'s own, image by image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from morel_search import load_model
from morel_search.training.augment import to_float
from morel_search.training.datasets.loading import load_development
from morel_search.training.settings import DataSettings
from morel_search.verification.batched_attacks import AllTargetsFab, SparingSquare
from morel_search.verification.square_l2 import SquareL2

IMAGES = 24


class Counted(nn.Module):
    """A network that counts the images that it is asked about."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.images = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        logits: Tensor = self.network(images)
        return logits


def digits_network(classes: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a robust network on digits of the first classes, and digits that it classifies correctly."""
    model = load_model(Path(__file__).parent / "robust_network").eval()
    images = load_development(DataSettings(name="digits", validation=0.25)).train
    x, y = to_float(images.images), images.labels
    network = model if classes == 10 else FirstClasses(model, classes)
    chosen = y < classes
    x, y = x[chosen][:100], y[chosen][:100]
    with torch.no_grad():
        right = network(x).argmax(dim=1) == y
    return network, x[right][:IMAGES], y[right][:IMAGES]


class FirstClasses(nn.Module):
    """A network without its last classes."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[:, : self.classes]
        return logits


def colour_network() -> tuple[nn.Module, Tensor, Tensor]:
    """Return an untrained network and colour images, not square, that it classifies as their labels say."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 4 * 6, 5))
    x = torch.rand(IMAGES, 3, 6, 8)
    with torch.no_grad():
        return network, x, network(x).argmax(dim=1)


def attacks(network: nn.Module, norm: str, epsilon: float) -> tuple[nn.Module, nn.Module]:
    from pyautoattack import AutoAttack

    suite = AutoAttack(network, norm=norm, eps=epsilon, seed=3, device=torch.device("cpu"))
    suite.fab.targeted = True
    suite.fab.n_iter, suite.square.n_queries = 15, 600
    return suite.fab, suite.square


SUBJECTS = [
    ("digits", 10, "Linf", 0.2),
    ("digits", 3, "Linf", 0.2),
    ("digits", 10, "L2", 1.0),
    ("digits", 3, "L2", 0.7),
    ("colour", 5, "Linf", 0.05),
]


def subject(kind: str, classes: int) -> tuple[Counted, Tensor, Tensor]:
    network, x, y = colour_network() if kind == "colour" else digits_network(classes)
    return Counted(network), x, y


def misclassified(network: nn.Module, points: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return network(points).argmax(dim=1) != labels


@pytest.mark.parametrize(("kind", "classes", "norm", "epsilon"), SUBJECTS)
def test_fab_t_finds_what_the_library_finds(kind: str, classes: int, norm: str, epsilon: float) -> None:
    """Also where the batch is smaller than the classes, and where an image was misclassified before."""
    network, x, y = subject(kind, classes)
    y[0] = (y[0] + 1) % classes
    fab, _ = attacks(network, norm, epsilon)
    fab.n_target_classes, fab.n_restarts = classes - 1, 1
    expected = fab.perturb(x, y)
    for batch_size in (512, 40, 1):
        found = AllTargetsFab(fab, batch_size).perturb(x, y)
        broken = misclassified(network, expected, y)
        assert torch.equal(misclassified(network, found, y), broken)
        assert 2 <= int(broken.sum()) < IMAGES
        assert torch.equal(found[~broken], x[~broken])
        same = (found - expected).abs().flatten(1).amax(dim=1) < 1e-5
        assert int(same.sum()) >= IMAGES - 2  # rounding in another batch may lead elsewhere
        distance = (found - x).flatten(1)
        length = distance.abs().amax(dim=1) if norm == "Linf" else distance.norm(dim=1)
        assert float(length.max()) <= epsilon * (1 + 1e-5)


@pytest.mark.parametrize(("kind", "classes", "norm", "epsilon"), SUBJECTS)
def test_square_finds_what_the_library_finds(kind: str, classes: int, norm: str, epsilon: float) -> None:
    network, x, y = subject(kind, classes)
    _, square = attacks(network, norm, epsilon)
    expected = square.perturb(x, y)
    asked, network.images = network.images, 0
    found = (SquareL2 if norm == "L2" else SparingSquare)(square).perturb(x, y)
    asked_now = network.images
    broken = misclassified(network, expected, y)
    assert torch.equal(misclassified(network, found, y), broken)
    assert 2 <= int(broken.sum()) < IMAGES
    assert float((found - expected).abs().max()) < 1e-5
    if norm == "Linf" and kind == "digits":
        assert asked_now < asked / 2
    else:
        assert asked_now <= asked


def test_square_counts_its_queries_as_the_library_does() -> None:
    network, x, y = subject("digits", 10)
    _, square = attacks(network, "Linf", 0.2)
    results = []
    for attack in (square, SparingSquare(square)):
        attack.init_hyperparam(x)
        torch.manual_seed(5)
        results.append(attack.attack_single_run(x, y))
    assert torch.equal(results[0][0], results[1][0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (4, 4), (12, 12), (24, 24), (12, 30), (30, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_square_attacks_images_of_every_shape_with_l2(shape: tuple[int, int], channels: int) -> None:
    """How far a linear network's boundary is from an image is known: nothing beyond it may be found."""
    torch.manual_seed(0)
    linear = nn.Linear(channels * shape[0] * shape[1], 2)
    with torch.no_grad():
        linear.bias.copy_(-linear.weight.sum(dim=1) / 2)
        network, x = nn.Sequential(nn.Flatten(), linear), 0.3 + 0.4 * torch.rand(20, channels, *shape)
        logits = network(x)
        nearest = (logits[:, 0] - logits[:, 1]).abs() / (linear.weight[0] - linear.weight[1]).norm()
    y, epsilon = logits.argmax(dim=1), 4.0 * float(nearest.median())
    _, square = attacks(network, "L2", epsilon)
    found = SquareL2(square).perturb(x, y)
    assert float((found - x).flatten(1).norm(dim=1).max()) <= epsilon * (1 + 1e-5)
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
    broken = misclassified(network, found, y)
    assert not broken[nearest > epsilon].any()
    assert int(broken.sum()) >= 0.35 * int((nearest < epsilon).sum())


def test_every_pixel_is_part_of_the_start_where_the_library_has_none() -> None:
    for shape in ((2, 2), (12, 12), (24, 24), (12, 30), (30, 8)):
        _, square = attacks(nn.Flatten(), "L2", 0.5)
        x = torch.zeros(1, 1, *shape)
        square.init_hyperparam(x)
        start = SquareL2(square)._start(x)[0, 0]
        margin = 2 * max(1, min(shape) // 5)
        inside = start[margin:, margin:]
        assert int((inside != 0).sum()) >= 0.9 * inside.numel()


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 6, 8), (3, 32, 32), (1, 1, 1)])
def test_square_draws_the_librarys_squares(channels: int, height: int, width: int) -> None:
    """All at once, from the random state that one by one would leave."""
    _, square = attacks(nn.Identity(), "Linf", 0.2)
    square.n_queries = 300
    square.init_hyperparam(torch.rand(1, channels, height, width))
    torch.manual_seed(7)
    expected = []
    for iteration in range(300):
        pixels = square.p_selection(iteration) * height * width
        side = min(max(round(pixels**0.5), 1), height, width)
        top, left = (int(square.random_int(0, size - side)) for size in (height, width))
        colours = square.random_choice([channels, 1, 1])
        expected.append((side, top, left, tuple(colours.flatten().tolist())))
    after = torch.get_rng_state()
    torch.manual_seed(7)
    assert SparingSquare(square)._squares(channels, height, width) == expected
    assert torch.equal(torch.get_rng_state(), after)


def test_nothing_to_attack_is_no_error() -> None:
    network, x, y = subject("digits", 10)
    fab, square = attacks(network, "Linf", 0.2)
    wrong = (y + 1) % 10
    assert torch.equal(AllTargetsFab(fab, 512).perturb(x, wrong), x)
    assert torch.equal(SparingSquare(square).perturb(x, wrong), x)
