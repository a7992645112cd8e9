"""The run folder: its names, atomic writes, and reading back; the only way in and out of it.

    results/NAME/
        space.yaml           the space file as given       settings.json    resolved settings, versions, hardware, commit
        study.db             the Optuna study              trials.csv       one row a finished trial
        epochs.csv           one row an epoch of a trial   front.csv        one row a member of the front
        front/NUMBER/        the members' weights          report.html, figures/
        controls/NUMBER/     the controls' weights         verified.csv     one row a verified network
        replicates.csv       one row a training of a member or a control with another seed
        verification/        what each attack did to each image of the test split, two files a network
        ray/                 Ray Tune's own folder, with checkpoints/

Accuracies are fractions in [0, 1]; empty cells mean "not known" or "does not apply".

A member of the front is an epoch of a trial. With ``search.select_epoch: front`` a trial may be there with several epochs, and the members'
weights lie in ``front/NUMBER-EPOCH/``.

Of a trial that was stopped early (state PRUNED), ``clean_accuracy``, ``robust_accuracy`` and ``epoch`` are empty, so that nothing
compares it with trials that ran to their end; ``last_clean_accuracy`` and ``last_robust_accuracy`` are what it had when it was stopped.
``rung`` is the highest rung that a training reached, ``spared`` the one at which it would have been stopped if it did not belong to
those that run through regardless, both in epochs. ``violation`` is the sum of the broken constraints, 0 where all hold; a trial that
breaks one is never on the front. Folders written before these three columns are read as if nothing was stopped or constrained.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search.errors import RunFolderError
from morel_search.results.files import hold_lock, os_error_sentence, read_table, write_atomically
from morel_search.results.renamed import RENAMED_ORIGINS, current_space

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EPOCH_COLUMNS",
    "FORMAT",
    "FRONT_COLUMNS",
    "ORIGINS",
    "REPLICATE_COLUMNS",
    "STATES",
    "TRIAL_COLUMNS",
    "RunFolder",
    "check_new_run",
    "create_run_folder",
    "front_columns",
    "member_name",
    "open_run_folder",
    "trial_columns",
]

FORMAT = 1
"""The format of the run folder, ``settings.json["format"]``; raised when a reader of the old one would go wrong."""

STATES = ("COMPLETE", "PRUNED", "FAIL")
ORIGINS = ("search", "control", "enqueued", "replicate")

_POINT = ("clean_accuracy", "robust_accuracy")
_TEST = ("test_clean_accuracy", "test_robust_accuracy")
_TRIAL_HEAD = (
    "number",
    "state",
    "origin",
    "name",
    "epochs",
    "epoch",
    *_POINT,
    "last_clean_accuracy",
    "last_robust_accuracy",
    *_TEST,
)
_TRIAL_TAIL = ("rung", "spared", "violation", "seconds", "seed", "failure")
_LATER = {"rung": "", "spared": "", "violation": "0"}

TRIAL_COLUMNS = (*_TRIAL_HEAD, *_TRIAL_TAIL)
"""Columns of ``trials.csv``; the parameters (``param_NAME``) stand before ``rung``, see :func:`trial_columns`."""

REPLICATE_COLUMNS = (*("network", "seed", "epoch"), *_POINT, *_TEST, "seconds", "failure")
"""Columns of ``replicates.csv``."""

EPOCH_COLUMNS = (
    *(
        "number",
        "epoch",
        "loss",
        "accuracy_loss",
        "robust_loss",
        "cosine_loss",
        "contrastive_loss",
        "lr",
        "train_accuracy",
    ),
    *(*_POINT, "seconds", "accuracy_gradient", "cosine_gradient", "contrastive_gradient"),
)
"""Columns of ``epochs.csv``."""

FRONT_COLUMNS = ("number", "origin", "name", "epoch", *_POINT, *_TEST)
"""Columns of ``front.csv``; the parameters (``param_NAME``) stand at the end, see :func:`front_columns`."""

_TEXT = ("state", "origin", "name", "failure")
_COUNTS = ("number", "epochs", "epoch", "rung", "spared", "seed")
LONGEST_TEXT = 20_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def trial_columns(parameters: Sequence[str]) -> list[str]:
    """Name all columns of ``trials.csv`` for parameters of those names, in order."""
    return [*_TRIAL_HEAD, *(f"param_{name}" for name in parameters), *_TRIAL_TAIL]


def front_columns(parameters: Sequence[str]) -> list[str]:
    """Name all columns of ``front.csv`` for parameters of those names, in order."""
    return [*FRONT_COLUMNS, *(f"param_{name}" for name in parameters)]


def member_name(number: int, epoch: int, several: bool) -> str:
    """Name a network as its folder in ``front/`` and ``controls/`` is named.

    Args:
        number: Its trial.
        epoch: Its epoch.
        several: Whether a trial may be on the front with several epochs (``search.select_epoch: front``).

    Returns:
        ``NUMBER-EPOCH`` if several, else ``NUMBER``.
    """
    return f"{number}-{epoch}" if several else str(number)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder. Make one with :func:`create_run_folder` or :func:`open_run_folder`.

    The ``write_`` methods take a path in the folder (``run.trials``, or a name relative to it), replace the file in one step, and raise
    :class:`RunFolderError` with one sentence when the disk is full, read-only or gone.

    Attributes:
        path: The folder, absolute.
    """

    path: Path

    @property
    def name(self) -> str:
        """The run's name, which is the folder's."""
        return self.path.name

    @property
    def space(self) -> Path:
        """The space file exactly as given."""
        return self.path / "space.yaml"

    @property
    def settings(self) -> Path:
        """Resolved settings, seeds, versions, hardware, commit."""
        return self.path / "settings.json"

    @property
    def study(self) -> Path:
        """The Optuna study, an SQLite file."""
        return self.path / "study.db"

    @property
    def trials(self) -> Path:
        """One row a finished trial."""
        return self.path / "trials.csv"

    @property
    def epochs(self) -> Path:
        """One row an epoch of a trial."""
        return self.path / "epochs.csv"

    @property
    def front(self) -> Path:
        """One row a member of the front."""
        return self.path / "front.csv"

    @property
    def front_models(self) -> Path:
        """Folder of the members' weights, one folder a member: ``NUMBER``, or ``NUMBER-EPOCH`` with ``search.select_epoch: front``."""
        return self.path / "front"

    @property
    def control_models(self) -> Path:
        """Folder of the controls' weights, one folder a control, named as those of the front are."""
        return self.path / "controls"

    @property
    def verification(self) -> Path:
        """Folder of what the attacks did, image by image: ``NETWORK.csv`` and ``NETWORK.json``."""
        return self.path / "verification"

    @property
    def verified(self) -> Path:
        """One row a verified network: accuracies on the test split with their intervals, flags, whether it is still on the front."""
        return self.path / "verified.csv"

    @property
    def replicates(self) -> Path:
        """One row a training of the front's networks and of the controls with another seed."""
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
        """Ray Tune's own folder."""
        return self.path / "ray"

    @property
    def checkpoints(self) -> Path:
        """Folder of the trials' checkpoints, one folder a trial number."""
        return self.ray / "checkpoints"

    def lock(self) -> AbstractContextManager[None]:
        """Keep every other process from writing this run, as a context manager.

        Raises:
            RunFolderError: On entry, when somebody has it; names the process.
        """
        return hold_lock(self.path / ".lock")

    def write_bytes(self, path: Path | str, data: bytes) -> None:
        """Replace a file of the folder in one step; missing folders below the run's are made."""
        target = self.path / path
        try:
            if target.parent != self.path:
                target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise os_error_sentence("write", target, error) from error
        write_atomically(target, data)

    def write_text(self, path: Path | str, text: str) -> None:
        """Replace a text file, in UTF-8; what UTF-8 cannot say is written as an escape."""
        self.write_bytes(path, text.encode("utf-8", "backslashreplace"))

    def write_json(self, path: Path | str, value: Any) -> None:
        """Replace a JSON file; a Fraction is written as ``8/255``, a path as text. NaN is a ValueError: it is not JSON."""
        self.write_text(
            path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
        )

    def write_table(self, path: Path | str, table: pd.DataFrame) -> None:
        """Replace a CSV file.

        Numbers keep every digit, whole numbers stay whole beside empty cells. Of texts, the first 20,000 characters are kept (a CSV
        reader's cells end somewhere), carriage returns become newlines, and null characters are left out.
        """
        table = table.copy()
        for column in table.columns.intersection(list(_COUNTS)):
            table[column] = table[column].astype("Float64").astype("Int64")
        for column in table.columns.intersection(list(_TEXT)):
            table[column] = table[column].map(
                lambda cell: cell[:LONGEST_TEXT] if isinstance(cell, str) else cell
            )
        text = table.to_csv(index=False, lineterminator="\n").replace("\0", "")
        self.write_text(path, text.replace("\r\n", "\n").replace("\r", "\n"))

    def read_settings(self) -> dict[str, Any]:
        """Read ``settings.json``.

        Raises:
            RunFolderError: It is missing, is no JSON object, or belongs to a newer format.
        """
        try:
            settings = json.loads(self.settings.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} is not a run folder: it has no settings.json") from error
        except OSError as error:
            raise os_error_sentence("read", self.settings, error) from error
        except ValueError as error:
            raise RunFolderError(f"{self.settings} is damaged: {error}") from error
        if not isinstance(settings, dict) or not isinstance(settings.get("format"), int):
            raise RunFolderError(
                f"{self.settings} is not the settings of a run: it has no whole number 'format'"
            )
        if settings["format"] > FORMAT:
            raise RunFolderError(
                f"{self.path} was written by a newer morel_search: it has format {settings['format']}, and this one reads up to {FORMAT}"
            )
        if isinstance(settings.get("space"), dict):
            settings["space"] = current_space(settings["space"])
        return settings

    def read_trials(self) -> pd.DataFrame:
        """Read ``trials.csv``; no row where it is not there yet. Columns that an older folder lacks are filled in."""
        return _current_origins(read_table(self.trials, TRIAL_COLUMNS, _TEXT, _COUNTS, _LATER))

    def read_epochs(self) -> pd.DataFrame:
        """Read ``epochs.csv``; no row where it is not there yet."""
        return read_table(self.epochs, EPOCH_COLUMNS, _TEXT, _COUNTS, dict.fromkeys(EPOCH_COLUMNS[-3:], ""))

    def read_front(self) -> pd.DataFrame:
        """Read ``front.csv``; no row where it is not there yet."""
        return _current_origins(read_table(self.front, FRONT_COLUMNS, _TEXT, _COUNTS))

    def read_replicates(self) -> pd.DataFrame:
        """Read ``replicates.csv``; no row where it is not there."""
        return read_table(self.replicates, REPLICATE_COLUMNS, ("network", "failure"), ("seed", "epoch"))


