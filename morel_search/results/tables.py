"""The tables of a run folder: the columns of each CSV file, and how a table is written as text and read back.

Accuracies are fractions in [0, 1]. An empty cell means that the value is not known or does not apply.

For a trial that was stopped early (state ``PRUNED``), ``clean_accuracy``, ``robust_accuracy`` and ``epoch``
are empty, so that it is not compared with trials that ran to their end. ``robust_accuracy`` of a finished
trial is measured with the final attack; ``last_clean_accuracy`` and ``last_robust_accuracy`` are the
accuracies of the last evaluated epoch under the quick attack, for a stopped trial those at its rung.
``rung`` is the highest rung that the trial reached. ``spared`` is the rung at which a trial would have been
stopped if it had not been exempt from early stopping (``early_stopping.run_through``). Both are in epochs.
``violation`` is the sum of the amounts by which the trial violates the constraints, 0 when it satisfies all
of them; a trial with a positive violation is never on the front. Folders that were written before these three
columns existed are read as if no trial had been stopped early or constrained.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.errors import RunFolderError
from morel_search.results.attack_names import STAGES, WHITE_BOX
from morel_search.results.cells import typed_column
from morel_search.results.csv_text import read_columns
from morel_search.results.files import os_error_sentence
from morel_search.results.reading import TABLE_BYTES, read_regular
from morel_search.results.renamed import RENAMED_ORIGINS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ACCURACIES",
    "COUNT_COLUMNS",
    "EPOCH_COLUMNS",
    "FRONT_COLUMNS",
    "LAST_ACCURACIES",
    "REPLICATE_COLUMNS",
    "STATES",
    "TEST_ACCURACIES",
    "TEXT_COLUMNS",
    "TRIAL_COLUMNS",
    "VERIFIED_COLUMNS",
    "front_columns",
    "read_epochs",
    "read_front",
    "read_replicates",
    "read_table",
    "read_trials",
    "read_verified",
    "table_text",
    "trial_columns",
]

ACCURACIES = ("clean_accuracy", "robust_accuracy")
"""Clean and robust accuracy on the validation split, or on the test split in ``verified.csv``."""

TEST_ACCURACIES = ("test_clean_accuracy", "test_robust_accuracy")
"""Clean and robust accuracy on the test split, under the final attack of the search."""

LAST_ACCURACIES = ("last_clean_accuracy", "last_robust_accuracy")
"""Clean and robust accuracy of the last epoch on the validation split, under the quick attack."""

STATES = ("COMPLETE", "PRUNED", "FAIL")
"""States of the trials in ``trials.csv``."""

_BEFORE_PARAMETERS = (
    *("number", "state", "origin", "name", "epochs", "epoch"),
    *ACCURACIES,
    *LAST_ACCURACIES,
    *TEST_ACCURACIES,
)
_AFTER_PARAMETERS = ("rung", "spared", "violation", "seconds", "seed", "failure")

TRIAL_COLUMNS = (*_BEFORE_PARAMETERS, *_AFTER_PARAMETERS)
"""Columns of ``trials.csv``, without the parameters (``param_NAME``), which precede ``rung``; see
:func:`trial_columns`."""

EPOCH_COLUMNS = (
    *("number", "epoch", "loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss", "lr"),
    *("train_accuracy", *ACCURACIES, "seconds"),
    *("accuracy_gradient", "cosine_gradient", "contrastive_gradient", "final_robust_accuracy"),
)
"""Columns of ``epochs.csv``; ``robust_accuracy`` is that under the quick attack, and
``final_robust_accuracy`` that under the final attack, for the selected epochs of finished trials."""

FRONT_COLUMNS = ("number", "origin", "name", "epoch", *ACCURACIES, *TEST_ACCURACIES)
"""Columns of ``front.csv``, without the parameters (``param_NAME``), which come last; see
:func:`front_columns`."""

REPLICATE_COLUMNS = ("network", "seed", "epoch", *ACCURACIES, *TEST_ACCURACIES, "seconds", "failure")
"""Columns of ``replicates.csv``."""

_VERIFIED_INTERVALS = (
    *("clean_accuracy", "clean_low", "clean_high"),
    *("robust_accuracy", "robust_low", "robust_high"),
)

_VERIFIED_IMAGES = (
    *("images", "late_images"),
    *(f"images_{attack.replace('-', '_')}" for attack in (*STAGES, "transfer")),
)

VERIFIED_COLUMNS = (
    *("number", "epoch", "name"),
    *_VERIFIED_IMAGES,
    *_VERIFIED_INTERVALS,
    *(f"after_{attack.replace('-', '_')}" for attack in WHITE_BOX),
    *("on_front", "verdict", "beaten_by", "flags", "not_run"),
)
"""Columns of ``verified.csv``. Accuracies are on the test split, under the attacks that ran; ``_low`` and
``_high`` are the ends of 95 % intervals; ``after_ATTACK`` is the accuracy after that attack and all attacks
before it. ``images`` is the number of images on which every network was attacked with every white-box attack,
``late_images`` of those with FAB-T and Square as well. ``images_ATTACK`` is the number of images on which an
attack counts, 0 if it was not run, empty if it does not apply to the network. ``not_run`` gives the reasons
of attacks that could not be run. ``on_front`` is whether an unflagged member was not beaten; ``verdict`` is
``on the front``, ``undecided``, ``beaten``, ``flagged``, ``control`` or ``rival``. A network that was not
verified has 0 images and no accuracies. A mixture or a rival has its own name in ``name`` and neither number
nor epoch; it is compared with all networks, and no single network is compared with it. The name of a rival
has no ``+``."""

_VERIFIED_REQUIRED = ("number", "epoch", "images", *_VERIFIED_INTERVALS, "flags")

TEXT_COLUMNS = (
    *(
        "state",
        "origin",
        "name",
        "network",
        "failure",
        "on_front",
        "verdict",
        "beaten_by",
        "flags",
        "not_run",
    ),
)
"""Columns that hold text, in every table."""

COUNT_COLUMNS = ("number", "epochs", "epoch", "rung", "spared", "seed", *_VERIFIED_IMAGES)
"""Columns that hold whole numbers or nothing, in every table."""

LONGEST_REASON = 300
"""Longest reason of a damaged table in a message, in characters."""

LONGEST_TEXT = 20_000
"""Longest text of a cell, in characters; CSV readers limit the size of a cell."""

_LATER_TRIAL_COLUMNS = {"rung": "", "spared": "", "violation": "0"}
_LATER_EPOCH_COLUMNS = dict.fromkeys(
    ("accuracy_gradient", "cosine_gradient", "contrastive_gradient", "final_robust_accuracy"), ""
)


def trial_columns(parameters: Sequence[str]) -> list[str]:
    """Return all columns of ``trials.csv`` in order, for parameters with these names."""
    return [*_BEFORE_PARAMETERS, *(f"param_{name}" for name in parameters), *_AFTER_PARAMETERS]


def front_columns(parameters: Sequence[str]) -> list[str]:
    """Return all columns of ``front.csv`` in order, for parameters with these names."""
    return [*FRONT_COLUMNS, *(f"param_{name}" for name in parameters)]


def table_text(table: pd.DataFrame) -> str:
    """Return a table as CSV text.

    Floats keep every digit, and whole numbers stay whole in columns with empty cells. A text is cut to its
    first 20,000 characters (:data:`LONGEST_TEXT`), carriage returns become newlines, and null characters are
    removed.
    """
    table = table.copy()
    for column in table.columns.intersection(list(COUNT_COLUMNS)):
        table[column] = table[column].astype("Float64").astype("Int64")
    for column in table.columns.intersection(list(TEXT_COLUMNS)):
        table[column] = table[column].map(lambda cell: cell[:LONGEST_TEXT] if isinstance(cell, str) else cell)
    text = table.to_csv(index=False, lineterminator="\n").replace("\0", "")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_trials(path: Path) -> pd.DataFrame:
    """Read ``trials.csv``; see :func:`read_table`."""
    return _current_origins(
        read_table(path, TRIAL_COLUMNS, TEXT_COLUMNS, COUNT_COLUMNS, _LATER_TRIAL_COLUMNS)
    )


def read_epochs(path: Path) -> pd.DataFrame:
    """Read ``epochs.csv``; see :func:`read_table`."""
    return read_table(path, EPOCH_COLUMNS, TEXT_COLUMNS, COUNT_COLUMNS, _LATER_EPOCH_COLUMNS)


def read_front(path: Path) -> pd.DataFrame:
    """Read ``front.csv``; see :func:`read_table`."""
    return _current_origins(read_table(path, FRONT_COLUMNS, TEXT_COLUMNS, COUNT_COLUMNS))


def read_replicates(path: Path) -> pd.DataFrame:
    """Read ``replicates.csv``; see :func:`read_table`."""
    return read_table(path, REPLICATE_COLUMNS, TEXT_COLUMNS, COUNT_COLUMNS)


def read_verified(path: Path) -> pd.DataFrame:
    """Read ``verified.csv``; see :func:`read_table`.

    Only the columns that are used to pick a network are required: numbers, images, accuracies, intervals,
    flags.
    """
    return read_table(path, _VERIFIED_REQUIRED, TEXT_COLUMNS, COUNT_COLUMNS)


def read_table(
    path: Path,
    columns: Sequence[str],
    text: Sequence[str],
    counts: Sequence[str],
    later: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read a CSV file, also one that Excel has saved again; see :mod:`morel_search.results.csv_text`.

    Args:
        path: The file. When it does not exist, the table has these columns and no row.
        columns: Required columns.
        text: Columns that hold text; an unknown value is the empty text.
        counts: Columns that hold whole numbers or nothing (pandas' nullable integers).
        later: Columns that older files lack, each with the cell to fill in.

    Returns:
        The table. Required columns outside ``text`` and ``counts`` are floats. Any other column, such as
        ``param_NAME``, is read as floats when all its cells are numbers, and as text otherwise.

    Raises:
        RunFolderError: The file cannot be read, or is not such a table.
    """
    import pandas as pd

    later = later or {}
    try:
        content = read_regular(path, TABLE_BYTES)
    except FileNotFoundError:
        content = ",".join(columns).encode()
    except OSError as error:
        raise os_error_sentence("read", path, error) from error
    try:
        # Not pandas.read_csv: which of its parsers keeps the last digit of a float, and the name of that
        # parser, change with the version of pandas.
        cells = read_columns(content, [name for name in columns if name not in later], {*later}, {*text})
        rows = len(next(iter(cells.values())))
        added = {name: cell for name, cell in later.items() if name not in cells}
        cells |= {name: (cell,) * rows for name, cell in added.items()}
        required = {*columns, *added}
        typed = {}
        for name in cells:
            kind = {"is_text": name in text, "is_count": name in counts, "is_required": name in required}
            typed[name] = typed_column(name, cells[name], **kind)
        return pd.DataFrame(typed)
    except (ValueError, TypeError, ArithmeticError, csv.Error) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunFolderError(f"{path} is damaged: {reason[:LONGEST_REASON]}") from error


def _current_origins(table: pd.DataFrame) -> pd.DataFrame:
    table["origin"] = table["origin"].replace(RENAMED_ORIGINS)
    return table
