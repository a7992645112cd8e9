"""The data of a run, read once: trials, front and parameters, for the texts and figures of the report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morel_search._format import number_of
from morel_search.analysis.front import front_mask
from morel_search.analysis.hypervolume import hypervolume
from morel_search.analysis.parameters import SearchedParameter, read_parameters
from morel_search.results.cells import whole_number
from morel_search.results.folder import RunFolder
from morel_search.results.mixtures import MixtureEntry, read_mixtures
from morel_search.results.names import member_name
from morel_search.results.rivals import RivalEntry, read_rivals
from morel_search.results.settings import RunSettings
from morel_search.results.tables import ACCURACIES, LAST_ACCURACIES, TEST_ACCURACIES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LAST", "POINT", "TEST", "NetworkEntry", "Row", "RunData", "read_run_data"]

POINT = list(ACCURACIES)
"""Columns of a point: clean and robust accuracy on the validation split."""

LAST = list(LAST_ACCURACIES)
"""Columns of the accuracies of the last epoch, under the quick attack."""

TEST = list(TEST_ACCURACIES)
"""Columns of clean and robust accuracy on the test split."""

Row = Mapping[Hashable, Any]
"""A row of a table, as ``to_dict("records")`` of pandas returns it."""


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """A network whose weights are kept: a member of the front, or a control.

    Attributes:
        name: Name of its folder.
        number: Number of the trial.
        epoch: Epoch of the trial; None when it is not known.
        member: Whether the network is on the validation front.
        label: Name of the control; empty for other trials.
        validation: Clean and robust validation accuracy.
        test: Clean and robust test accuracy; None when they are not known.
    """

    name: str
    number: int
    epoch: int | None
    member: bool
    label: str
    validation: tuple[float, float]
    test: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class RunData:
    """The data of a run.

    Attributes:
        run: The run folder.
        settings: The settings of the run.
        trials: All finished trials, by number.
        epochs: All their epochs.
        front: The members of the front, from the highest to the lowest clean accuracy. The columns are those
            of ``trials``, with the epoch and the accuracies of the member. Several members can be epochs of
            one trial.
        parameters: The searched parameters.
        mixtures: The mixtures of its networks, from the highest to the lowest clean accuracy.
        rivals: The networks that the search did not train, with which a verification compares its networks.
    """

    run: RunFolder
    settings: RunSettings
    trials: pd.DataFrame
    epochs: pd.DataFrame
    front: pd.DataFrame
    parameters: tuple[SearchedParameter, ...]
    mixtures: tuple[MixtureEntry, ...] = ()
    rivals: tuple[RivalEntry, ...] = ()

    def section(self, name: str) -> Mapping[str, object]:
        """Return a section of the resolved space file, such as ``search``; empty when the space lacks it."""
        return self.settings.section(name)

    @property
    def select_epoch(self) -> str:
        """The epoch selection rule; with ``front`` every epoch of a trial can be a member of the front."""
        return self.settings.select_epoch

    @property
    def constraints(self) -> Mapping[str, str]:
        """The constraints: the name of a value, and its bound, such as ``>= 4/5``."""
        return {str(name): str(bound) for name, bound in self.section("constraints").items()}

    @property
    def rungs(self) -> list[int]:
        """The epochs at which early stopping compares trials; empty without early stopping."""
        return list(self.settings.rungs)

    @property
    def complete(self) -> pd.DataFrame:
        """The trials with a result."""
        return self.trials[(self.trials["state"] == "COMPLETE") & self.trials[POINT].notna().all(axis=1)]

    @property
    def feasible(self) -> pd.DataFrame:
        """The complete trials that satisfy the constraints; only they can be on the front."""
        complete = self.complete
        return complete[~_violates(complete)]

    @property
    def infeasible(self) -> pd.DataFrame:
        """The complete trials that violate a constraint."""
        complete = self.complete
        return complete[_violates(complete)]

    @property
    def searched(self) -> pd.DataFrame:
        """The complete trials that are not controls."""
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
        """Whether any member of the front has test accuracies."""
        return bool(self.front[TEST].notna().all(axis=1).any())

    @property
    def hypervolume(self) -> float:
        """Hypervolume of the front; of all feasible trials when there is no front."""
        rows = self.front if len(self.front) else self.feasible
        return hypervolume(rows[POINT].to_numpy(dtype=float))

    @property
    def control_hypervolume(self) -> float:
        """Hypervolume of the controls alone."""
        numbers, counted = set(self.controls["number"]), self.counted
        return hypervolume(
            [point for number, points in counted.items() if number in numbers for point in points]
        )

    @property
    def counted(self) -> Mapping[int, Sequence[tuple[float, float]]]:
        """The points of each feasible trial; with ``select_epoch: front`` those of its epochs as well.

        An epoch that no member of the front dominates or equals is left out: the search excluded it, for
        example because it violates a constraint.
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

    @property
    def networks(self) -> list[NetworkEntry]:
        """The members of the front, from the highest clean accuracy to the lowest, then the controls."""
        entries: dict[str, NetworkEntry] = {}
        for rows, member in ((self.front, True), (self.controls, False)):
            for _, row in rows.iterrows():
                entry = self._entry(row, member)
                entries.setdefault(entry.name, entry)
        return list(entries.values())

    def _entry(self, row: pd.Series[float], member: bool) -> NetworkEntry:
        test_clean, test_robust = (float(row[column]) for column in TEST)
        return NetworkEntry(
            name=self.network(row["number"], row["epoch"]),
            number=int(row["number"]),
            epoch=whole_number(row["epoch"]),
            member=member,
            label=str(row["name"]) if str(row["origin"]) == "control" else "",
            validation=(float(row[POINT[0]]), float(row[POINT[1]])),
            test=None if np.isnan(test_clean) or np.isnan(test_robust) else (test_clean, test_robust),
        )

    @property
    def validation_images(self) -> int | None:
        """Number of validation images; None when neither the settings nor the space give it."""
        images = self.settings.validation_images
        count = number_of(self.section("data").get("validation") if images is None else images)
        return None if count is None or count < 2 else round(count)

    def on_front(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows of ``trials`` are on the front with their selected epoch."""
        members = set(_keys(self.front))
        return np.array([key in members for key in _keys(rows)], dtype=bool)

    def network(self, number: float, epoch: float | None) -> str:
        """Return the name of a network: ``12``, or ``12-7`` when several epochs of a trial can be members.

        Args:
            number: Its trial.
            epoch: Its epoch, or an empty cell of a table when it is not known.
        """
        several = self.select_epoch == "front" or bool(self.front["number"].duplicated().any())
        return member_name(int(number), whole_number(epoch), several)


def read_run_data(run: RunFolder) -> RunData:
    """Read a run folder, also while the search is running, after it failed, and before it is verified.

    The front is read from ``front.csv``, together with the test accuracies of its members. When that file has
    no row, the front is computed from the feasible trials.

    Raises:
        RunFolderError: A file of the folder is damaged.
    """
    settings = run.read_settings()
    trials = _unique(run.read_trials()).sort_values("number", kind="stable", ignore_index=True)
    parameters = tuple(
        parameter
        for parameter in read_parameters(settings.parameters)
        if parameter.column in trials.columns or trials.empty
    )
    written = _unique(run.read_front(), "epoch")
    trials = _with_test(trials, written)
    feasible = trials[
        (trials["state"] == "COMPLETE") & trials[POINT].notna().all(axis=1) & ~_violates(trials)
    ]
    front = _members(feasible, written)
    if front.empty:
        front = feasible[front_mask(feasible[POINT].to_numpy(dtype=float))]
    front = front.sort_values(
        [*POINT, "number", "epoch"], ascending=[False, True, True, True], ignore_index=True
    )
    mixtures, rivals = read_mixtures(run), read_rivals(run)
    return RunData(run, settings, trials, run.read_epochs(), front, parameters, mixtures, rivals)


def _unique(table: pd.DataFrame, *more: str) -> pd.DataFrame:
    """Keep the rows with a number; of equal numbers (or numbers and epochs), keep the last row."""
    return table[table["number"].notna()].drop_duplicates(["number", *more], keep="last")


def _violates(trials: pd.DataFrame) -> pd.Series[bool]:
    return trials["violation"].astype(float).fillna(0.0) > 0


def _keys(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Return number and epoch of each row; the epoch is -1 when it is not known."""
    return list(zip(rows["number"].astype(int), rows["epoch"].fillna(-1).astype(int), strict=True))


def _with_test(trials: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """Copy the test accuracies of ``front.csv`` to the trials with the same epoch."""
    trials = trials.copy()
    selected = dict(_keys(trials))
    same = np.array([epoch in (-1, selected.get(number)) for number, epoch in _keys(written)], dtype=bool)
    tested = _unique(written[same]).set_index("number")
    for column in TEST:
        values = trials["number"].map(tested[column].dropna()).astype(float)
        trials[column] = values.fillna(trials[column].astype(float))
    return trials


def _members(trials: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``front.csv`` with the columns of ``trials``, which fill in empty cells."""
    written = written[written["number"].isin(trials["number"])]
    rows = trials.set_index("number", drop=False).loc[written["number"]].reset_index(drop=True)
    given = written.reset_index(drop=True)
    other_epoch = given["epoch"].notna() & (given["epoch"] != rows["epoch"]).fillna(True)
    rows.loc[other_epoch, TEST] = np.nan  # the test accuracies of the trial belong to its selected epoch
    for column in ("epoch", *POINT, *TEST):
        rows[column] = given[column].fillna(rows[column])
    return rows
