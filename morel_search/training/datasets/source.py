"""The result of every reader of images: the labels at once, and the images when they are requested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from morel_search.errors import DataError
from morel_search.training.datasets.classes import Classes

__all__ = ["Source", "Split", "local_path"]

Split = Literal["development", "test"]


@dataclass(frozen=True, eq=False)
class Source:
    """One split of a data set, not yet decoded.

    Attributes:
        labels: Integers from 0, shape (N,), int64.
        classes: Name of each label.
        read: Function of indices, shape (M,), that returns their images, uint8, shape (M, channels, height,
            width).
        notes: What was done with labels and is worth knowing, one sentence each.
        numbering: What is known about the numbers of the classes in other files; None if the names are in the
            order of their numbers.
    """

    labels: Tensor
    classes: tuple[str, ...]
    read: Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()
    numbering: Classes | None = None


def local_path(field: str, text: str) -> Path:
    """Return a path of the settings, with ``~`` resolved; it may not exist.

    Args:
        field: Name of the setting, such as ``train``.
        text: The path as given.

    Raises:
        DataError: The path cannot be used: it is too long, in a folder without permission, has a zero byte,
            names an unknown user, or leads in a circle.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
        path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"data.{field} {text[:200]!r} is not a path that can be used: {reason}") from error
    return path
