"""Where a run is tracked: the name of a tracker, and its place, as the command line gives both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec

from morel_search._format import without_passwords
from morel_search.errors import TrackerError

__all__ = ["TRACKERS", "Target", "parse_target"]

TRACKERS = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""Name of a tracker to the module of its library; the extra of this package has the tracker's name."""


@dataclass(frozen=True, slots=True)
class Target:
    """A tracker and its place.

    Attributes:
        tracker: A name of :data:`TRACKERS`.
        place: TensorBoard: a folder. MLflow: a tracking URI. Weights & Biases: ``PROJECT`` or
            ``ENTITY/PROJECT``. Empty for the default.
    """

    tracker: str
    place: str = ""

    def __str__(self) -> str:
        """Return it as the command line has it, without a password."""
        return without_passwords(self.text)

    @property
    def text(self) -> str:
        """The text that :func:`parse_target` reads, with a password if the place has one."""
        return f"{self.tracker}={self.place}" if self.place else self.tracker

    @property
    def key(self) -> str:
        """A file name for it, which tells nothing of its place."""
        digest = hashlib.sha256(self.place.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return f"{self.tracker}-{digest}" if self.place else self.tracker


def parse_target(text: str) -> Target:
    """Read a target: ``mlflow``, or ``mlflow=http://host:5000``.

    Raises:
        TrackerError: There is no such tracker, its place is empty, or its library is not installed.
    """
    name, equals, place = text.partition("=")
    if name not in TRACKERS:
        raise TrackerError(
            f"{without_passwords(name)!r} is not a tracker; known: {', '.join(TRACKERS)}, each also with a "
            "place, such as mlflow=sqlite:///mlflow.db"
        )
    if equals and not place.strip():
        raise TrackerError(f"{text} names no place; give one after '=', or leave out '='")
    if find_spec(TRACKERS[name]) is None:
        raise TrackerError(
            f"tracking to {name} needs a package that is not installed: pip install 'morel-search[{name}]'"
        )
    return Target(name, place.strip())
