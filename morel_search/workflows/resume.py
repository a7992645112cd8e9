"""Opening the study of a run: a resumed search has the same settings, and knows every finished trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search.config import Space, changes
from morel_search.errors import RunFolderError
from morel_search.results.cells import is_empty, whole_number
from morel_search.results.folder import RunFolder
from morel_search.results.json_values import read_json

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from morel_search.search.study import TrialStore

__all__ = ["check_identity", "check_study_file", "open_study"]


@dataclass(frozen=True, slots=True)
class _Finished:
    """A finished trial as a file of the run folder describes it; an attribute is None if it is not known."""

    where: str
    number: int
    seed: int | None = None
    state: str | None = None
    seconds: float | None = None
    recorded: bool = True
    """Whether the study must have the trial as finished. It may have weights without that: a training was
    killed between the weights of its first epoch and its first checkpoint."""

    def is_trial(self, trial: FrozenTrial) -> bool:
        """Return whether a trial of the study is this one."""
        from morel_search.search.outcome import read_outcome
        from morel_search.search.trial import read_plan

        if not self.recorded:
            return True
        return (
            trial.state.is_finished()
            and self.state in (None, trial.state.name)
            and self.seed in (None, read_plan(trial).seed)
            and (self.seconds is None or math.isclose(self.seconds, read_outcome(trial).seconds))
        )


def check_study_file(run: RunFolder) -> None:
    """Refuse to resume a run that has finished trials, but no study.

    Raises:
        RunFolderError: ``study.db`` is missing or empty.
    """
    missing = not run.study.exists()
    if not missing and run.study.stat().st_size:
        return
    finished = next(_finished(run), None)
    if finished is not None:
        raise RunFolderError(
            f"{run.study} is {'missing' if missing else 'empty'}, but {finished.where} has finished trials, "
            "which a resumed search must know: put the file back from a copy, or start a new run with "
            f"another --name (search.start_from={run.path} begins with the front of this run)"
        )


def open_study(run: RunFolder, *, resume: bool) -> TrialStore:
    """Open the study of a run, or create that of a new run.

    A run folder that was renamed still has the study of its first name.

    Args:
        run: The run's folder, whose lock is held.
        resume: Whether the run is resumed.

    Raises:
        RunFolderError: The study cannot be opened, or does not know a trial that the folder holds as
            finished: it is older than the folder, or that of another run.
    """
    from morel_search.search.study import TrialStore

    if not resume:
        return TrialStore.of_file(run.study, run.name)
    check_study_file(run)
    finished = list(_finished(run))
    store = TrialStore.of_file(run.study, run.read_settings().name or run.name, create=not finished)
    try:
        trials = {trial.number: trial for trial in store.trials()}
        for known in finished:
            if known.number not in trials or not known.is_trial(trials[known.number]):
                raise RunFolderError(
                    f"{run.study} does not know trial {known.number}, which {known.where} holds as finished: "
                    "it is older than the run, or that of another run; put the right file back, or move "
                    f"{known.where} elsewhere to continue from this study"
                )
    except BaseException:
        store.close()
        raise
    return store


def check_identity(space: Space, record: TrialStore, run: RunFolder) -> None:
    """Compare the settings that a resume must not change with those of the study; a new study gets them.

    Raises:
        RunFolderError: The study has other settings.
    """
    identity, known = space.identity(), record.identity()
    if known is None:
        record.set_identity(identity)
        return
    differences = changes(known, identity)
    if differences:
        raise RunFolderError(
            f"{run.path} holds a search with other settings; start a new one with --name, or continue it "
            "with the earlier values, in the space file or by --set: " + "; ".join(differences)
        )


def _finished(run: RunFolder) -> Iterator[_Finished]:
    """Return the finished trials that the tables, the weights and the checkpoints of a folder prove."""
    yield from _of_table(run)
    for folder in (run.front_models, run.control_models):
        for weights in sorted(folder.glob("*/model.pt")):
            settings = _settings_beside(weights.parent)
            number, seed = settings.get("number"), settings.get("seed")
            if isinstance(number, int):
                yield _Finished(f"{folder}/", number, seed if isinstance(seed, int) else None)
    for weights in sorted(run.checkpoints.glob("*/model*.pt")):
        state = weights.with_name("state.pt")  # deleted when the trial is recorded
        if weights.parent.name.isdecimal() and not state.exists():
            yield _Finished(f"{run.checkpoints}/", int(weights.parent.name), recorded=False)


def _of_table(run: RunFolder) -> Iterator[_Finished]:
    try:
        rows = run.read_trials().to_dict("records")
    except RunFolderError as error:
        print_err(f"warning: {error}; the study is used, and the table is written again")
        return
    for row in rows:
        number, seconds = whole_number(row["number"]), row["seconds"]
        if number is not None:
            yield _Finished(
                str(run.trials),
                number,
                whole_number(row["seed"]),
                str(row["state"]) or None,
                None if is_empty(seconds) else float(seconds),
            )


def _settings_beside(folder: Path) -> Mapping[str, object]:
    """Return the settings of a network; none where they cannot be read."""
    try:
        settings = read_json(folder / "settings.json")
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
