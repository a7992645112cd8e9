"""A network in the formats of other runtimes: ONNX, and torch's own exported program."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morel_search.errors import NetworkError, ResourceError

__all__ = ["FORMATS", "check_format", "save_onnx", "save_program"]


def save_program(model: nn.Module, image_shape: Sequence[int], path: Path) -> None:
    """Write ``torch.export``'s program for batches of any size.

    ``torch.export.load(path).module()`` runs it without this project.
    """
    torch.export.save(_exported(model, image_shape), path)


def save_onnx(model: nn.Module, image_shape: Sequence[int], path: Path) -> None:
    """Write an ONNX graph for batches of any size: the input ``images`` in [0, 1], the output ``logits``."""
    traced = _exported(model, image_shape)
    try:
        program: Any = torch.onnx.export(
            traced, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise NetworkError(f"this network cannot be written as ONNX: {_first_line(error)}") from error
    program.save(path, external_data=False)


FORMATS: dict[str, tuple[str, Callable[[nn.Module, Sequence[int], Path], None]]] = {
    "onnx": ("model.onnx", save_onnx),
    "torch_export": ("model.pt2", save_program),
}
"""Name of a format to its file and what writes it."""


def check_format(name: str) -> None:
    """Say early what a format needs.

    Raises:
        ResourceError: A package is not installed.
    """
    missing = [package for package in ("onnx", "onnxscript") if name == "onnx" and find_spec(package) is None]
    if missing:
        raise ResourceError(
            f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'morel-search[onnx]'"
        )


def _exported(model: nn.Module, image_shape: Sequence[int]) -> torch.export.ExportedProgram:
    """Trace a network: quickly, or else through its bytecode, which also follows ``len(x)`` and more of Python."""
    images = torch.zeros(2, *image_shape)  # of one image torch would make a constant
    batches = ({0: torch.export.Dim("batch", min=1)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(model.eval(), (images,), dynamic_shapes=batches)
        except Exception:
            pass
        try:
            return torch.export.export(model.eval(), (images,), dynamic_shapes=batches, strict=True)
        except Exception as error:  # whatever a tracer stumbles over in somebody's own network
            raise NetworkError(f"torch.export cannot trace this network: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
