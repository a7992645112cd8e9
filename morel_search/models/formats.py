"""Networks in the formats of other runtimes: ONNX, and the exported program of torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from morel_search.errors import NetworkError, ResourceError

__all__ = ["FORMATS", "check_format", "save_onnx", "save_program"]


def save_program(model: nn.Module, image_shape: Sequence[int], path: Path) -> None:
    """Write the exported program of ``torch.export``, for batches of any size.

    ``torch.export.load(path).module()`` runs it without this project.

    Args:
        model: The network.
        image_shape: Channels, height and width.
        path: The file.

    Raises:
        NetworkError: ``torch.export`` cannot trace the network.
    """
    torch.export.save(_exported(model, image_shape), path)


def save_onnx(model: nn.Module, image_shape: Sequence[int], path: Path) -> None:
    """Write an ONNX graph for batches of any size.

    Its input is ``images`` in [0, 1], its output ``logits``; the first side of both is called ``batch``.

    Args:
        model: The network.
        image_shape: Channels, height and width.
        path: The file.

    Raises:
        NetworkError: The network cannot be traced, or has an operation that ONNX lacks.
    """
    traced = _exported(model, image_shape)
    try:
        program = torch.onnx.export(
            traced,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: "batch"},),  # for a traced network, torch takes the name alone from this
            dynamo=True,
            verbose=False,
        )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise NetworkError(f"this network cannot be written as ONNX: {_first_line(error)}") from error
    assert program is not None, "with dynamo=True, torch returns a program"
    program.save(path, external_data=False)


FORMATS: dict[str, tuple[str, Callable[[nn.Module, Sequence[int], Path], None]]] = {
    "onnx": ("model.onnx", save_onnx),
    "torch_export": ("model.pt2", save_program),
}
"""For each format, the name of its file and the function that writes it."""


def check_format(name: str) -> None:
    """Check that the packages that a format requires are installed.

    Raises:
        ResourceError: A package is not installed.
    """
    missing = [package for package in ("onnx", "onnxscript") if name == "onnx" and find_spec(package) is None]
    if missing:
        raise ResourceError(
            f"ONNX needs {' and '.join(missing)}, which is not installed: pip install 'morel-search[onnx]'"
        )


def _exported(model: nn.Module, image_shape: Sequence[int]) -> torch.export.ExportedProgram:
    """Trace a network.

    The strict mode, which is slower and reads the bytecode, is tried second: it also traces Python code such
    as ``len(x)``.

    Raises:
        NetworkError: Both modes fail.
    """
    images = torch.zeros(2, *image_shape)  # with one image, torch would make the batch size a constant
    batches = ({0: torch.export.Dim("batch", min=1)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(model.eval(), (images,), dynamic_shapes=batches)
        except Exception:
            pass
        try:
            return torch.export.export(model.eval(), (images,), dynamic_shapes=batches, strict=True)
        except Exception as error:  # the code of a user's network can raise any error
            raise NetworkError(f"torch.export cannot trace this network: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
