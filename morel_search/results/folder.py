"""The run folder: the paths of its files, atomic writes, and reading.

    results/NAME/
        space.yaml           the space file as given
        settings.json        resolved settings, versions, hardware, commit
        study.db             the Optuna study
        trials.csv           one row per finished trial
        epochs.csv           one row per epoch of a trial
        front.csv            one row per member of the front
        front/NUMBER/        weights of a member
        controls/NUMBER/     weights of a control
        mixtures/NAME/       weights of a mixture of two of these networks, such as 33+2@30
        teacher/             a copy of the network of train.teacher
        verified.csv         one row per verified network
        rivals.json          networks that the search did not train, verified beside these
        verification/        results of the attacks on each image of the test split, two files per network,
                             and attacked images of some networks, pictures.json
        replicates.csv       one row per training of a member or a control with another seed
        trackers/            what each tracker was sent; see :mod:`morel_search.tracking`
        report.html          the report; figures/ has its figure for papers, and its data as CSV
        ray/                 Ray Tune's own folder, with checkpoints/

The columns of the tables are in :mod:`morel_search.results.tables`, the keys of ``settings.json`` in
:mod:`morel_search.results.settings`.

A member of the front is one epoch of a trial. With ``search.select_epoch: front`` several epochs of a trial
can be members, and their weights are in ``front/NUMBER-EPOCH/``.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.errors import RunFolderError
from morel_search.results import tables
from morel_search.results.files import hold_lock, kind_of_path, os_error_sentence, write_atomically
from morel_search.results.json_values import read_json
from morel_search.results.links import check_inside, check_links
from morel_search.results.settings import RunSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunFolder", "open_run_folder"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run.

    Make one with :func:`open_run_folder`, or with :func:`morel_search.results.new_run.create_run_folder`.

    The ``write_`` methods take a path in the folder (``run.trials``, or a name relative to the folder),
    replace the file in one step, and raise :class:`RunFolderError` with one sentence when the file cannot be
    written.

    Attributes:
        path: The folder, absolute.
    """

    path: Path

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        return self.path.name

    @property
    def space(self) -> Path:
        """The space file exactly as given."""
        return self.path / "space.yaml"

    @property
    def settings(self) -> Path:
        """The file of the settings; see :meth:`read_settings`."""
        return self.path / "settings.json"

    @property
    def study(self) -> Path:
        """The Optuna study, an SQLite file."""
        return self.path / "study.db"

    @property
    def trials(self) -> Path:
        """The table with one row per finished trial."""
        return self.path / "trials.csv"

    @property
    def epochs(self) -> Path:
        """The table with one row per epoch of a trial."""
        return self.path / "epochs.csv"

    @property
    def front(self) -> Path:
        """The table with one row per member of the front."""
        return self.path / "front.csv"

    @property
    def front_models(self) -> Path:
        """Folder of the members' weights.

        It has one folder per member: ``NUMBER``, or ``NUMBER-EPOCH`` with ``search.select_epoch: front``.
        """
        return self.path / "front"

    @property
    def control_models(self) -> Path:
        """Folder of the controls' weights; one folder per control, named as in :attr:`front_models`."""
        return self.path / "controls"

    @property
    def mixture_models(self) -> Path:
        """Folder of the mixtures' weights; names are those of :func:`~.names.mixture_name`."""
        return self.path / "mixtures"

    @property
    def rivals(self) -> Path:
        """The rivals that verifications have attacked; see :mod:`morel_search.results.rivals`."""
        return self.path / "rivals.json"

    @property
    def teacher(self) -> Path:
        """Copy of the folder of ``train.teacher``, from which all trainings of the run read it."""
        return self.path / "teacher"

    @property
    def verification(self) -> Path:
        """Folder of the attacks' results, image by image: ``NETWORK.csv`` and ``NETWORK.json``."""
        return self.path / "verification"

    @property
    def verified(self) -> Path:
        """The table with one row per verified network."""
        return self.path / "verified.csv"

    @property
    def replicates(self) -> Path:
        """The table with one row per training of a member or a control with another seed."""
        return self.path / "replicates.csv"

    @property
    def report(self) -> Path:
        """The report, one self-contained page."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Folder of the figures for papers."""
        return self.path / "figures"

    @property
    def ray(self) -> Path:
        """Folder of Ray Tune."""
        return self.path / "ray"

    @property
    def checkpoints(self) -> Path:
        """Folder of the trials' checkpoints; one folder per trial, named by its number."""
        return self.ray / "checkpoints"

    def lock(self) -> AbstractContextManager[None]:
        """Return a context manager that prevents every other process from writing to this folder.

        Raises:
            RunFolderError: A link leads out of the folder, or, on entry, another process holds the lock; the
                message has its process id.
        """
        check_links(self.path)
        return hold_lock(self.path / ".lock", folder=True)

    def write_bytes(self, path: Path | str, data: bytes) -> None:
        """Replace a file of the folder in one step; create missing folders below the folder of the run."""
        target = self.path / path
        check_inside(self.path, target)
        try:
            if target.parent != self.path:
                target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise os_error_sentence("write", target, error) from error
        write_atomically(target, data)

    def write_text(self, path: Path | str, text: str) -> None:
        """Replace a text file, in UTF-8; characters that UTF-8 cannot encode are written as escapes."""
        self.write_bytes(path, text.encode("utf-8", "backslashreplace"))

    def write_json(self, path: Path | str, value: object) -> None:
        """Replace a JSON file.

        A Fraction is written as a text such as ``8/255``, a path as a text, a set as a sorted list, and a
        NumPy scalar as a number.

        Raises:
            ValueError: A number is NaN or infinite, which JSON cannot hold.
            TypeError: A value has another type.
        """
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
        self.write_text(path, text + "\n")

    def write_table(self, path: Path | str, table: pd.DataFrame) -> None:
        """Replace a CSV file; see :func:`morel_search.results.tables.table_text`."""
        self.write_text(path, tables.table_text(table))

    def write_settings(self, settings: RunSettings) -> None:
        """Replace ``settings.json``."""
        self.write_json(self.settings, settings.to_json())

    def read_settings(self) -> RunSettings:
        """Read and check ``settings.json``.

        Raises:
            RunFolderError: The file is missing, is not valid, or has a newer format.
        """
        try:
            values = read_json(self.settings)
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} is not a run folder: it has no settings.json") from error
        except OSError as error:
            raise os_error_sentence("read", self.settings, error) from error
        except ValueError as error:
            raise RunFolderError(f"{self.settings} is damaged: {error}") from error
        try:
            return RunSettings.from_json(values)
        except RunFolderError as error:
            raise RunFolderError(f"{self.settings} {error}") from None

    def read_trials(self) -> pd.DataFrame:
        """Read ``trials.csv``; the table has no row when the file does not exist."""
        return tables.read_trials(self.trials)

    def read_epochs(self) -> pd.DataFrame:
        """Read ``epochs.csv``; the table has no row when the file does not exist."""
        return tables.read_epochs(self.epochs)

    def read_front(self) -> pd.DataFrame:
        """Read ``front.csv``; the table has no row when the file does not exist."""
        return tables.read_front(self.front)

    def read_replicates(self) -> pd.DataFrame:
        """Read ``replicates.csv``; the table has no row when the file does not exist."""
        return tables.read_replicates(self.replicates)

    def read_verified(self) -> pd.DataFrame:
        """Read ``verified.csv``; the table has no row when the file does not exist."""
        return tables.read_verified(self.verified)


def open_run_folder(path: Path) -> RunFolder:
    """Open an existing run folder.

    Raises:
        RunFolderError: The folder is missing, is not a run folder, is damaged, or has a newer format.
    """
    run = RunFolder(Path(path).absolute())
    kind = kind_of_path(run.path)
    if kind != "folder":
        problem = "is a file, not a run folder" if kind else "does not exist"
        raise RunFolderError(f"{path} {problem}{_runs_in(run.path.parent)}")
    run.read_settings()
    return run


def _runs_in(folder: Path) -> str:
    """Return a clause that lists up to five runs of a folder; empty when it has none."""
    try:
        names = sorted(entry.parent.name for entry in folder.glob("*/settings.json"))
    except OSError:
        return ""
    if not names:
        return ""
    return f"; runs in {folder}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"


def _plain(value: object) -> object:
    """Convert a value for JSON."""
    if isinstance(value, Fraction | Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"JSON cannot hold a value of type {type(value).__name__}: {value!r}")
