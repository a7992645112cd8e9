"""The version of the files from which the page of a run is drawn."""

from __future__ import annotations

import hashlib

from morel_search.results.folder import RunFolder
from morel_search.results.mixtures import CHOSEN

__all__ = ["version_of"]

_TABLES = (
    "settings.json",
    "trials.csv",
    "epochs.csv",
    "front.csv",
    "verified.csv",
    "replicates.csv",
    "verification",
)


def version_of(run: RunFolder) -> str:
    """Return a text that changes when a file of the run changes from which the page is drawn."""
    seen = []
    mixtures = sorted((*run.mixture_models.glob("*/settings.json"), run.mixture_models / CHOSEN))
    for path in (*(run.path / name for name in _TABLES), run.rivals, *mixtures):
        try:
            status = path.stat()
        except OSError:
            continue
        seen.append((str(path.relative_to(run.path)), status.st_mtime_ns, status.st_size))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
