"""The verification at the end of a search, within a time limit."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search._consent import trust_option
from morel_search.config import Space
from morel_search.errors import MorelSearchError
from morel_search.results.folder import RunFolder

if TYPE_CHECKING:
    from morel_search.training.compute_settings import Compute

__all__ = ["verify_after_search", "verify_command"]

SHARE_FOR_VERIFYING = 0.25
"""Time limit of the verification after a search, as a share of the search's duration."""

LEAST_VERIFYING = 120.0
"""Smallest time limit of the verification after a search, in seconds."""


def verify_command(space: Space, run: RunFolder) -> str:
    """Return the command that verifies a run, as it is typed in a shell."""
    return f"python -m morel_search.verify {shlex.quote(str(run.path))}{trust_option(space.describe())}"


def verify_after_search(
    space: Space, run: RunFolder, compute: Compute, seconds: float, *, quiet: bool
) -> str | None:
    """Verify the networks of the run within a time limit, and train replicates if the space asks for them.

    Args:
        space: The space.
        run: The run's folder.
        compute: The arithmetic of attacks and trainings.
        seconds: Duration of the search, from which the time limit is derived.
        quiet: Whether to hide the progress bar.

    Returns:
        The text that is printed below the front; None if the verification was interrupted.
    """
    from morel_search.analysis.attacks_run import is_complete
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows.rivals import chosen_rivals
    from morel_search.workflows.terminal import replication_text, verification_text
    from morel_search.workflows.verify import replicate_run, verify_run

    settings = space.verify
    if not settings.enabled or not run.front_models.is_dir():
        return ""
    limit = 60 * settings.minutes if settings.minutes else max(LEAST_VERIFYING, SHARE_FOR_VERIFYING * seconds)
    command = verify_command(space, run)
    replicated = ""
    try:
        budget = VerificationBudget(settings.images, limit, settings.seed)
        verification = verify_run(space, run, compute, budget, rivals=chosen_rivals(space, run), quiet=quiet)
        if settings.replicates:
            replicates = replicate_run(space, run, compute, settings.replicates, quiet=quiet)
            replicated = f"\n{replication_text(replicates)}" if replicates else ""
    except KeyboardInterrupt:
        print_err(f"the verification was interrupted; {command} continues it")
        return None
    except MorelSearchError as error:
        print_err(f"warning: the verification failed: {error}; {command} tries again")
        return ""
    if verification is None:
        reason = "no image has been through every white-box attack within the time limit"
        return f"the front is not verified yet: {reason}; {command} continues{replicated}"
    text = verification_text(verification)
    if not is_complete(verification, settings.images):
        text += f"the verification reached its time limit; {command} continues it"
    return f"{text}{replicated}"
