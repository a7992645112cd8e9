"""What every reader of images gives: the labels at once, the images when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from morel_search.errors import DataError

__all__ = ["Source", "Split", "local_path"]

Split = Literal["development", "test"]


@dataclass(frozen=True, eq=False)
class Source:
    """One split of a data set, not yet decoded.

    Attributes:
        labels: Integers from 0, shape (N,), int64.
        classes: Name of each label.
        read: Indices, shape (M,), to their images, uint8, shape (M, channels, height, width).
    """

    labels: Tensor
    classes: tuple[str, ...]
    read: Callable[[Tensor], Tensor]


def local_path(field: str, text: str) -> Path:
    """A path of the settings, with ``~`` resolved; it need not be there.

    Args:
        field: The setting it comes from, such as ``train``.
        text: The path as given.

    Raises:
        DataError: It cannot be a path here: too long, behind a closed folder, with a zero byte, or of an
            unknown user.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"data.{field} {text[:200]!r} is not a path that can be used: {reason}") from error
    return path
