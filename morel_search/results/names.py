"""Names of runs, and names of the networks of a run."""

from __future__ import annotations

import re

from morel_search.errors import RunFolderError

__all__ = ["check_run_name", "member_name", "member_trial"]

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
