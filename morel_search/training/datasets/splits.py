"""Which images train, which validate: orders and splits that keep every class's share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from morel_search.errors import DataError

__all__ = ["split_indices", "stratified_order", "validation_count"]


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """Shuffle images so that every prefix of the order holds every class in proportion.

    The images of a class are shuffled and the r-th of its n images (r from 0) is put at (r + 1/2) / n; images
    at the same place come in shuffled order. In a prefix, the share of its own images that a class has
    contributed thus differs between two classes a and b by at most 1 / (2 n_a) + 1 / (2 n_b). A shorter
    prefix is part of a longer one.

    Args:
        labels: Integers, shape (N,).
        seed: At least 0. The stream is NumPy's ``RandomState``, which is frozen: a seed gives the same order
            with every version.

    Returns:
        The images' indices in their new order, int64, shape (N,).
    """
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    shuffled = random.permutation(len(labels))
    values = labels.cpu().numpy()[shuffled]
    place = np.empty(len(values))
    for value in np.unique(values):
        members = np.flatnonzero(values == value)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(shuffled[np.argsort(place, kind="stable")].astype(np.int64))


def validation_count(validation: float, images: int) -> int:
    """How many images the validation split holds.

    Args:
        validation: A share below 1, or a whole number of images.
        images: Images to split.

    Raises:
        DataError: The number is not whole, or the split would leave one side without images.
    """
    count = round(validation * images) if validation < 1 else int(validation)
    if validation >= 1 and count != validation:
        raise DataError(
            f"data.validation must be a share below 1 or a whole number of images, got {validation:g}"
        )
    if count < 1:
        raise DataError(f"data.validation {validation:g} of {images} images leaves none to validate on")
    if count >= images:
        raise DataError(
            f"data.validation {validation:g} asks for {count} of {images} images, which leaves none to "
            f"train on"
        )
    return count


def split_indices(
    labels: Tensor, classes: Sequence[str], *, validation: float, seed: int, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Split images into training and validation, both stratified by label.

    One :func:`stratified_order` decides: its first images validate, the next ones, up to ``limit`` in all,
    train. With a number of images as ``validation``, the validation split is therefore the same for every
    limit.

    Args:
        labels: Integers, shape (N,).
        classes: The classes' names.
        validation: A share below 1 (of the images that are used), or a whole number of images.
        seed: Seed of the order.
        limit: Use only so many images, both splits together.

    Returns:
        Indices of the training and of the validation images, each ascending, int64.

    Raises:
        DataError: The validation split does not fit, or a class that has images keeps none to train on.
    """
    order = stratified_order(labels, seed)[:limit]
    count = validation_count(validation, len(order))
    held, train = order[:count].sort().values, order[count:].sort().values
    images = torch.bincount(labels, minlength=len(classes))
    left = torch.bincount(labels[train], minlength=len(classes))
    for label in torch.nonzero((images > 0) & (left == 0)).flatten().tolist():
        limited = f" and data.limit {limit}" if limit is not None else ""
        raise DataError(
            f"data.validation {validation:g}{limited} leave no training image of class {classes[label]}, "
            f"which has {int(images[label])}"
        )
    return train, held
