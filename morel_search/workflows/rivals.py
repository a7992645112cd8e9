"""The rivals of a run: which ones its verification attacks, and their checks before a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search._consent import NO_CODE, Consent, consent_to, import_paths
from morel_search.errors import MorelSearchError, RunFolderError, SpaceError
from morel_search.results.names import rival_record
from morel_search.results.rivals import RivalEntry, write_rivals
from morel_search.results.rivals import read_rivals as read_entries

if TYPE_CHECKING:
    from morel_search.config import Space
    from morel_search.config.rivals import Rival
    from morel_search.results.folder import RunFolder
    from morel_search.training.datasets.loading import Development
    from morel_search.verification.rivals import RivalModel

__all__ = ["ChosenRival", "check_rivals", "chosen_rivals", "rivals_to_attack"]

_ASK = (
    "the space file does not name it; write the rival as a mapping, {name: package.module:name, weights: "
    "FOLDER}, or, for the command verify, give --trust"
)


@dataclass(frozen=True, slots=True)
class ChosenRival:
    """A rival that a verification attacks.

    Attributes:
        rival: The rival.
        consent: The code that may be run for it.
        by_command: Whether the command ``verify`` named it, now or earlier, and not the space file.
    """

    rival: Rival
    consent: Consent
    by_command: bool = False


def check_rivals(space: Space, development: Development) -> tuple[str, ...]:
    """Load each rival of a space before the search starts, and check it on a few training images.

    Args:
        space: The space.
        development: The images.

    Returns:
        What a prediction of each costs, one sentence each.

    Raises:
        MorelSearchError: A rival cannot be loaded or attacked.
    """
    from morel_search._format import operations_text
    from morel_search.cluster.placement import device_for
    from morel_search.training.augment import to_float
    from morel_search.verification.rivals import FEW_IMAGES, RivalModel, check_rival

    images = to_float(development.train.images[:FEW_IMAGES])
    channels, height, width = (int(side) for side in images.shape[1:])
    notes = []
    for rival in space.rivals:
        model = RivalModel(rival, (channels, height, width), tuple(development.classes), _consent(space))
        found = check_rival(model, images, space.compute, device_for(space.resources))
        notes.append(
            f"{model.title} has {found.parameters:,} parameters and needs "
            f"{operations_text(found.operations)} for each image"
        )
    return tuple(notes)


def chosen_rivals(
    space: Space,
    run: RunFolder,
    given: Mapping[str, Rival | None] | None = None,
    consent: Consent = NO_CODE,
) -> tuple[ChosenRival, ...]:
    """Return the rivals that a verification of a run attacks.

    They are those of the space file and those that the command ``verify`` named earlier. Of two with the same
    name, the one of the command counts.

    Args:
        space: The run's space.
        run: The run's folder.
        given: The rivals that the command names now; None leaves out the one of this name.
        consent: The code of the folder that may be run; what the command names itself needs none.

    Raises:
        RunFolderError: ``rivals.json`` is damaged.
        UntrustedCodeError: It names code without consent.
    """
    given = given or {}
    chosen = {rival.name: ChosenRival(rival, _consent(space, consent)) for rival in space.rivals}
    for rival in _earlier(run, list(given), consent):
        chosen[rival.name] = ChosenRival(rival, consent, by_command=True)
    for name, named in given.items():
        if named is not None:
            own = consent if consent.everything else Consent(frozenset(import_paths(named.describe())))
            chosen[name] = ChosenRival(named, own, by_command=True)
        elif name not in chosen and name not in {entry.name for entry in read_entries(run)}:
            raise RunFolderError(f"--rival {name}=none: {run.path} has no rival of this name")
        else:
            chosen.pop(name, None)
    return tuple(chosen.values())


def rivals_to_attack(
    space: Space,
    run: RunFolder,
    network: Path,
    chosen: Sequence[ChosenRival],
    *,
    required: bool,
) -> dict[str, RivalModel]:
    """Load and check the rivals on a worker, and write ``rivals.json``.

    Ray must be running. A rival with other weights than in an earlier verification is named: it is attacked
    anew.

    Args:
        space: The run's space.
        run: The run's folder, whose lock is held.
        network: File with the weights of a network of the run.
        chosen: The rivals.
        required: Whether a rival that cannot be used is an error; otherwise it is left out with a warning.

    Returns:
        The rivals by the names of their records.

    Raises:
        MorelSearchError: A rival cannot be used.
    """
    from morel_search.cluster.placement import device_for, with_absolute_paths
    from morel_search.cluster.tasks import on_cluster
    from morel_search.verification.rivals import describe_rival

    if not chosen and not run.rivals.exists():
        return {}
    models: dict[str, RivalModel] = {}
    entries: list[RivalEntry] = []
    earlier = {entry.name: entry for entry in read_entries(run)}
    for choice in chosen:
        rival = choice.rival
        try:
            model = on_cluster(
                describe_rival,
                rival,
                choice.consent,
                with_absolute_paths(space.data),
                str(network.absolute()),
                consent_to(space.network.name),
                space.compute,
                device_for(space.resources),
                num_cpus=space.resources.cpu,
            )
        except MorelSearchError as error:
            if required:
                raise
            print_err(f"warning: {error}; it is not attacked")
            if rival.name in earlier:
                entries.append(earlier[rival.name])
            continue
        summary = model.summary
        assert summary is not None, "it was described"
        before = earlier.get(rival.name)
        if before is not None and before.fingerprint != summary.fingerprint:
            print_err(
                f"warning: {model.title} has other weights than in the earlier verification; it is attacked "
                "anew"
            )
        models[rival_record(rival.name)] = model
        entries.append(
            RivalEntry(
                name=rival.name,
                title=rival.title,
                given=rival.given,
                by_command=choice.by_command,
                fingerprint=summary.fingerprint,
                parameters=summary.parameters,
                operations=summary.operations,
                own_operations=summary.own_operations,
                own_network=network.parent.name,
            )
        )
    write_rivals(run, entries)
    return models


def _consent(space: Space, more: Consent = NO_CODE) -> Consent:
    """Return the consent to the code that a space file names, which the user names."""
    if more.everything:
        return more
    return Consent(consent_to(space.describe()).names, otherwise=_ASK)


def _earlier(run: RunFolder, names: Sequence[str], consent: Consent) -> tuple[Rival, ...]:
    """Return the rivals that the command named in an earlier verification, without these names."""
    from morel_search.config.faults import Faults
    from morel_search.config.rivals import read_rivals

    given = {
        entry.name: entry.given for entry in read_entries(run) if entry.by_command and entry.name not in names
    }
    consent.check(import_paths(given), run.rivals)
    faults = Faults()
    rivals = read_rivals(given, (), faults)
    try:
        faults.raise_all(str(run.rivals))
    except SpaceError as error:
        raise RunFolderError(f"{run.rivals}: {error.faults[0]}; --rival NAME=none leaves it out") from error
    return rivals