def check_new_run(results: Path, name: str) -> None:
    """Say early, and without writing anything, what :func:`create_run_folder` would refuse.

    Raises:
        RunFolderError: The name is not one, the folder exists, or it could not be made.
    """
    if not _NAME.fullmatch(name):
        raise RunFolderError(
            f"{name!r} cannot name a run: use 1 to 100 letters, digits, '.', '_', '+' or '-', and a letter or digit first"
        )
    folder = Path(results).absolute() / name
    if folder.exists():
        raise RunFolderError(f"{folder} exists already: --resume continues it, --name NAME starts another")
    existing = next(parent for parent in folder.parents if parent.exists())
    if not existing.is_dir():
        raise RunFolderError(f"{existing} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise os_error_sentence("make", folder, error) from error


def create_run_folder(results: Path, name: str) -> RunFolder:
    """Make a new, empty run folder.

    Args:
        results: The folder of all runs; made where it is missing.
        name: The run's name: letters, digits, ``.``, ``_``, ``+`` and ``-``, at most 100, the first a letter or a digit.

    Raises:
        RunFolderError: The name is not one, the folder exists, or it cannot be written to (nothing is left behind).
    """
    check_new_run(results, name)
    run = RunFolder(Path(results).absolute() / name)
    try:
        run.path.parent.mkdir(parents=True, exist_ok=True)
        run.path.mkdir()
    except FileExistsError as error:
        what = (
            "is not a folder"
            if not run.path.parent.is_dir()
            else "exists already: choose another name, or continue it with --resume"
        )
        raise RunFolderError(f"{run.path if run.path.parent.is_dir() else run.path.parent} {what}") from error
    except OSError as error:
        raise os_error_sentence("make", run.path, error) from error
    try:
        run.write_bytes(".probe", b"x" * 4096)
        (run.path / ".probe").unlink()
    except RunFolderError:
        run.path.rmdir()
        raise
    return run


def open_run_folder(path: Path) -> RunFolder:
    """Open the folder of a run that was made earlier.

    Raises:
        RunFolderError: It is missing, is not a run folder, is damaged, or was written in a newer format.
    """
    run = RunFolder(Path(path).absolute())
    if not run.path.is_dir():
        what = "is not a folder" if run.path.exists() else "does not exist"
        raise RunFolderError(f"{path} {what}{_neighbours(run.path.parent)}")
    run.read_settings()
    return run


def _current_origins(table: pd.DataFrame) -> pd.DataFrame:
    table["origin"] = table["origin"].replace(RENAMED_ORIGINS)
    return table


def _neighbours(folder: Path) -> str:
    try:
        names = sorted(entry.parent.name for entry in folder.glob("*/settings.json"))
    except OSError:
        names = []
    return f"; runs in {folder}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""


def _plain(value: Any) -> Any:
    if isinstance(value, (Fraction, Path)):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not a plain value: {value!r}")
