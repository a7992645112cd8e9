"""Find the trade-off between clean and robust accuracy of MOREL trainings.

The public Python interface is listed here and nowhere else:

- :func:`load_space`: read and check a space file;
- :func:`run_search`: run a search, or continue one, to its report;
- :func:`load_results`: read a run folder;
- :func:`load_model`: load a network as an ``nn.Module``.

Importing the package imports none of its dependencies; each function imports what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._version import __version__

if TYPE_CHECKING:
    from torch import nn

    from morel_search.analysis.report.results import Results
    from morel_search.config import Space

__all__ = ["__version__", "load_model", "load_results", "load_space", "run_search"]


def load_space(path: str | PathLike[str], overrides: Sequence[str] = ()) -> Space:
    """Read and check a space file; it is code, because the modules of its import paths are imported.

    Args:
        path: The space file (YAML).
        overrides: Settings that replace those of the file, such as ``"train.epochs=3"``; the last one wins.

    Returns:
        The checked space; ``space.warnings`` lists settings that are allowed and probably wrong.

    Raises:
        SpaceError: The file cannot be read or has faults; the message lists all of them.
    """
    from morel_search.config import load_space as load

    return load(Path(path), overrides)


def run_search(
    space: Space,
    *,
    name: str | None = None,
    results: str | PathLike[str] = "results",
    resume: bool = False,
    address: str | None = None,
    verbosity: int = 0,
) -> Results:
    """Run a search, draw its report, and return what it found.

    Ray starts on this machine and stops at the end, unless ``address`` names a running cluster. Call it from
    the main thread.

    Args:
        space: The checked space, from :func:`load_space`.
        name: Name of the run and of its folder; None takes the space file's name.
        results: Folder of all runs.
        resume: Continue the run of that name.
        address: Address of a Ray cluster, ``"auto"`` or ``"HOST:PORT"``; None starts Ray on this machine.
        verbosity: What is printed: 0 for warnings and the report's path, 1 for a line a trial, 2 for a line
            an epoch.

    Returns:
        The run's data, as :func:`load_results` returns it.

    Raises:
        MorelSearchError: The space, the data, the resources or the run folder are wrong.
        TrainingError: Too many trials in a row failed.
        ValueError: ``address`` is that of a Ray client (``ray://``), which the command line alone supports.
        KeyboardInterrupt: The search was interrupted; ``resume=True`` continues it.
    """
    from morel_search.errors import TrainingError
    from morel_search.workflows.request import Request
    from morel_search.workflows.search import execute

    if address is not None and address.startswith("ray://"):
        raise ValueError(
            f"address must be 'auto' or 'HOST:PORT', got {address!r}; use morel-search run --address"
        )
    request = Request(
        space=space,
        name=space.path.stem if name is None else name,
        results=Path(results).absolute(),
        resume=resume,
        address=address,
        verbosity=verbosity,
    )
    code = execute(request)
    if code == 1:
        raise TrainingError(
            f"too many trials in a row failed; their reasons are in {request.results / request.name}"
        )
    if code:
        raise KeyboardInterrupt
    return load_results(request.results / request.name)


def load_results(path: str | PathLike[str]) -> Results:
    """Read a run folder: settings, trials, epochs and front, without torch and Ray.

    Args:
        path: The run's folder, such as ``results/digits``.

    Returns:
        The run's data; ``trials``, ``epochs``, ``front`` and ``verified`` are pandas data frames with one
        type for each column, accuracies are fractions. In a notebook the object shows its front.

    Raises:
        RunFolderError: The folder is missing, damaged, or written by a newer version.
    """
    from morel_search.analysis.report.results import Results
    from morel_search.analysis.run_data import read_run_data
    from morel_search.results.folder import open_run_folder

    return Results.of(read_run_data(open_run_folder(Path(path))))


def load_model(folder: str | PathLike[str], *, trust_code: bool = False) -> nn.Module:
    """Load a network from an exported folder or from a run's ``front/NUMBER``.

    Needs torch, and neither Ray nor Optuna.

    Args:
        folder: The network's folder.
        trust_code: Whether code that the folder names may be run. A network by import path
            (``package.module:name``) is such code; read it first. Built-in networks need no consent.

    Returns:
        The network in eval mode on the CPU. Its input is a float tensor of images in [0, 1] with shape
        (N, channels, height, width), its output the logits, of shape (N, classes).

    Raises:
        NetworkError: The folder holds no network of this project, or its files are damaged or of a newer
            format.
        UntrustedCodeError: The network is code, and ``trust_code`` is False.
    """
    from morel_search._consent import consent_of
    from morel_search.models.load import load_model as load

    return load(Path(folder), consent_of(trust_code=trust_code))
