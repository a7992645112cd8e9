"""Augmentation against a slow twin that treats one image after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from morel_search.training.augment import augment, resolve_augmentation, to_float


def one_by_one(images: Tensor, rows: Tensor, columns: Tensor, flips: Tensor, largest: int = 4) -> Tensor:
    """Pad with zeros, cut out at the offsets, mirror: with NumPy's slices, image after image."""
    out = []
    for image, row, column, flip in zip(
        images.numpy(), rows.tolist(), columns.tolist(), flips.tolist(), strict=True
    ):
        _, height, width = image.shape
        cut = np.pad(image, ((0, 0), *2 * ((largest, largest),)))[
            :, row : row + height, column : column + width
        ]
        out.append(cut[:, :, ::-1] if flip else cut)
    return torch.from_numpy(np.stack(out))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    ("shape", "largest"),
    [
        ((7, 3, 32, 32), 4),
        ((1, 1, 8, 8), 4),
        ((5, 3, 9, 12), 4),
        ((3, 1, 28, 28), 4),
        ((6, 3, 64, 64), 8),
        ((4, 3, 96, 120), 12),
        ((2, 3, 224, 224), 28),
    ],
)
@pytest.mark.parametrize("kind", ["crop", "crop_flip"])
def test_augment_equals_its_slow_twin(
    kind: str, shape: tuple[int, ...], largest: int, dtype: torch.dtype
) -> None:
    """An image of 32 x 32 pixels is shifted by up to 4, a larger one by an eighth of its shorter side."""
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    drawn = torch.Generator().manual_seed(9)
    shifts = torch.randint(0, 2 * largest + 1, (2, shape[0], 1), generator=drawn)
    flips = (
        torch.randint(0, 2, (shape[0], 1), generator=drawn, dtype=torch.bool)
        if kind == "crop_flip"
        else torch.zeros(shape[0], 1)
    )
    expected = one_by_one(images, shifts[0, :, 0], shifts[1, :, 0], flips[:, 0] > 0, largest)
    found = augment(images, kind, torch.Generator().manual_seed(9))  # type: ignore[arg-type]
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def test_every_shift_and_both_sides_come_equally_often() -> None:
    """9 x 9 shifts x 2 sides = 162 outcomes, each 1/162: in 81,000 draws, 500 each with a deviation of 22."""
    height = width = 9
    image = torch.arange(1, 1 + height * width, dtype=torch.float32).view(1, 1, height, width)
    drawn = augment(image.expand(81_000, 1, height, width), "crop_flip", torch.Generator().manual_seed(0))
    outcomes = {
        one_by_one(image, torch.tensor([row]), torch.tensor([column]), torch.tensor([flip]))[0]
        .numpy()
        .tobytes()
        for row in range(9)
        for column in range(9)
        for flip in (False, True)
    }
    counts: dict[bytes, int] = dict.fromkeys(outcomes, 0)
    for one in drawn.numpy():
        counts[one.tobytes()] += 1
    assert len(outcomes) == 162
    assert max(abs(count - 500) for count in counts.values()) < 5 * 22.4


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_augment_is_repeatable_and_invents_no_pixel(
    count: int, channels: int, height: int, width: int, seed: int
) -> None:
    images = torch.randint(
        1,
        256,
        (count, channels, height, width),
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.uint8,
    )
    first, second = (augment(images, "crop_flip", torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == images.shape
    for before, after in zip(images, first, strict=True):
        for channel_before, channel_after in zip(before, after, strict=True):
            left = np.bincount(channel_before.flatten(), minlength=256) - np.bincount(
                channel_after.flatten(), minlength=256
            )
            assert (left[1:] >= 0).all()


def test_none_and_wrong_kinds() -> None:
    images = torch.zeros(2, 3, 4, 4)
    assert augment(images, "none") is images
    with pytest.raises(ValueError, match="got auto"):
        augment(images, "auto")


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("auto", (3, 32, 32), "crop_flip"),
        ("auto", (3, 64, 48), "crop_flip"),
        ("auto", (3, 28, 32), "none"),
        ("auto", (1, 32, 32), "none"),
        ("auto", (1, 8, 8), "none"),
        ("crop", (1, 8, 8), "crop"),
        ("none", (3, 32, 32), "none"),
    ],
)
def test_auto(kind: str, shape: tuple[int, int, int], expected: str) -> None:
    assert resolve_augmentation(kind, shape) == expected  # type: ignore[arg-type]


def test_to_float_is_exact() -> None:
    assert (
        to_float(torch.arange(256, dtype=torch.uint8)).tolist()
        == (np.arange(256, dtype=np.float32) / np.float32(255)).tolist()
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_augment_on_a_gpu_is_one_of_the_possible_images() -> None:
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8)
    found = augment(
        image.expand(50, 1, 8, 8).cuda(), "crop_flip", torch.Generator("cuda").manual_seed(0)
    ).cpu()
    possible = {
        one_by_one(image, torch.tensor([row]), torch.tensor([column]), torch.tensor([flip]))[0]
        .numpy()
        .tobytes()
        for row in range(9)
        for column in range(9)
        for flip in (False, True)
    }
    assert {one.numpy().tobytes() for one in found} <= possible
