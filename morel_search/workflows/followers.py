"""The trackers of a search: one child process for each, which sends what the run folder holds."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import IO

from morel_search._cli import print_err
from morel_search.errors import TrackerError
from morel_search.results.folder import RunFolder
from morel_search.tracking.child import END_SECONDS, READY, TOLD
from morel_search.tracking.follow import command_to_send
from morel_search.tracking.targets import Target, parse_target

__all__ = ["Followers", "check_trackers"]

START_SECONDS = 180.0
"""Longest wait for a tracker before the search, in seconds."""

READER_SECONDS = 5.0
"""Longest wait for the last warnings of a process that has ended, in seconds."""

LINES_OF_LOG = 3
"""Lines of a child's errors that a message shows."""


class Followers:
    """Child processes that send a run to its trackers while the search runs.

    On entry, each has checked its tracker; on exit, each sends what is left.

    Args:
        targets: The trackers, as :func:`parse_target` reads them.
        folder: The run folder; it may not exist yet.

    Raises:
        TrackerError: A tracker is not known; on entry, one cannot be used.
    """

    def __init__(self, targets: Sequence[str], folder: Path) -> None:
        self._targets, self._folder = [parse_target(text) for text in targets], folder
        self._children: list[_Child] = []

    def __enter__(self) -> Followers:
        try:
            self._children += [_Child(target, self._folder) for target in self._targets]
            for child in self._children:
                child.wait_until_ready(START_SECONDS)
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self) -> None:
        """End all processes at once."""
        for child in self._children:
            child.kill()
        self._children = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.end_input()
        try:
            for child in self._children:
                child.finish(END_SECONDS)
        finally:
            self.kill()


def check_trackers(targets: Sequence[str]) -> None:
    """Check that trackers can be used; nothing is sent.

    Raises:
        TrackerError: One cannot.
    """
    followers = Followers(targets, Path("none"))
    with followers:
        followers.kill()


class _Child:
    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._run = target, RunFolder(folder)
        # kill() closes it.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._first: Queue[str] = Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "morel_search.tracking.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,  # Ctrl-C ends the search, which then ends this process
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input: IO[str] = self._process.stdin
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        with suppress(OSError):
            self._input.write(json.dumps({"folder": str(folder), "target": target.text}) + "\n")
            self._input.flush()

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the tracker was checked.

        Raises:
            TrackerError: It cannot be used.
        """
        try:
            line = self._first.get(timeout=seconds)
        except Empty:
            raise TrackerError(f"{self._target} has not answered after {seconds:g} s") from None
        if line != READY:
            raise TrackerError(line or f"{self._target} cannot be used: {self._last_lines()}")

    def end_input(self) -> None:
        """Let the process know that the search has ended."""
        with suppress(OSError):
            self._input.close()

    def finish(self, seconds: float) -> None:
        """Wait until everything was sent; a process that does not end in time is ended."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            reason = f"it took longer than {seconds:g} s"
        else:
            self._reader.join(READER_SECONDS)
            if code in (0, TOLD):
                return
            reason = self._last_lines()
        print_err(
            f"warning: not everything was sent to {self._target}: {reason}; to send the rest: "
            f"{command_to_send(self._run, self._target)}"
        )

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _read(self, output: IO[str]) -> None:
        """Pass the first line on, and print the others."""
        with suppress(ValueError, OSError):
            first = output.readline()
            self._first.put(first.rstrip("\n"))
            for line in output:
                print_err(line.rstrip("\n"))

    def _last_lines(self) -> str:
        with suppress(OSError, ValueError):
            self._log.seek(0)
            lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
            return " / ".join(lines[-LINES_OF_LOG:]) or "its process has ended"
        return "its process has ended"
