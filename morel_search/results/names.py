"""Names of runs, and names of the networks of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from morel_search.errors import RunFolderError

__all__ = [
    "RIVAL_NAME",
    "check_run_name",
    "is_member_name",
    "is_mixture_name",
    "member_name",
    "member_trial",
    "mixture_name",
    "network_trials",
    "rival_record",
]

_MEMBER = r"\d+(?:-\d+)?"
_MIXTURE = re.compile(rf"{_MEMBER}\+{_MEMBER}@\d{{1,3}}(?:-logits)?", re.ASCII)

RIVAL_NAME = re.compile(r"[A-Za-z][\w-]{0,39}", re.ASCII)
"""The form of a rival's name, which is part of a file name."""

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def check_run_name(name: str) -> None:
    """Check the name of a run, which is also the name of its folder.

    Raises:
        RunFolderError: The name is not valid.
    """
    if not _RUN_NAME.fullmatch(name):
        raise RunFolderError(
            f"{name!r} is not a valid name of a run: use 1 to 100 letters, digits, '.', '_', '+' or '-', "
            "beginning with a letter or a digit"
        )


def member_name(number: int, epoch: int | None, several: bool) -> str:
    """Name a network as its folder in ``front/`` and ``controls/`` is named.

    Args:
        number: Its trial.
        epoch: Its epoch; None when it is not known.
        several: Whether a trial may be on the front with several epochs (``search.select_epoch: front``).

    Returns:
        ``NUMBER-EPOCH`` if several and the epoch is known, else ``NUMBER``.
    """
    return f"{number}-{epoch}" if several and epoch is not None else str(number)


def member_trial(name: str) -> int | None:
    """Return the trial of a network that :func:`member_name` named; None for any other name."""
    number = name.partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() else None


def is_member_name(name: str) -> bool:
    """Return whether a name has the form that :func:`member_name` gives it."""
    return re.fullmatch(_MEMBER, name, re.ASCII) is not None


def mixture_name(members: Sequence[str], weights: Sequence[float], form: str) -> str:
    """Name a mixture of two networks as its folder in ``mixtures/`` is named.

    Args:
        members: The names of both networks.
        weights: Their weights, whole hundredths.
        form: What is mixed, ``probabilities`` or ``logits``.

    Returns:
        Such as ``33+2@30``: 30 % of the weight for network 33; ``33+2@30-logits`` where logits are mixed.
    """
    name = f"{'+'.join(members)}@{round(100 * weights[0])}"
    return name if form == "probabilities" else f"{name}-{form}"


def is_mixture_name(name: str) -> bool:
    """Return whether a name has the form that :func:`mixture_name` gives it."""
    return _MIXTURE.fullmatch(name) is not None


def rival_record(name: str) -> str:
    """Return the name of the attack record of a rival, which no network of a run and no other file has."""
    return f"rival-{name}"


def network_trials(name: str) -> frozenset[int]:
    """Return the trials of a network: one, those of the members of a mixture, none of another name."""
    members = name.partition("@")[0].split("+")
    return frozenset(number for member in members if (number := member_trial(member)) is not None)
