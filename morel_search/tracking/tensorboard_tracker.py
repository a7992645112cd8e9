"""TensorBoard: one folder of event files for each trial, with its parameters for the tab HParams."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path

from morel_search.results.links import check_inside
from morel_search.tracking.records import TrialRecord
from morel_search.tracking.sent import FOLDER as RECORDS
from morel_search.tracking.targets import Target
from morel_search.tracking.tracker import Search, by_epoch, sending_to

__all__ = ["TensorBoardTracker", "check"]

FOLDER = "tensorboard"
"""Folder of the event files in the run folder, unless the user names another one."""

NOTE = ".search"
"""File with the id of the search in its folder of a folder that the user names."""


def check(target: Target) -> None:
    """Check that the library can be imported, and that the folder can be made.

    Raises:
        TrackerError: It cannot.
    """
    with sending_to(target):
        import_module("tensorboard.plugins.hparams.summary_v2")
        if target.place:
            Path(target.place).mkdir(parents=True, exist_ok=True)


class TensorBoardTracker:
    """Event files of the trials of a search. An addition is a further file in the folder of its trial.

    Args:
        target: Its place is the folder, which has one folder for each search; empty for the run folder.
        search: The search.
    """

    def __init__(self, target: Target, search: Search) -> None:
        self._target, self._search = target, search
        if target.place:
            with sending_to(target):
                self._folder = _claimed(target, search)
        else:
            self._folder = search.folder / FOLDER

    def find(self, number: int, _run_id: str | None, /) -> str | None:
        """Return the name of the trial's folder if it exists."""
        name = f"trial-{number:04d}"
        return name if (self._folder / name).is_dir() else None

    def send(self, record: TrialRecord, run_id: str | None) -> str:
        """Write an event file, and return the name of the trial's folder."""
        name = run_id or f"trial-{record.number:04d}"
        folder = self._folder / name
        with sending_to(self._target):
            if not self._target.place:
                check_inside(self._search.folder, folder / "events")
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder, _events(record, self._search.begun))
        return name


def _claimed(target: Target, search: Search) -> Path:
    """Return the folder of a search in the folder that the user named, and note its search in it.

    Two searches may have one name, and their curves must not be mixed: the second has ``NAME-2``. A folder of
    an earlier version has no note; it is that of a search which has been sent to it.
    """
    sent = (search.folder / RECORDS / f"{target.key}.json").exists()
    for number in count(1):
        folder = Path(target.place, search.name if number == 1 else f"{search.name}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / NOTE
        if not note.exists() and (sent or not any(folder.iterdir())):
            with suppress(FileExistsError), note.open("x", encoding="utf-8") as file:
                file.write(search.search_id)
        with suppress(FileNotFoundError):
            if note.read_bytes() == search.search_id.encode():
                return folder
    raise AssertionError


def _events(record: TrialRecord, begun: float) -> list[bytes]:
    """Return the events of a record, in the order of time."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2, summary_v2
    from tensorboard.plugins.hparams import metadata as hparams
    from tensorboard.plugins.text import metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    now = time.time()
    events = [Event(wall_time=begun, file_version="brain.Event:2")]
    if record.parameters:
        started = summary_v2.hparams_pb(dict(record.parameters), trial_id=record.title, start_time_secs=begun)
        events.append(Event(wall_time=begun, step=0, summary=started))
    for metrics, late in ((record.curves, False), (record.metrics, True)):
        for epoch, group in by_epoch(metrics):
            values = [Summary.Value(tag=metric.name, simple_value=metric.value) for metric in group]
            seconds = group[0].seconds
            moment = now if late or seconds is None else begun + seconds
            events.append(Event(wall_time=moment, step=epoch, summary=Summary(value=values)))
    if record.tags:
        rows = [f"| {name} | {_cell(text)} |" for name, text in record.tags.items()]
        table = "\n".join(["| tag | value |", "| --- | --- |", *rows])
        shown = Summary.Value(
            tag="trial/text_summary",
            metadata=metadata.create_summary_metadata(display_name="trial", description=""),
            tensor=make_tensor_proto([table.encode("utf-8", "backslashreplace")]),
        )
        events.append(Event(wall_time=now, step=0, summary=Summary(value=[shown])))
    if record.curves or record.parameters:
        failed = record.tags.get("state") == "FAIL"
        status = api_pb2.Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS")
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=begun + (record.seconds or 0.0))
        ended = Summary.Value(
            tag=hparams.SESSION_END_INFO_TAG,
            metadata=hparams.create_summary_metadata(
                plugin_data_pb2.HParamsPluginData(session_end_info=info)
            ),
            tensor=hparams.NULL_TENSOR,
        )
        events.append(Event(wall_time=now, step=0, summary=Summary(value=[ended])))
    return [event.SerializeToString() for event in events]


def _cell(text: str) -> str:
    """Return a text as the cell of a Markdown table; TensorBoard removes HTML itself."""
    return " ".join(text.split()).replace("|", "\\|")


def _write(folder: Path, events: list[bytes]) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    # TensorBoard reads the files of a folder in the order of their names.
    head = f"events.out.tfevents.{time.time_ns() // 1000:017d}.{socket.gethostname()}.{os.getpid()}"
    with (folder / head).open("xb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event)
