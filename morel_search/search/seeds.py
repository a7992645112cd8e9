"""Random seeds: each trial, proposal and replicate derives its own from the seed of the search."""

from __future__ import annotations

import numpy as np

__all__ = ["derive_seed"]


def derive_seed(*parts: int) -> int:
    """Derive a 31-bit random seed from non-negative integers.

    The count of the integers is one of the inputs, because numpy derives the same seed from (1, 0) and (1).

    Args:
        *parts: For example the seed of the search and the number of a trial.
    """
    return int(np.random.SeedSequence([len(parts), *parts]).generate_state(1)[0]) & 0x7FFFFFFF
