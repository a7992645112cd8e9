"""One encoded image file to pixels: orientation, transparency and frames as people store pictures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search.errors import DataError
from morel_search.training.data_settings import Background

if TYPE_CHECKING:
    from PIL import Image, ImageFile

__all__ = ["NOTES", "Encoded", "Shape", "decode", "header"]

Shape = tuple[int, int, int]
Encoded = bytes | NDArray[np.uint8]
"""An encoded image file, or the pixels themselves, shape (height, width) or (height, width, channels)."""

GREY, COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""The formats that are read, by the bytes of a file and not by its name.

Pillow knows others, and some of their readers start programs: EPS, for example, starts Ghostscript.
"""

MOST_PIXELS = 2**26
"""Largest number of pixels of an image; a small file can claim many more than fit into memory."""

BACKGROUNDS: dict[Background, int] = {"white": 255, "black": 0, "grey": 128}

LEAST_CONTRAST, LEAST_COVER = 8, 128
"""A picture whose opacity varies by at least ``LEAST_COVER`` of 255 is refused if its pixels then differ by
less than ``LEAST_CONTRAST`` of 255, the usual radius of an attack: nothing of it can be seen."""

ORIENTATION, BITS_PER_SAMPLE = 274, 258
"""Numbers of tags in EXIF and TIFF."""

TURNS = {
    **{2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"},
    **{6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"},
}
"""For each orientation but 1, which is upright, the name in Pillow of what sets the image upright."""

NOTES = {
    "turned": "are stored turned or mirrored; they are set upright, as the orientation in the file says",
    "transparent": "are transparent; they are composed on {background} (data.background)",
    "frames": "have more than one frame or page; only the first is used",
    "cmyk": "are CMYK; they are converted to RGB without their colour profile",
    "grey": "are grey; they are read in colour, because others are in colour",
    "colour": "are in colour; they are read in grey, as the training images are",
}
"""What is done with an image and is worth knowing: the predicate of a sentence about several images,
in which ``{background}`` stands for ``data.background``."""


def header(data: Encoded, place: str, *, size: bool) -> Shape:
    """Return channels (1 or 3), height and width of an image.

    Args:
        data: The file.
        place: The file in words.
        size: Whether height and width are those after the orientation in the file, for which its pixels may
            be decoded. Otherwise only the header is read.

    Raises:
        DataError: It cannot be read.
    """
    image = _open(data, place)
    if size:
        image, _ = _upright(image, place)
    return (1 if image.mode in GREY else 3), image.height, image.width


def decode(
    data: Encoded, place: str, shape: Shape, *, resized: bool, background: Background
) -> tuple[NDArray[np.uint8], list[str]]:
    """Decode an image.

    Args:
        data: The file.
        place: The file in words.
        shape: Channels, height and width of the result.
        resized: Whether an image of another size is scaled and cropped at the centre.
        background: Background of transparent images.

    Returns:
        The pixels, shape (C, H, W), and what was done, keys of :data:`NOTES`.

    Raises:
        DataError: It cannot be read, has another size, or nothing of it is visible on the background.
    """
    from PIL import Image, ImageOps

    channels, height, width = shape
    image = _open(data, place)
    if not resized and image.size not in ((width, height), (height, width)):
        raise _other_size(image, place, shape)
    opened = image
    image, turned = _upright(opened, place)
    if not resized and image.size != (width, height):
        raise _other_size(image, place, shape)
    kinds = {
        "turned": turned,
        "frames": _has_frames(opened),
        "cmyk": image.mode == "CMYK",
        "grey": channels == 3 and image.mode in GREY,
        "colour": channels == 1 and image.mode not in GREY,
    }
    try:
        image, kinds["transparent"] = _opaque(image, place, background)
        image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise _damaged(place, error) from error
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return (pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)), [k for k in kinds if kinds[k]]


def _open(data: Encoded, place: str) -> Image.Image:
    """Open an image and check its size and its mode; its pixels are not decoded yet."""
    from PIL import Image

    if isinstance(data, np.ndarray):
        return Image.fromarray(data)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"{place} is too large: images may have {MOST_PIXELS:,} pixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{place} is not an image that can be read ({len(data)} bytes); the formats are "
            f"{', '.join(FORMATS)}"
        ) from error
    if image.width * image.height > MOST_PIXELS:
        raise DataError(
            f"{place} has {image.height} x {image.width} pixels; images may have {MOST_PIXELS:,} pixels"
        )
    bits = _bits(image)
    if bits > 8 or image.mode not in GREY + COLOUR:
        depth = f"{bits} bits for each channel" if bits > 8 else f"pixels of the mode {image.mode}"
        raise DataError(
            f"{place} has {depth}; images must be grey or in colour, with 8 bits for each channel: convert "
            "them first, with the range of values that matters"
        )
    return image


