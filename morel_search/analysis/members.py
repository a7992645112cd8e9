"""The networks of a front and their accuracies: verified, on the test split, on the validation split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from morel_search._format import inference_cost
from morel_search.analysis.headline import headline
from morel_search.analysis.run_data import POINT, TEST, Row, RunData
from morel_search.errors import RunFolderError
from morel_search.results.cells import whole_number
from morel_search.results.names import member_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COMPARED",
    "FEWEST_VERIFIED",
    "Figures",
    "Member",
    "find_member",
    "read_members",
    "read_mixture_members",
]

COMPARED = ("verified", "validation")
"""Kinds of accuracies by which networks are compared, the more reliable first: on the test split under all
attacks, and on the validation split under the final attack of the search. The kind ``test``, on the test
split under the search's attack, is only printed: a choice by these accuracies would make them optimistic."""

Key = tuple[int, int | None] | str
"""Trial and epoch of a network, or the name of a mixture."""

FEWEST_VERIFIED = 50
"""Fewest images for which verified accuracies are used: on fewer, the 95 % interval of an accuracy is wider
than plus or minus 14 points."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Accuracies of a network, of one kind.

    Attributes:
        clean: Clean accuracy, a fraction.
        robust: Robust accuracy, a fraction.
        images: Number of images; None when it is not known.
        clean_interval: 95 % interval of the clean accuracy; None when it is not known.
        robust_interval: 95 % interval of the robust accuracy; None when it is not known.
        beaten_by: The network that is better in one accuracy and not worse in the other, beyond chance; empty
            without any.
    """

    clean: float
    robust: float
    images: int | None = None
    clean_interval: tuple[float, float] | None = None
    robust_interval: tuple[float, float] | None = None
    beaten_by: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A network of the front, or a mixture.

    Attributes:
        number: Number of the trial; -1 for a mixture.
        epoch: Epoch of the trial; None when it is not known.
        name: Name of its folder.
        figures: Its accuracies by their kind: one or both of :data:`COMPARED`, and ``test``.
        flags: Signs of gradient masking, because of which no robust accuracy of it is reliable, however few
            images the verification attacked; empty without any.
        cost: What a prediction of a mixture costs, in words; empty for a single network.
    """

    number: int
    epoch: int | None
    name: str
    figures: Mapping[str, Figures]
    flags: str = ""
    cost: str = ""

    @property
    def is_mixture(self) -> bool:
        """Whether it is a mixture of two networks."""
        return bool(self.cost)

    @property
    def reference(self) -> str:
        """``network 12`` or ``mixture 33+2@30``, for the inside of a sentence."""
        return f"{'mixture' if self.is_mixture else 'network'} {self.name}"

    @property
    def kind(self) -> str:
        """The more reliable kind of :data:`COMPARED` that this network has."""
        return next(kind for kind in COMPARED if kind in self.figures)

    @property
    def left_out(self) -> str:
        """Why no rule picks this network: it was flagged or beaten; empty without a reason."""
        if self.flags:
            return "flagged"
        rival = self.figures["verified"].beaten_by if "verified" in self.figures else ""
        return f"beaten by {rival}" if rival else ""


def read_members(run_data: RunData) -> tuple[Member, ...]:
    """Read the networks of a front, from the highest to the lowest clean validation accuracy.

    Raises:
        RunFolderError: There is no front, or ``verified.csv`` is damaged.
    """
    table = run_data.run.read_verified()
    verified, flags = _verified(table), _flags(table)
    members = []
    for _, row in run_data.front.iterrows():
        number, epoch = int(row["number"]), whole_number(row["epoch"])
        figures = {
            "verified": verified.get((number, epoch)) or verified.get((number, None)),
            "test": _figures(row, TEST),
            "validation": _figures(row, POINT, run_data.settings.validation_images),
        }
        known = {kind: values for kind, values in figures.items() if values is not None}
        if any(kind in known for kind in COMPARED):
            name = run_data.network(number, epoch)
            signs = flags.get((number, epoch)) or flags.get((number, None), "")
            members.append(Member(number, epoch, name, known, signs))
    if not members:
        raise RunFolderError(f"{run_data.run.path} has no network to pick: {headline(run_data)}")
    return tuple(members)


def read_mixture_members(run_data: RunData) -> tuple[Member, ...]:
    """Read the mixtures of a run, from the highest to the lowest clean validation accuracy.

    Raises:
        RunFolderError: ``verified.csv`` is damaged.
    """
    table, images = run_data.run.read_verified(), run_data.settings.validation_images
    verified, flags = _verified(table), _flags(table)
    members = []
    for entry in run_data.mixtures:
        figures = {"validation": Figures(*entry.validation, images)}
        if entry.name in verified:
            figures = {"verified": verified[entry.name], **figures}
        cost = inference_cost(entry.passes, entry.parameters)
        members.append(Member(-1, None, entry.name, figures, flags.get(entry.name, ""), cost))
    return tuple(members)


def find_member(members: Sequence[Member], name: str) -> Member:
    """Find the member with the name ``NUMBER`` or ``NUMBER-EPOCH``, or that of a mixture.

    Raises:
        RunFolderError: It is not on the front, or several epochs of the trial are.
    """
    matches = [
        member
        for member in members
        if name == member.name
        or (
            not member.is_mixture
            and name in {member_name(member.number, member.epoch, several) for several in (False, True)}
        )
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RunFolderError(
            f"trial {name} is on the front with several epochs: choose one of "
            f"{', '.join(member.name for member in matches)}"
        )
    raise RunFolderError(
        f"{name} is not on the front; its networks are {', '.join(member.name for member in members)}"
    )


def _figures(row: pd.Series[float], columns: Sequence[str], images: int | None = None) -> Figures | None:
    clean, robust = (float(row[column]) for column in columns)
    return None if math.isnan(clean) or math.isnan(robust) else Figures(clean, robust, images)


def _flags(table: pd.DataFrame) -> dict[Key, str]:
    """Read the flags of ``verified.csv``, by trial and epoch, or by the name of a mixture."""
    return {_key(row): str(row["flags"]).strip() for row in table.to_dict("records")}


def _key(row: Row) -> Key:
    """Return trial and epoch of a row of ``verified.csv``; the name of a mixture, which has no trial."""
    number = whole_number(row["number"])
    if number is None:
        return str(row.get("name") or "").strip()
    return number, whole_number(row["epoch"])


def _verified(table: pd.DataFrame) -> dict[Key, Figures]:
    """Read the accuracies of ``verified.csv``, as :func:`_flags`; empty before a verification."""
    verified: dict[Key, Figures] = {}
    for row in table.to_dict("records"):
        images = whole_number(row["images"])
        clean, robust = (float(row[column]) for column in POINT)
        if math.isnan(clean) or math.isnan(robust):
            continue
        if images is not None and images < FEWEST_VERIFIED:
            continue
        verified[_key(row)] = Figures(
            clean,
            robust,
            images,
            _interval(row["clean_low"], row["clean_high"]),
            _interval(row["robust_low"], row["robust_high"]),
            str(row.get("beaten_by") or "").strip(),
        )
    return verified


def _interval(low: float, high: float) -> tuple[float, float] | None:
    return None if math.isnan(low) or math.isnan(high) else (low, high)
