"""The attack behind the report's pictures: 8-bit images in the ball, and the network's own predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from verified_runs import verified_run

from morel_search.analysis.run_data import read_run_data
from morel_search.errors import NetworkError
from morel_search.results.attack_records import COLUMNS, ROBUST, UNKNOWN, read_records
from morel_search.results.pictures import MOST_SIDE, PIXEL_BYTES
from morel_search.results.pictures_file import read_pictures
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.settings import AttackSettings, DataSettings, EvaluationSettings
from morel_search.verification.attacked_images import AttackedImages, attack_images, eight_bit
from morel_search.verification.pictures import choose_images, pictured_networks, update_pictures
from morel_search.verification.worker import WorkerSetup

NAMES = tuple("abcd")


def setup_of(epsilon: Fraction, norm: Any = "linf") -> WorkerSetup:
    evaluation = EvaluationSettings(norm=norm, epsilon=epsilon)
    return WorkerSetup(DataSettings(name="digits"), evaluation, FLOAT32, "cpu", 1, 0, ())


def linear(shape: Sequence[int], classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))
    return model.eval()


def images_of(count: int, shape: Sequence[int], low: int = 0, high: int = 256) -> torch.Tensor:
    levels = np.random.default_rng(0).integers(low, high, (count, *shape))
    return torch.from_numpy(levels).to(torch.float32) / 255


def norms(change: NDArray[Any], norm: str) -> NDArray[Any]:
    flat = np.abs(change.reshape(len(change), -1).astype(np.int64))
    return np.asarray(flat.max(axis=1) if norm == "linf" else np.sqrt((flat**2).sum(axis=1)))


@settings(max_examples=30, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    levels=st.floats(1, 200),
    scale=st.floats(0.1, 3),
    seed=st.integers(0, 1000),
)
def test_rounded_examples_stay_in_the_ball(norm: Any, levels: float, scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    epsilon = Fraction(levels).limit_denominator(1000) / 255
    clean = random.integers(0, 256, (3, 3, 4, 5)).astype(np.uint8)
    points = clean + random.normal(0, scale * levels, clean.shape)
    rounded = eight_bit(points, clean, AttackSettings(norm=norm, epsilon=epsilon))
    change = rounded.astype(np.int64) - clean
    assert rounded.dtype == np.uint8
    assert (norms(change, norm) <= float(epsilon * 255) + 1e-9).all()


@pytest.mark.parametrize(
    ("epsilon", "levels"), [(Fraction(8, 255), 8), (Fraction(1, 5), 51), (Fraction(1, 3), 85)]
)
def test_an_example_at_the_radius_keeps_its_whole_change(epsilon: Fraction, levels: int) -> None:
    clean = np.full((1, 1, 2, 2), 100, dtype=np.uint8)
    at_the_radius = np.float32(100 / 255) + np.float32([[[[1, -1], [1, -1]]]]) * np.float32(float(epsilon))
    rounded = eight_bit(at_the_radius.astype(np.float64) * 255, clean, AttackSettings(epsilon=epsilon))
    assert (rounded.astype(int) - 100).tolist() == [[[[levels, -levels], [levels, -levels]]]]


def test_of_a_linear_network_it_finds_the_largest_margin() -> None:
    """Of a linear network, the best change of each pixel is the radius, by the sign of its weight."""
    shape, epsilon = (1, 4, 4), Fraction(20, 255)
    model, images = linear(shape), images_of(5, shape, 30, 220)
    weights, biases = (part.detach().double().numpy() for part in model.parameters())
    flat = images.double().flatten(1).numpy()
    logits = flat @ weights.T + biases
    labels = logits.argmax(axis=1)
    found = attack_images(model, images, torch.from_numpy(labels), NAMES, setup_of(epsilon))
    for index, (label, picture) in enumerate(zip(labels, found.pictures, strict=True)):
        moved = picture.pixels.reshape(-1) / 255 @ weights.T + biases
        margins = logits[index] - logits[index, label]
        reach = margins + float(epsilon) * np.abs(weights - weights[label]).sum(axis=1)
        best = max(value for target, value in enumerate(reach) if target != label)
        assert max(np.delete(moved, label)) - moved[label] == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 5)])
def test_predictions_are_those_of_the_network_on_the_stored_pixels(norm: Any, shape: tuple[int, ...]) -> None:
    epsilon = Fraction(1, 10) if norm == "linf" else Fraction(1, 2)
    model, images = linear(shape), images_of(6, shape)
    labels = model(images).argmax(dim=1)
    before = [parameter.requires_grad for parameter in model.parameters()]
    found = attack_images(model, images, labels, NAMES, setup_of(epsilon, norm))
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    adversarial = np.stack([picture.pixels for picture in found.pictures])
    assert (norms(adversarial.astype(int) - found.clean, norm) <= float(255 * epsilon)).all()
    assert (adversarial != found.clean).any(axis=(1, 2, 3)).all()
    for pixels, kind in ((found.clean, "before"), (adversarial, "after")):
        shares = torch.softmax(model(torch.from_numpy(pixels).float() / 255), dim=1).detach()
        for share, picture in zip(shares, found.pictures, strict=True):
            said = getattr(picture, kind)
            assert said.label == int(share.argmax())
            assert said.name == NAMES[said.label]
            assert said.probability == pytest.approx(float(share.max()), abs=1e-6)
    assert found.reduction == 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_large_images_are_reduced_and_stay_in_the_ball(norm: Any) -> None:
    shape, epsilon = (3, 130, 90), Fraction(8, 255) if norm == "linf" else Fraction(2)
    model, images = linear(shape), images_of(2, shape)
    labels = model(images).argmax(dim=1)
    found = attack_images(model, images, labels, NAMES, setup_of(epsilon, norm))
    assert found.reduction == 3
    assert found.clean.shape == (2, 3, 43, 30)
    assert max(found.clean.shape) <= MOST_SIDE
    adversarial = np.stack([picture.pixels for picture in found.pictures])
    assert (norms(adversarial.astype(int) - found.clean, norm) <= float(255 * epsilon)).all()
    by_hand = images[0, 0, :3, 3:6].double().mean() * 255
    assert found.clean[0, 0, 0, 1] == pytest.approx(float(by_hand), abs=0.51)


def test_the_first_images_that_all_networks_classify_correctly_are_chosen() -> None:
    first, second = (np.full((8, len(COLUMNS)), UNKNOWN, dtype=np.int8) for _ in range(2))
    first[[0, 2, 3, 5], 0] = ROBUST
    second[[2, 3, 4, 5, 7], 0] = ROBUST
    rows = np.array([7, 3, 4, 5, 0, 2])
    chosen, passed_over = choose_images([first, second], rows, 2)
    assert (chosen.tolist(), passed_over) == ([3, 5], 2)
    chosen, passed_over = choose_images([first, second], rows)
    assert (chosen.tolist(), passed_over) == ([3, 5, 2], 3)
    assert choose_images([first, second], np.array([0, 1]))[0].tolist() == []


def test_the_networks_are_the_ends_of_the_verified_front_and_its_knee(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    run_data = read_run_data(run)
    front = {network.name: network.accuracy for network in verification.front}
    names = pictured_networks(run_data, verification, list(front))
    assert names[0] == max(front, key=lambda name: front[name])
    assert names[-1] == max(front, key=lambda name: front[name][::-1])
    assert len(set(names)) == len(names) <= 3
    assert pictured_networks(run_data, None, []) == []
    attacked = [entry.name for entry in run_data.networks if entry.member][1:2]
    assert pictured_networks(run_data, None, attacked) == attacked  # the others were not attacked yet


@dataclasses.dataclass
class Drawing:
    """Attacks a linear network in the place of a worker, and counts the calls."""

    shape: tuple[int, ...] = (1, 4, 4)
    calls: int = 0

    def __call__(self, path: str, rows: NDArray[np.int64], setup: WorkerSetup) -> AttackedImages:
        self.calls += 1
        model, images = linear(self.shape), images_of(len(rows), self.shape)
        return attack_images(model, images, model(images).argmax(dim=1), NAMES, setup)


def test_the_file_is_written_once_and_again_after_a_change(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path)
    records = read_records(run)
    models = {name: Path(name) for name in records}
    rows, setup, drawing = np.arange(100), setup_of(Fraction(1, 5)), Drawing()
    update_pictures(run, records, models, rows, setup, 10, drawing)
    pictures = read_pictures(run)
    assert pictures is not None
    assert drawing.calls == len(pictures.networks)
    assert len(pictures.images) == 6
    assert pictures.epsilon == "1/5"
    drawing.calls = 0
    update_pictures(run, records, models, rows, setup, 10, drawing)
    assert drawing.calls == 0
    update_pictures(run, records, models, rows, setup_of(Fraction(1, 10)), 10, drawing)
    assert drawing.calls
    (run.verification / "pictures.json").write_text("{")
    drawing.calls = 0
    update_pictures(run, records, models, rows, setup, 10, drawing)
    assert drawing.calls
    assert read_pictures(run) is not None


def test_the_file_stays_small_and_other_channels_have_no_pictures(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path)
    records = read_records(run)
    models = {name: Path(name) for name in records}
    setup, rows = setup_of(Fraction(1, 5)), np.arange(100)
    update_pictures(run, records, models, rows, setup, 10, Drawing((2, 4, 4)))
    assert read_pictures(run) is None
    update_pictures(run, records, models, rows, setup, 10, Drawing((3, 64, 64)))
    pictures = read_pictures(run)
    assert pictures is not None
    assert 1 <= len(pictures.images) < 6
    assert (run.verification / "pictures.json").stat().st_size < 1.05 * PIXEL_BYTES


def test_a_slow_network_gets_fewer_images_and_a_radius_below_one_level_none(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path)
    records = read_records(run)
    models = {name: Path(name) for name in records}
    update_pictures(run, records, models, np.arange(100), setup_of(Fraction(1, 300)), 10, Drawing())
    assert read_pictures(run) is None
    update_pictures(run, records, models, np.arange(100), setup_of(Fraction(1, 5)), 10**12, Drawing())
    pictures = read_pictures(run)
    assert pictures is not None
    assert len(pictures.images) == 1


def test_a_failure_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def failing(path: str, rows: object, setup: WorkerSetup) -> AttackedImages:
        raise NetworkError("the network is broken")

    run, _ = verified_run(tmp_path)
    records = read_records(run)
    models = {name: Path(name) for name in records}
    update_pictures(run, records, models, np.arange(100), setup_of(Fraction(1, 5)), 10, failing)
    assert "warning: the pictures of attacked images were not made: the network is broken" in (
        capsys.readouterr().err
    )
    assert read_pictures(run) is None
