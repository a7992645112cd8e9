"""Checkpoints of a training, written in a thread while the training continues."""

from __future__ import annotations

import copy
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from morel_search.models.checkpoint import save_atomically

__all__ = ["Checkpoint", "CheckpointWriter", "snapshot"]


def snapshot(value: object) -> object:
    """Return a copy in the memory of the machine, which later training steps do not change.

    Args:
        value: A tensor, a plain value, or dictionaries, lists and tuples of them.
    """
    if isinstance(value, torch.Tensor):
        detached = value.detach()
        return detached.clone() if detached.device.type == "cpu" else detached.cpu()
    if isinstance(value, dict):
        copied = copy.copy(value)  # the state of a module has an attribute with the versions of its parts
        copied.update((key, snapshot(item)) for key, item in value.items())
        return copied
    if isinstance(value, list):
        return [snapshot(item) for item in value]
    if isinstance(value, tuple):
        return tuple(snapshot(item) for item in value)
    return value


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a training needs to continue after an epoch.

    Attributes:
        state: Content of the file ``state``.
        networks: File name to content of each network that was saved after this epoch.
        keep: Names of all network files that this state needs; files of other epochs are deleted. None if
            there are no files of other epochs.
    """

    state: dict[str, object]
    networks: dict[str, dict[str, object]]
    keep: Collection[str] | None = None


class CheckpointWriter:
    """Writes the checkpoints of one training into its folder, one at a time; the thread ends with the block.

    A training waits for the disk only in :meth:`wait` and at the end of the block. If a checkpoint is
    submitted while an earlier one is still being written, it waits; if another one waits already, it takes
    that one's place, with the networks of both. The networks are written before the state, and networks that
    are no longer needed are deleted after it, so that the folder always has what its state needs. After an
    error nothing more is written: a later state would need the networks that could not be written.

    Args:
        folder: The folder of the training.
        state_file: Name of the file with the state.
    """

    def __init__(self, folder: Path, state_file: str) -> None:
        self._folder, self._state_file = folder, state_file
        self._changed = threading.Condition()
        self._waiting: Checkpoint | None = None
        self._writing = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> CheckpointWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self.wait()

    def submit(self, checkpoint: Checkpoint) -> None:
        """Copy a checkpoint and have it written.

        Raises:
            RunFolderError: An earlier checkpoint could not be written, for example on a full disk.
        """
        state: Any = snapshot(checkpoint.state)
        networks: Any = snapshot(checkpoint.networks)
        with self._changed:
            self._raise()
            before = {} if self._waiting is None else self._waiting.networks
            kept = before.keys() if checkpoint.keep is None else before.keys() & checkpoint.keep
            merged = {name: before[name] for name in kept} | networks
            self._waiting = Checkpoint(state, merged, checkpoint.keep)
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until everything that was submitted is on the disk.

        Raises:
            RunFolderError: A checkpoint could not be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None and not self._writing)
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                if self._waiting is None:
                    return
                checkpoint, self._waiting, self._writing = self._waiting, None, True
            try:
                if self._error is None:
                    self._write(checkpoint)
            except BaseException as error:  # the training raises it
                with self._changed:
                    self._error = error
            finally:
                with self._changed:
                    self._writing = False
                    self._changed.notify_all()

    def _write(self, checkpoint: Checkpoint) -> None:
        for name, content in checkpoint.networks.items():
            save_atomically(self._folder / name, content)
        save_atomically(self._folder / self._state_file, checkpoint.state)
        if checkpoint.keep is not None:
            for path in self._folder.glob("model-*.pt"):
                if path.name not in checkpoint.keep:
                    path.unlink(missing_ok=True)
