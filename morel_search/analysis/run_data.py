"""A run, read once: its trials, its front and its parameters, in the form that words and figures are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.front import front_mask
from morel_search.analysis.hypervolume import hypervolume
from morel_search.analysis.parameters import SearchedParameter, read_parameters
from morel_search.results.folder import RunFolder
from morel_search.results.settings import RunSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["POINT", "TEST", "RunData", "read_run_data"]

POINT = ["clean_accuracy", "robust_accuracy"]
TEST = ["test_clean_accuracy", "test_robust_accuracy"]


@dataclass(frozen=True, slots=True)
class RunData:
    """What a report needs to know of a run.

    Attributes:
        run: Its folder.
        settings: ``settings.json``.
        trials: Every finished trial, by number.
        epochs: Every epoch of them.
        front: The members of the front, from the most accurate to the most robust: columns of ``trials``, with the epoch and the
            accuracies of the member. Several may be epochs of one trial.
        parameters: The searched parameters.
    """

    run: RunFolder
    settings: RunSettings
    trials: pd.DataFrame
    epochs: pd.DataFrame
    front: pd.DataFrame
    parameters: tuple[SearchedParameter, ...]

    def section(self, name: str) -> Mapping[str, object]:
        """Return a section of the resolved space file, such as ``search``; empty when the space lacks it."""
        return self.settings.section(name)

    @property
    def select_epoch(self) -> str:
        """The rule by which a training stands for one of its epochs, or with ``front`` for several."""
        return self.settings.select_epoch

    @property
    def constraints(self) -> Mapping[str, str]:
        """What a network must keep to: name to bound, such as ``>= 4/5``."""
        return {str(name): str(bound) for name, bound in self.section("constraints").items()}

    @property
    def rungs(self) -> list[int]:
        """The epochs at which early stopping compares trainings; none where nothing could be stopped."""
        return list(self.settings.rungs)

    @property
    def complete(self) -> pd.DataFrame:
        """The trials with a result."""
        return self.trials[(self.trials["state"] == "COMPLETE") & self.trials[POINT].notna().all(axis=1)]

    @property
    def feasible(self) -> pd.DataFrame:
        """The complete trials that keep to the constraints; only they can be on the front."""
        complete = self.complete
        return complete[~_breaks(complete)]

    @property
    def infeasible(self) -> pd.DataFrame:
        """The complete trials that break a constraint."""
        complete = self.complete
        return complete[_breaks(complete)]

    @property
    def searched(self) -> pd.DataFrame:
        """The complete trials that the search proposed."""
        complete = self.complete
        return complete[complete["origin"] != "control"]

    @property
    def controls(self) -> pd.DataFrame:
        """The complete control trials."""
        complete = self.complete
        return complete[complete["origin"] == "control"]

    @property
    def failed(self) -> pd.DataFrame:
        """The failed trials."""
        return self.trials[self.trials["state"] == "FAIL"]

    @property
    def stopped(self) -> pd.DataFrame:
        """The trials that were stopped early."""
        return self.trials[self.trials["state"] == "PRUNED"]

    @property
    def tested(self) -> bool:
        """Whether any member of the front was measured on the test split."""
        return bool(self.front[TEST].notna().all(axis=1).any())

    @property
    def hypervolume(self) -> float:
        """The hypervolume of the whole search: of the front, where there is one."""
        rows = self.front if len(self.front) else self.feasible
        return hypervolume(rows[POINT].to_numpy(dtype=float))

    @property
    def control_hypervolume(self) -> float:
        """The hypervolume of the controls alone."""
        numbers, counted = set(self.controls["number"]), self.counted
        return hypervolume(
            [point for number, points in counted.items() if number in numbers for point in points]
        )

    @property
    def counted(self) -> Mapping[int, Sequence[tuple[float, float]]]:
        """What each trial that keeps to the constraints stands for: its own point, and with the rule ``front`` those of its epochs.

        Of the epochs only those that do not lie beyond the written front: whatever does was left out of it for a reason.
        """
        feasible = self.feasible
        rows = [feasible[["number", *POINT]], self.front[["number", *POINT]]]
        if self.select_epoch == "front" and len(self.front):
            epochs = self.epochs[self.epochs["number"].isin(feasible["number"])].dropna(subset=POINT)
            values, front = epochs[POINT].to_numpy(dtype=float), self.front[POINT].to_numpy(dtype=float)
            within = np.any(np.all(values[:, None] <= front[None], axis=2), axis=1)
            rows.append(epochs[["number", *POINT]][within])
        counted: dict[int, list[tuple[float, float]]] = {}
        for table in rows:
            for number, clean, robust in zip(*(table[column] for column in ("number", *POINT)), strict=True):
                counted.setdefault(int(number), []).append((float(clean), float(robust)))
        return counted

    def on_front(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of ``trials`` are on the front with the epoch that they stand for."""
        members = set(_keys(self.front))
        return np.array([key in members for key in _keys(rows)], dtype=bool)

    def network(self, number: Any, epoch: Any) -> str:
        """Name a network as its folder in ``front/`` is named: ``12``, or ``12-7`` where epochs count one by one."""
        import pandas as pd

        several = self.select_epoch == "front" or self.front["number"].duplicated().any()
        return str(number) if pd.isna(epoch) or not several else f"{number}-{epoch}"


