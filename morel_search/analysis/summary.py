"""A run, read once: its trials, its front and its parameters, in the form that words and figures are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morel_search.analysis.front import front_mask
from morel_search.analysis.hypervolume import hypervolume
from morel_search.analysis.parameters import SearchedParameter, read_parameters
from morel_search.results import RunFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["POINT", "TEST", "RunSummary", "read_summary"]

POINT = ["clean_accuracy", "robust_accuracy"]
TEST = ["test_clean_accuracy", "test_robust_accuracy"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a report needs to know of a run.

    Attributes:
        run: Its folder.
        settings: ``settings.json``.
        trials: Every finished trial, by number.
        epochs: Every epoch of them.
        front: The rows of ``trials`` on the front, from the most accurate to the most robust.
        parameters: The searched parameters.
    """

    run: RunFolder
    settings: Mapping[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    front: pd.DataFrame
    parameters: tuple[SearchedParameter, ...]

    def section(self, name: str) -> Mapping[str, Any]:
        """Read a section of the space file as it was resolved; empty where it is not there."""
        section = (self.settings.get("space") or {}).get(name)
        return section if isinstance(section, Mapping) else {}

    @property
    def complete(self) -> pd.DataFrame:
        """The trials with a result."""
        return self.trials[(self.trials["state"] == "COMPLETE") & self.trials[POINT].notna().all(axis=1)]

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
        """The hypervolume of all complete trials."""
        return hypervolume(self.complete[POINT].to_numpy())

    @property
    def control_hypervolume(self) -> float:
        """The hypervolume of the controls alone."""
        return hypervolume(self.controls[POINT].to_numpy())


def read_summary(run: RunFolder) -> RunSummary:
    """Read a run folder; also that of a search which still runs, has failed, or was never verified.

    The front is ``front.csv`` where that has rows, else it is found among the trials. A member's test accuracies come from there too.

    Raises:
        RunFolderError: A file of the folder is damaged.
    """
    settings = run.read_settings()
    trials = _unique(run.read_trials()).sort_values("number", kind="stable", ignore_index=True)
    space = settings.get("space")
    described = space.get("parameters", []) if isinstance(space, Mapping) else []
    parameters = tuple(one for one in read_parameters(described) if one.column in trials.columns or trials.empty)
    written = _unique(run.read_front())
    trials = _with_test(trials, written)
    complete = (trials["state"] == "COMPLETE").to_numpy()
    if len(written):
        mask = trials["number"].isin(written["number"]).to_numpy() & trials[POINT].notna().all(axis=1).to_numpy()
    else:
        points = trials[POINT].to_numpy(dtype=float, copy=True)
        points[~complete] = np.nan
        mask = front_mask(points)
    front = trials[mask].sort_values([*POINT, "number"], ascending=[False, True, True], ignore_index=True)
    return RunSummary(run, settings, trials, run.read_epochs(), front, parameters)


def _unique(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows that have a number, the last one of each."""
    return table[table["number"].notna()].drop_duplicates("number", keep="last")


def _with_test(trials: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """Fill in the test accuracies of ``front.csv`` where it has any."""
    trials = trials.copy()
    for column in TEST:
        known = written.set_index("number")[column].dropna()
        trials[column] = trials["number"].map(known).astype(float).fillna(trials[column].astype(float))
    return trials
