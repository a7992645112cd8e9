"""Images for the readers' tests, and the same images as files."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image


def pictures(count: int, side: int = 6, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images, shape (count, side, side, channels)."""
    return np.random.RandomState(seed).randint(0, 256, (count, side, side, channels), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, kind)
    return buffer.getvalue()


def every_row(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}
