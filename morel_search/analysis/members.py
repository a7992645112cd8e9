"""The networks of a front, and what each was measured to have: verified, on the test split, on the validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from morel_search.analysis.report.text import headline
from morel_search.analysis.run_data import POINT, TEST, RunData
from morel_search.errors import RunFolderError

if TYPE_CHECKING:
    import pandas as pd

    from morel_search.results.folder import RunFolder

__all__ = ["KINDS", "Figures", "Member", "find_member", "read_members"]

KINDS = ("verified", "test", "validation")
"""What a network may have been measured with, the best first."""

FEWEST_VERIFIED = 50
"""On fewer images an accuracy is uncertain by more than 14 points (95 %): a verification that has only begun decides nothing."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a network was measured to have.

    Attributes:
        clean: Clean accuracy, a fraction.
        robust: Robust accuracy, a fraction.
        images: How many images they rest on; None where that is not known.
        clean_interval: Between what the clean accuracy lies; None where that is not known.
        robust_interval: Between what the robust accuracy lies; None where that is not known.
        flags: Why the robust accuracy is not to be believed; empty where there is no sign of that.
    """

    clean: float
    robust: float
    images: int | None = None
    clean_interval: tuple[float, float] | None = None
    robust_interval: tuple[float, float] | None = None
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A network of the front: trial, epoch, the name of its folder, and its figures by their kind, of which there is at least one."""

    number: int
    epoch: int | None
    name: str
    figures: Mapping[str, Figures]

    @property
    def kind(self) -> str:
        """The best kind of figures that it has."""
        return next(kind for kind in KINDS if kind in self.figures)

    @property
    def flags(self) -> str:
        """Why its verified robust accuracy is not to be believed; empty where there is no sign of that."""
        return self.figures["verified"].flags if "verified" in self.figures else ""


def read_members(run_data: RunData) -> tuple[Member, ...]:
    """The networks of a run's front, from the most accurate to the most robust on the validation split.

    Raises:
        RunFolderError: There is no front, or ``verified.csv`` is damaged.
    """
    verified = _verified(run_data.run)
    members = []
    for _, row in run_data.front.iterrows():
        number, epoch = int(row["number"]), None if _unknown(row["epoch"]) else int(row["epoch"])
        figures = {
            "verified": verified.get((number, epoch)) or verified.get((number, None)),
            "test": _figures(row, TEST),
            "validation": _figures(row, POINT, run_data.settings.validation_images),
        }
        known = {kind: one for kind, one in figures.items() if one is not None}
        if known:
            members.append(Member(number, epoch, run_data.network(row["number"], row["epoch"]), known))
    if not members:
        raise RunFolderError(f"{run_data.run.path} has no network to pick: {headline(run_data)}")
    return tuple(members)


def find_member(members: Sequence[Member], name: str) -> Member:
    """The member ``NUMBER`` or ``NUMBER-EPOCH``.

    Raises:
        RunFolderError: It is not on the front, or several epochs of the trial are.
    """
    found = [
        member
        for member in members
        if name in (member.name, str(member.number), f"{member.number}-{member.epoch}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise RunFolderError(
            f"trial {name} is on the front with several epochs: {', '.join(member.name for member in found)}"
        )
    raise RunFolderError(
        f"{name} is not on the front; its networks are {', '.join(member.name for member in members)}"
    )


def _unknown(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _figures(row: pd.Series[Any], columns: Sequence[str], images: int | None = None) -> Figures | None:
    clean, robust = (row[column] for column in columns)
    return None if _unknown(clean) or _unknown(robust) else Figures(float(clean), float(robust), images)


def _verified(run: RunFolder) -> dict[tuple[int, int | None], Figures]:
    """The rows of ``verified.csv`` by trial and epoch; none where nothing was verified."""
    found: dict[tuple[int, int | None], Figures] = {}
    table = run.read_verified()
    for row in table.to_dict("records"):
        if any(_unknown(row[column]) for column in ("number", *POINT)) or (
            not _unknown(row["images"]) and row["images"] < FEWEST_VERIFIED
        ):
            continue
        found[int(row["number"]), None if _unknown(row["epoch"]) else int(row["epoch"])] = Figures(
            float(row[POINT[0]]),
            float(row[POINT[1]]),
            None if _unknown(row["images"]) else int(row["images"]),
            _interval(row["clean_low"], row["clean_high"]),
            _interval(row["robust_low"], row["robust_high"]),
            str(row["flags"]).strip(),
        )
    return found


def _interval(low: Any, high: Any) -> tuple[float, float] | None:
    return None if _unknown(low) or _unknown(high) else (float(low), float(high))
