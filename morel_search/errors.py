"""What can go wrong, as one small tree.

    MorelSearchError            a mistake or a shortage, explained in one sentence; commands exit with code 2
    ├── SpaceError              the space file or a ``--set`` option is wrong; lists every fault
    ├── DataError               images or labels cannot be read, or do not fit
    ├── NetworkError            a network cannot be built, or does not fit the images
    ├── ResourceError           processors, GPUs, disk space or a cluster are missing
    ├── RunFolderError          a run folder exists, is missing, is locked, or belongs to another search
    ├── TrackerError            a tracker's library is missing, or the tracker takes no data
    ├── UntrustedCodeError      a folder names code, and the user did not consent to run it
    └── TrainingError           a training cannot give a result; a trial is recorded as FAIL
        ├── DivergedError       the loss or the weights are no longer finite
        └── OutOfMemoryError    a training step does not fit into the device's memory

Anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "SHOWN_FAULTS",
    "DataError",
    "DivergedError",
    "MorelSearchError",
    "NetworkError",
    "OutOfMemoryError",
    "ResourceError",
    "RunFolderError",
    "SpaceError",
    "TrackerError",
    "TrainingError",
    "UntrustedCodeError",
]


SHOWN_FAULTS = 30
"""Number of faults that the message of a :class:`SpaceError` lists; its ``faults`` has all of them."""


class MorelSearchError(Exception):
    """Base of every error that is explained to the user in one sentence."""


class SpaceError(MorelSearchError):
    """The space file is wrong.

    Args:
        faults: One sentence a fault, each naming the place (``train.epochs``) and the value.
        source: The file the faults were found in.
    """

    def __init__(self, faults: Sequence[str], source: str = "") -> None:
        self.faults = tuple(faults)
        self.source = source
        super().__init__(faults, source)

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        if len(self.faults) == 1:
            return where + self.faults[0]
        lines = [f"{len(self.faults)} faults", *self.faults[:SHOWN_FAULTS]]
        if len(self.faults) > SHOWN_FAULTS:
            lines.append(f"and {len(self.faults) - SHOWN_FAULTS} more; correct these first")
        return where + "\n  ".join(lines)


class DataError(MorelSearchError):
    """Images or labels cannot be read, or do not fit the settings."""


class NetworkError(MorelSearchError):
    """A network cannot be built, or does not fit the images."""


class ResourceError(MorelSearchError):
    """Processors, GPUs, disk space or a cluster that were asked for are not there."""


class RunFolderError(MorelSearchError):
    """A run folder exists, is missing, is locked, or belongs to another search."""


class TrackerError(MorelSearchError):
    """A tracker's library is missing, or the tracker cannot be reached or takes no data."""


class UntrustedCodeError(MorelSearchError):
    """A folder names code, and the user did not consent to run it."""


class TrainingError(MorelSearchError):
    """A training that cannot give a result."""


class DivergedError(TrainingError):
    """The loss or the weights are no longer finite."""


class OutOfMemoryError(TrainingError):
    """A training step does not fit into the device's memory."""
