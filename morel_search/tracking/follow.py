"""Following a search: its run folder is sent to a tracker whenever its tables have changed, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from morel_search.errors import RunFolderError, TrackerError
from morel_search.results.folder import RunFolder
from morel_search.tracking.send import Counts, send_run
from morel_search.tracking.targets import Target

__all__ = ["SearchEnd", "command_to_send", "follow"]

LEAST_SECONDS, SHARE = 10.0, 0.1
"""Least time between two sendings, and the largest share of time that sending takes."""

SECONDS_AFTER_FAILURE = 60.0
"""Least time between a sending that failed and the next one."""

PAUSE_SECONDS = 1.0
"""Time between two looks at the files."""


SILENT_SECONDS = 600.0
"""Seconds without a change of any file after which a search may have been killed."""


def command_to_send(run: RunFolder, target: Target) -> str:
    """Return the command that sends a run to a tracker afterwards."""
    return f"morel-search track {run.path} --to {target}"


def follow(
    run: RunFolder,
    target: Target,
    ended: Callable[[], bool],
    tell: Callable[[str], None],
    *,
    send: Callable[[RunFolder, Target], Counts] = send_run,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> bool:
    """Send a run until its search has ended, and once more then.

    A tracker that fails is told of once, and tried again.

    Args:
        run: The run folder; it may not exist yet.
        target: The tracker.
        ended: Returns whether the search has ended.
        tell: Prints a warning or a note.
        send: Sends the run.
        clock: Returns seconds since a fixed moment.
        pause: Waits a moment.

    Returns:
        Whether everything was sent.
    """
    sent, next_time, failing = "", 0.0, False
    while True:
        last = ended()  # before the look at the files, so that the last change is not missed
        version = _version(run)
        if version not in ("", sent) and (last or clock() >= next_time):
            began = clock()
            try:
                send(run, target)
            except (TrackerError, RunFolderError) as error:
                if not failing:
                    tell(
                        f"warning: not sent to a tracker: {error}; the search continues, and it is tried "
                        f"again; to send the run afterwards: {command_to_send(run, target)}"
                    )
                failing = True
            else:
                if failing:
                    tell(f"note: everything so far has been sent to {target} now")
                sent, failing = version, False
            least = SECONDS_AFTER_FAILURE if failing else LEAST_SECONDS
            next_time = clock() + max(least, (clock() - began) / SHARE)
        if last:
            return not failing
        pause(PAUSE_SECONDS)


class SearchEnd:
    """Whether the search of a run has ended, in a process that did not start it.

    A search that was killed leaves the status ``running``. It writes its study once a minute as long as it
    runs, and holds the lock of the folder.

    Args:
        run: The run folder.
        tell: Prints a note.
        clock: Returns seconds since a fixed moment.
    """

    def __init__(
        self, run: RunFolder, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run, self._tell, self._clock = run, tell, clock
        self._seen, self._changed = "", clock()

    def __call__(self) -> bool:
        """Return whether it has ended.

        Raises:
            RunFolderError: The settings of the run cannot be read.
        """
        if self._run.read_settings().status != "running":
            return True
        study = self._run.study
        stamps = _version(self._run) + "".join(
            _stamp(study.with_name(study.name + ending)) for ending in ("", "-wal")
        )
        if stamps != self._seen:
            self._seen, self._changed = stamps, self._clock()
        if self._clock() < self._changed + SILENT_SECONDS:
            return False
        self._changed = self._clock()
        try:
            with self._run.lock():
                pass
        except RunFolderError:  # it runs, though it is silent
            return False
        self._tell(
            f"note: no process has written to {self._run.path} for {SILENT_SECONDS / 60:.0f} minutes: its "
            "search was killed; run --resume continues it"
        )
        return True


def _version(run: RunFolder) -> str:
    """Return sizes and times of the files that are sent; empty while there is no run."""
    if not run.settings.is_file():
        return ""
    files = (run.settings, run.trials, run.epochs, run.front, run.verified)
    weights = sorted(run.front_models.glob("*/model.pt"))
    return " ".join(map(_stamp, (*files, *weights)))


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "-"
    return f"{path.name}:{status.st_size}:{status.st_mtime_ns}"
