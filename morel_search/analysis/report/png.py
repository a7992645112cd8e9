"""Small images as PNG in data URIs."""

from __future__ import annotations

import base64
import struct
import zlib

from morel_search.results.pictures import Pixels

__all__ = ["png_bytes", "png_uri"]

COLOUR_TYPES = {1: 0, 3: 2}
"""PNG's number for grey and for RGB, by the number of channels."""


def png_bytes(pixels: Pixels) -> bytes:
    """Return an image as a PNG file with 8 bits per channel.

    Args:
        pixels: Shape (channels, height, width), with 1 or 3 channels.
    """
    channels, height, width = pixels.shape
    rows = pixels.transpose(1, 2, 0).reshape(height, width * channels)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # filter 0: the bytes as they are
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def png_uri(pixels: Pixels) -> str:
    """Return an image as a data URI; see :func:`png_bytes`."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(pixels)).decode('ascii')}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
