"""The records with which a verification begins: those of an earlier one, if its setup was the same."""

from __future__ import annotations

from collections.abc import Mapping

from morel_search._cli import print_err
from morel_search.results.attack_records import AttackRecord, AttackSetup, continued_record
from morel_search.results.earlier import EARLIER, keep_aside, keep_record, other_records
from morel_search.results.folder import RunFolder
from morel_search.results.names import is_mixture_name

__all__ = ["begin_records"]


def begin_records(
    run: RunFolder,
    setups: Mapping[str, AttackSetup],
    images: int,
    computes: Mapping[str, Mapping[str, object]],
) -> dict[str, AttackRecord]:
    """Return the records of a verification; nothing that an earlier one has found is lost.

    A record of other attacks, images or weights is moved to ``verification/earlier/``, and the table of these
    results, ``verified.csv``, is kept as ``verified.earlier.csv``. Mixtures of the same name with other
    weights are usual after another ``mix``: the table is not kept for them.

    Args:
        run: The folder, whose lock is held.
        setups: The setup of each network's attacks, by the name of its record.
        images: Number of images of the test split.
        computes: The arithmetic of the attacks' gradients, by the same names.

    Raises:
        RunFolderError: The table of a record is damaged, or a file cannot be moved.
    """
    if others := other_records(run, setups):
        text = (
            f"note: the verification of {', '.join(others)} begins anew, because the attacks, the images or "
            f"the weights are others; the earlier results are in {run.verification / EARLIER}"
        )
        # The table comes first: after a kill in between, the records still say that it has to be kept.
        if run.verified.exists() and not all(map(is_mixture_name, others)):
            text += f" and {keep_aside(run.verified)}"
        for name in others:
            keep_record(run, name)
        print_err(text)
    return {
        name: continued_record(run, name, setup, images, computes[name]) for name, setup in setups.items()
    }
