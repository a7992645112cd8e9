"""Verdicts on simulated fronts whose true accuracies are known: rates of wrong verdicts, and power."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from morel_search.analysis.verdicts import MARGIN, Verdict, judge

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

FRONTS = 300
SLOPE = np.linspace(0.0, 1.0, 8)
TRUTHS = {
    "all networks are equal": (np.full(8, 0.9), np.full(8, 0.5)),
    "a front": (0.95 - 0.2 * SLOPE, 0.3 + 0.3 * SLOPE),
    "small differences": (0.9 - 0.02 * SLOPE, 0.5 - 0.02 * SLOPE),
    "pairs, 10 points apart": (
        0.95 - 0.2 * np.repeat(SLOPE[::2], 2),
        0.35 + 0.3 * np.repeat(SLOPE[::2], 2) - np.tile([0.0, 0.1], 4),
    ),
}


def draw(random: np.random.Generator, accuracies: Floats, images: int, shared: float) -> Flags:
    """Draw which images the networks classify correctly, shape (networks, images).

    An image has a difficulty that all networks share; ``shared`` is its part of the variance.
    """
    difficulty = random.standard_normal(images)
    own = random.standard_normal((len(accuracies), images))
    score = np.sqrt(shared) * difficulty + np.sqrt(1 - shared) * own
    return np.asarray(score < norm.ppf(accuracies)[:, None])


def verdicts(
    random: np.random.Generator, clean: Floats, robust: Floats, images: int, shared: float = 0.75
) -> list[Verdict]:
    cleans, robusts = draw(random, clean, images, shared), draw(random, robust, images, shared)
    networks = {str(index): pair for index, pair in enumerate(zip(cleans, robusts, strict=True))}
    judged = judge(networks, networks)
    return [judged[name] for name in networks]


def wrong(verdict: Verdict, index: int, points: Floats) -> bool:
    """Return whether a verdict on the network with this index contradicts the true accuracies."""
    ahead = points - points[index]
    if verdict.kind == "on the front":
        return bool((np.delete(ahead, index, axis=0) >= 0).all(axis=1).any())
    if verdict.kind == "beaten":
        gain, change = ahead[int(verdict.rival), verdict.axis], ahead[int(verdict.rival), 1 - verdict.axis]
        return bool(gain <= 0 or change < -max(MARGIN, verdict.loss))
    return False


@pytest.mark.parametrize("images", [359, 2000])
@pytest.mark.parametrize("truth", TRUTHS)
def test_the_family_wise_error_of_front_and_beaten_is_at_most_five_percent(truth: str, images: int) -> None:
    random, (clean, robust) = np.random.default_rng(0), TRUTHS[truth]
    points = np.column_stack([clean, robust])
    fronts = [verdicts(random, clean, robust, images) for _ in range(FRONTS)]
    errors = [any(wrong(verdict, index, points) for index, verdict in enumerate(front)) for front in fronts]
    assert np.mean(errors) <= 0.05
    if truth == "all networks are equal":
        decided = [any(verdict.kind != "undecided" for verdict in front) for front in fronts]
        assert np.mean(decided) <= 0.05, "equal networks are a tie"
    if truth == "a front":  # each network is 2.9 points less accurate and 4.3 more robust than the next
        beaten = [any(verdict.kind == "beaten" for verdict in front) for front in fronts]
        assert np.mean(beaten) <= 0.05, "no network of a front with this slope is beaten"


@pytest.mark.parametrize("shared", [0.6, 0.9])
def test_ten_points_at_equal_clean_accuracy_are_seen_on_two_thousand_images(shared: float) -> None:
    """A requirement of non-inferiority without a margin sees them in 40 %: clean accuracy is a coin flip."""
    random, (clean, robust) = np.random.default_rng(1), TRUTHS["pairs, 10 points apart"]
    fronts = [verdicts(random, clean, robust, 2000, shared) for _ in range(FRONTS)]
    kinds = np.array([[verdict.kind for verdict in front] for front in fronts])
    assert (kinds[:, 1::2] == "beaten").mean(axis=0).min() >= 0.88
    assert (kinds[:, ::2] == "beaten").mean() <= 0.01


def made(images: int, clean: int, robust: int) -> tuple[Flags, Flags]:
    return np.arange(images) < clean, np.arange(images) < robust


def test_one_image_of_clean_accuracy_does_not_save_a_network() -> None:
    """The measured case: 35.6 points less robust, one image of 359 more in clean accuracy."""
    networks = {"7": made(359, 340, 200), "9": made(359, 341, 72)}
    judged = judge(networks, networks)
    assert judged["9"].kind == "beaten"
    assert judged["9"].text.startswith("beaten by 7: 35.7 points more robust accuracy, at most ")
    assert judged["9"].loss <= 0.02
    assert judged["7"] == Verdict("on the front")


def test_a_network_that_leads_by_more_than_a_point_is_not_beaten() -> None:
    """Four images of 359 are 1.1 points: within chance, but both are on the front as it was measured."""
    networks = {"7": made(359, 340, 200), "9": made(359, 344, 155)}
    judged = judge(networks, networks)
    assert judged["9"].text == "undecided: ahead of 7 by 4 images in clean accuracy, not beyond chance"
    assert judge(networks | {"9": made(359, 343, 155)}, networks)["9"].kind == "beaten"


def test_a_lead_of_one_image_is_not_beyond_chance() -> None:
    networks = {"7": made(359, 340, 200), "9": made(359, 341, 198)}
    judged = judge(networks, networks)
    assert judged["9"].text == "undecided: ahead of 7 by 1 image in clean accuracy, not beyond chance"
    assert judged["7"].text == "undecided: ahead of 9 by 2 images in robust accuracy, not beyond chance"
    equal = judge({"7": made(50, 40, 20), "9": made(50, 40, 20)}, ["7", "9"])
    assert equal["7"].text == "undecided: not ahead of 9 in either accuracy, but not behind it beyond chance"


def test_a_trade_off_beyond_chance_puts_both_on_the_front() -> None:
    networks = {"7": made(1000, 900, 300), "9": made(1000, 800, 500)}
    assert {verdict.kind for verdict in judge(networks, networks).values()} == {"on the front"}


def test_only_rivals_beat_a_network() -> None:
    networks = {"7": made(359, 340, 200), "9": made(359, 341, 72)}
    assert judge(networks, ["9"])["9"] == Verdict("on the front")
    assert judge({"7": networks["7"]}, ["7"]) == {"7": Verdict("on the front")}
