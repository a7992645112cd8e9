"""Reports of a trial to Ray Tune, and their form as Ray's dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from morel_search.training.selection import EpochResult

__all__ = ["TrialReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """One report of a trial to Ray Tune.

    Attributes:
        history: Results of the epochs that are reported, in order; all epochs in a final report.
        final: Whether the training has ended.
        failure: The reason, if the training failed.
        folder_error: Whether the reason is that the run folder cannot be written: the search ends then, and
            the trial continues when it is resumed.
        wrong_machine: Whether the reason is that the trial's machine does not share the run folder: the trial
            is moved to another machine, and this worker waits until it sees the folder, or for ever.
    """

    history: tuple[EpochResult, ...] = ()
    final: bool = False
    failure: str = ""
    folder_error: bool = False
    wrong_machine: bool = False

    def to_ray(self) -> dict[str, object]:
        """Return the dictionary that Ray Tune transmits; it flattens dictionaries, but not lists."""
        return {
            "final": self.final,
            "failure": self.failure,
            "folder_error": self.folder_error,
            "wrong_machine": self.wrong_machine,
            "history": [result.to_dict() for result in self.history],
        }

    @classmethod
    def from_ray(cls, result: Mapping[str, Any] | None) -> TrialReport:
        """Read a report from Ray Tune's result of a trial.

        Args:
            result: The last result; empty or None if the trial has reported nothing. Ray adds keys of its
                own, which are ignored.
        """
        result = result or {}
        return cls(
            history=tuple(EpochResult(**epoch) for epoch in result.get("history", ())),
            final=bool(result.get("final")),
            failure=str(result.get("failure", "")),
            folder_error=bool(result.get("folder_error")),
            wrong_machine=bool(result.get("wrong_machine")),
        )
