"""The attacked test images of a run as a file, ``verification/pictures.json``."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from morel_search._format import shortened
from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.json_values import Object, get_list, get_text, get_whole, read_json
from morel_search.results.pictures import (
    LONGEST_NAME,
    MOST_IMAGES,
    MOST_NETWORKS,
    MOST_SIDE,
    PIXEL_BYTES,
    CleanImage,
    NetworkPictures,
    Picture,
    Pictures,
    Pixels,
    Prediction,
)

__all__ = ["FILE", "read_pictures", "write_pictures"]

Entry = TypeVar("Entry")

FILE = "pictures.json"
"""Name of the file in ``verification/``."""

FORMAT = 1

LARGEST_FILE = 2 * PIXEL_BYTES
"""Largest size of a file that is read, in bytes."""


def write_pictures(run: RunFolder, pictures: Pictures) -> None:
    """Replace the file of the pictures."""
    first = pictures.images[0].pixels
    run.write_json(
        run.verification / FILE,
        {
            "format": FORMAT,
            **{key: getattr(pictures, key) for key in ("norm", "epsilon", "steps", "targets", "data")},
            "passed_over": pictures.passed_over,
            "reduction": pictures.reduction,
            "shape": list(first.shape),
            "images": [
                {
                    "index": image.index,
                    "label": image.label,
                    "name": shortened(image.name, LONGEST_NAME),
                    "pixels": _encoded(image.pixels),
                }
                for image in pictures.images
            ],
            "networks": [
                {
                    "name": network.name,
                    "weights": network.weights,
                    "pictures": [
                        {
                            "pixels": _encoded(picture.pixels),
                            "before": _prediction_json(picture.before),
                            "after": _prediction_json(picture.after),
                        }
                        for picture in network.pictures
                    ],
                }
                for network in pictures.networks
            ],
        },
    )


def read_pictures(run: RunFolder) -> Pictures | None:
    """Read the attacked images of a run; None without the file, or if a newer version wrote it.

    Raises:
        RunFolderError: The file is damaged, or cannot be read.
    """
    path = run.verification / FILE
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise RunFolderError(f"{path} has more than {LARGEST_FILE:,} bytes")
        values = read_json(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_error_sentence("read", path, error) from error
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged: {error}") from error
    try:
        return _pictures(values)
    except RunFolderError as error:
        raise RunFolderError(f"{path} {error}") from None


def _pictures(values: object) -> Pictures | None:
    root = _object(values, "it")
    if _whole(root, "format", 1) > FORMAT:
        return None
    norm = _text(root, "norm")
    if norm not in ("linf", "l2"):
        raise _damaged("norm", "linf or l2")
    shape = _shape(root)
    images = _each(root, "images", MOST_IMAGES, lambda entry: _image(entry, shape))
    networks = _each(root, "networks", MOST_NETWORKS, lambda entry: _network(entry, shape, len(images)))
    return Pictures(
        norm=norm,
        epsilon=_text(root, "epsilon"),
        steps=_whole(root, "steps"),
        targets=_whole(root, "targets"),
        data=_text(root, "data"),
        passed_over=_whole(root, "passed_over"),
        reduction=_whole(root, "reduction", 1),
        images=images,
        networks=networks,
    )


def _shape(root: Object) -> tuple[int, int, int]:
    sides = get_list(root, "shape")
    if len(sides) == 3:
        channels, height, width = (side if type(side) is int else 0 for side in sides)
        if channels in (1, 3) and 1 <= height <= MOST_SIDE and 1 <= width <= MOST_SIDE:
            return channels, height, width
    raise _damaged("shape", f"1 or 3 channels, and a height and a width from 1 to {MOST_SIDE}")


def _image(entry: Object, shape: tuple[int, int, int]) -> CleanImage:
    return CleanImage(
        _whole(entry, "index"), _whole(entry, "label"), _name(entry), _decoded(_text(entry, "pixels"), shape)
    )


def _network(entry: Object, shape: tuple[int, int, int], images: int) -> NetworkPictures:
    pictures = _each(entry, "pictures", MOST_IMAGES, lambda picture: _picture(picture, shape))
    if len(pictures) != images:
        raise _damaged("pictures", f"a list of {images} pictures, one for each image")
    return NetworkPictures(_text(entry, "name"), _text(entry, "weights"), pictures)


def _picture(entry: Object, shape: tuple[int, int, int]) -> Picture:
    before, after = (_prediction(_object(entry.get(key), key)) for key in ("before", "after"))
    return Picture(_decoded(_text(entry, "pixels"), shape), before, after)


def _prediction(entry: Object) -> Prediction:
    probability = entry.get("probability")
    if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise _damaged("probability", "a number from 0 to 1")
    return Prediction(_whole(entry, "label"), _name(entry), float(probability))


def _prediction_json(prediction: Prediction) -> dict[str, object]:
    known = prediction.probability if math.isfinite(prediction.probability) else 0.0
    return {
        "label": prediction.label,
        "name": shortened(prediction.name, LONGEST_NAME),
        "probability": known,
    }


def _each(values: Object, key: str, most: int, read: Callable[[Object], Entry]) -> tuple[Entry, ...]:
    entries = get_list(values, key)
    if not 1 <= len(entries) <= most:
        raise _damaged(key, f"a list of 1 to {most} objects")
    return tuple(read(_object(entry, key)) for entry in entries)


def _object(value: object, key: str) -> Object:
    if not isinstance(value, dict):
        raise _damaged(key, "an object")
    return value


def _text(values: Object, key: str) -> str:
    return get_text(values, key) or ""


def _name(values: Object) -> str:
    return shortened(get_text(values, "name") or "", LONGEST_NAME)


def _whole(values: Object, key: str, least: int = 0) -> int:
    value = get_whole(values, key)
    if value is None or value < least:
        raise _damaged(key, f"a whole number from {least} on")
    return value


def _encoded(pixels: Pixels) -> str:
    return base64.b64encode(pixels.tobytes()).decode("ascii")


def _decoded(text: str, shape: tuple[int, int, int]) -> Pixels:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != math.prod(shape):
        raise _damaged("pixels", f"{math.prod(shape)} bytes in base64")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _damaged(key: str, expected: str) -> RunFolderError:
    return RunFolderError(f"is damaged: '{key}' must be {expected}")
