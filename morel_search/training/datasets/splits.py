"""Stratified orders and splits: every part holds the classes in the same proportions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from morel_search.errors import DataError

__all__ = ["split_indices", "stratified_order", "validation_count"]


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """Shuffle images so that every prefix of the order holds every class in proportion.

    The images of a class are shuffled, and the r-th of its n images (r from 0) gets the position (r + 1/2) /
    n; images with the same position are in random order. Take the fraction of the images of a class that a
    prefix
    contains: it differs between two classes a and b by at most 1 / (2 n_a) + 1 / (2 n_b). A shorter prefix is
    part of a longer one.

    Args:
        labels: Integers, shape (N,).
        seed: Random seed, >= 0. The generator is NumPy's ``RandomState``, which is frozen: a seed gives the
            same order with every version.

    Returns:
        The indices of the images in their new order, int64, shape (N,).
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
    """Return the number of images of the validation split.

    Args:
        validation: A fraction below 1, or a whole number of images.
        images: Number of images to split.

    Raises:
        DataError: The number is not whole, or one side of the split has no images.
    """
    count = round(validation * images) if validation < 1 else int(validation)
    if validation >= 1 and count != validation:
        raise DataError(
            f"data.validation must be a fraction below 1 or a whole number of images, got {validation:g}"
        )
    if count < 1:
        raise DataError(
            f"data.validation {validation:g} of {images} images leaves no validation image; raise it"
        )
    if count >= images:
        raise DataError(
            f"data.validation {validation:g} takes {count} of {images} images, which leaves no training "
            f"image; lower it"
        )
    return count


def split_indices(
    labels: Tensor, classes: Sequence[str], *, validation: float, seed: int, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Split images into training and validation, both stratified by label.

    The first images of a :func:`stratified_order` are the validation split; the next ones, up to ``limit``
    images of both splits, are the training split. If ``validation`` is a number of images, the validation
    split is therefore the same for every limit.

    Args:
        labels: Integers, shape (N,).
        classes: Names of the classes.
        validation: A fraction below 1 (of the images that are used), or a whole number of images.
        seed: Random seed of the order.
        limit: Maximum number of images of both splits; None for all.

    Returns:
        Indices of the training and of the validation images, each ascending, int64.

    Raises:
        DataError: The validation split does not fit, or a class with images has no training image.
    """
    order = stratified_order(labels, seed)[:limit]
    count = validation_count(validation, len(order))
    held_out, train = order[:count].sort().values, order[count:].sort().values
    images = torch.bincount(labels, minlength=len(classes))
    left = torch.bincount(labels[train], minlength=len(classes))
    for label in torch.nonzero((images > 0) & (left == 0)).flatten().tolist():
        limited = f" and data.limit {limit}" if limit is not None else ""
        raise DataError(
            f"data.validation {validation:g}{limited} leave no training image of class {classes[label]}, "
            f"which has {int(images[label])}"
        )
    return train, held_out