def _bits(image: ImageFile.ImageFile) -> int:
    """Return the number of bits of a channel in the file; Pillow cuts 16 bits to 8 in several modes."""
    from PIL.PpmImagePlugin import PpmImageFile
    from PIL.TiffImagePlugin import TiffImageFile

    arguments = image.tile[0][3] if image.tile else None
    if image.format == "PNG":
        return 16 if "16" in str(arguments) else 8  # the mode in the file, such as RGB;16B
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(BITS_PER_SAMPLE) or (8,))
    if isinstance(image, PpmImageFile):
        highest = arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else 255
        return 16 if image.mode == "I" or (isinstance(highest, int) and highest > 255) else 8
    return 8


def _upright(image: Image.Image, place: str) -> tuple[Image.Image, bool]:
    """Decode an image and apply its orientation; return whether it was turned or mirrored."""
    from PIL import Image

    before = _orientation(image) if image.format == "TIFF" else 1  # Pillow turns a TIFF when it decodes it
    try:
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise _damaged(place, error) from error
    orientation = _orientation(image)
    if orientation != 1:
        # Not ImageOps.exif_transpose: it writes all EXIF data again, which fails if another tag is damaged.
        return image.transpose(Image.Transpose[TURNS[orientation]]), True
    return image, before != 1


def _orientation(image: Image.Image) -> int:
    """Return the orientation in the file, 1 to 8; 1 also if its EXIF data is damaged."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data raises errors of many kinds, and the pixels are whole
        return 1
    return orientation if orientation in TURNS else 1


def _opaque(image: Image.Image, place: str, background: Background) -> tuple[Image.Image, bool]:
    """Compose a transparent image on a background; return whether it has a transparent pixel.

    Raises:
        DataError: Its opacity varies, but nothing is visible on this background.
    """
    from PIL import Image

    if image.mode not in ("LA", "RGBA", "PA") and "transparency" not in image.info:
        return image, False
    layer = image.convert("RGBA")
    cover = np.asarray(layer)[..., 3]
    lowest, highest = int(cover.min()), int(cover.max())
    if lowest == 255:
        return image, False
    value = BACKGROUNDS[background]
    ground = Image.new("RGBA", layer.size, (value, value, value, 255))
    opaque = Image.alpha_composite(ground, layer).convert("RGB")
    contrast = np.ptp(np.asarray(opaque), axis=(0, 1)).max()
    if highest - lowest >= LEAST_COVER and contrast < LEAST_CONTRAST:
        others = " or ".join(other for other in BACKGROUNDS if other != background)
        raise DataError(
            f"{place} is transparent, and on a {background} background it is an empty image; set "
            f"data.background to {others}"
        )
    return opaque, True


def _has_frames(image: Image.Image) -> bool:
    """Return whether a file has more frames or pages, apart from the second picture of a camera's JPEG."""
    if image.format == "MPO":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # only a further frame is damaged
        return True


def _other_size(image: Image.Image, place: str, shape: Shape) -> DataError:
    return DataError(
        f"{place} has {image.height} x {image.width} pixels, and the first training image {shape[1]} x "
        f"{shape[2]}; set data.image_size to resize all images"
    )


def _damaged(place: str, error: Exception) -> DataError:
    return DataError(f"{place} is a damaged image: {' '.join(str(error).split())}")
