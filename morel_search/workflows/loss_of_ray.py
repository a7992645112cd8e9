"""What is still written when Ray is lost during a run: the state of the search, the tables, the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from morel_search.config import Space
from morel_search.results.folder import RunFolder
from morel_search.workflows.final_verification import verify_command

if TYPE_CHECKING:
    from morel_search.search.controller import SearchController
    from morel_search.search.study import TrialStore
    from morel_search.workflows.artifacts import RunArtifacts

__all__ = ["finish_search", "finish_verification"]


def finish_search(
    controller: SearchController,
    record: TrialStore,
    artifacts: RunArtifacts,
    report: Callable[[], None],
) -> str:
    """Make the running trials wait for the next start, and write tables, networks and report.

    Args:
        controller: The search.
        record: Its study.
        artifacts: The files of its run.
        report: Writes and prints the report.

    Returns:
        The rest of the sentence for the user.
    """
    record.requeue_running()
    controller.note_time()
    artifacts.finish("stopped", test=False)
    report()
    record.close()
    return (
        f"; {controller.finished} of {controller.criterion.budget} trials have finished; the same command "
        "with --resume continues"
    )


def finish_verification(space: Space, run: RunFolder, report: Callable[[], None]) -> str:
    """Write the report of a run whose search has finished; see :func:`finish_search`."""
    report()
    return f"; the search has finished; {verify_command(space, run)} continues the verification"
