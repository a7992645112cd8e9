"""Reading the tensors of a file of safetensors or torch as data."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from morel_search._format import shortened
from morel_search.errors import NetworkError

__all__ = ["NO_DATA", "UNREADABLE", "is_compressed", "read_state_dict"]

UNREADABLE = (
    *(OSError, RuntimeError, EOFError, AttributeError, LookupError, TypeError, ValueError),
    *(ArithmeticError, MemoryError, pickle.UnpicklingError),
)
"""Errors of ``torch.load`` for a damaged file, and of the code that reads its content."""

NO_DATA = "it is damaged, or holds more than tensors and plain values"
"""The reason why ``torch.load`` refuses a file; its own text advises to load the file as code."""

NAMES = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Keys under which files hold the state dict of a network, beside that of an optimizer, say."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a network by their names.

    A file of torch may hold them directly, or below one key, such as ``state_dict``. Files of versions of
    torch before 1.6 are read too.

    Raises:
        NetworkError: The file is damaged, holds other objects than tensors and plain values, or no network.
    """
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if zipfile.is_zipfile(path) and is_compressed(path):
            raise NetworkError(f"cannot start from {path}: it is compressed, which torch.save does not do")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how a file was written that is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NetworkError(f"cannot start from {path}: {NO_DATA}") from error
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise NetworkError(f"cannot start from {path}: it cannot be read: {shortened(reason)}") from error
    return _tensors(path, content)


def is_compressed(path: Path) -> bool:
    """Return whether a ZIP archive is compressed, so that it may need much more memory than its size.

    Raises:
        OSError: The file cannot be read.
        zipfile.BadZipFile: It is damaged or no archive.
        NotImplementedError: Its version is above ZIP's latest.
    """
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    if _is_state_dict(content):
        return dict(content)
    inner = content if isinstance(content, Mapping) else {}
    known = {str(key): value for key, value in inner.items() if _is_state_dict(value)}
    for name in NAMES if len(known) > 1 else known:
        if name in known:
            return dict(known[name])
    found = f"several, {', '.join(map(shortened, known))}" if known else "none"
    raise NetworkError(
        f"cannot start from {path}: it must hold the state dict of one network, directly or below "
        f"{', '.join(NAMES)}; it has {found}"
    )


def _is_state_dict(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