def read_run_data(run: RunFolder) -> RunData:
    """Read a run folder; also that of a search which still runs, has failed, or was never verified.

    The front is ``front.csv`` where that has rows, else it is found among the trials. A member's test accuracies come from there too.
    Trials that were stopped early or break a constraint are never on it.

    Raises:
        RunFolderError: A file of the folder is damaged.
    """
    settings = run.read_settings()
    trials = _unique(run.read_trials()).sort_values("number", kind="stable", ignore_index=True)
    parameters = tuple(
        one for one in read_parameters(settings.parameters) if one.column in trials.columns or trials.empty
    )
    written = _unique(run.read_front(), "epoch")
    trials = _with_test(trials, written)
    able = trials[(trials["state"] == "COMPLETE") & trials[POINT].notna().all(axis=1) & ~_breaks(trials)]
    front = _members(able, written)
    if front.empty:
        front = able[front_mask(able[POINT].to_numpy(dtype=float))]
    front = front.sort_values(
        [*POINT, "number", "epoch"], ascending=[False, True, True, True], ignore_index=True
    )
    return RunData(run, settings, trials, run.read_epochs(), front, parameters)


def _unique(table: pd.DataFrame, *more: str) -> pd.DataFrame:
    """Keep the rows that have a number, the last one of each (or of each number and epoch)."""
    return table[table["number"].notna()].drop_duplicates(["number", *more], keep="last")


def _breaks(trials: pd.DataFrame) -> pd.Series[bool]:
    return trials["violation"].astype(float).fillna(0.0) > 0


def _keys(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Number and epoch of each row; the epoch is -1 where it is not known."""
    return list(zip(rows["number"].astype(int), rows["epoch"].fillna(-1).astype(int), strict=True))


def _with_test(trials: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """Fill in the test accuracies of ``front.csv`` where it has any for the epoch that a trial stands for."""
    trials = trials.copy()
    own = dict(_keys(trials))
    same = np.array([epoch in (-1, own.get(number)) for number, epoch in _keys(written)], dtype=bool)
    known = _unique(written[same]).set_index("number")
    for column in TEST:
        found = trials["number"].map(known[column].dropna()).astype(float)
        trials[column] = found.fillna(trials[column].astype(float))
    return trials


def _members(trials: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``front.csv`` with what ``trials`` knows beside it; what a row does not say is as in its trial."""
    written = written[written["number"].isin(trials["number"])]
    rows = trials.set_index("number", drop=False).loc[written["number"]].reset_index(drop=True)
    given = written.reset_index(drop=True)
    other = given["epoch"].notna() & (given["epoch"] != rows["epoch"]).fillna(True)
    rows.loc[other, TEST] = np.nan  # the trial's are those of another epoch
    for column in ("epoch", *POINT, *TEST):
        rows[column] = given[column].fillna(rows[column])
    return rows
