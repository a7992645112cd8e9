"""Small images as PNG in data URIs."""

from __future__ import annotations

import base64
import io

from morel_search.results.pictures import Pixels

__all__ = ["png_uri"]


def png_uri(pixels: Pixels) -> str:
    """Return an image as a PNG file with 8 bits per channel, in a data URI.

    Args:
        pixels: Shape (channels, height, width), with 1 or 3 channels.
    """
    from PIL import Image  # Matplotlib requires Pillow

    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
