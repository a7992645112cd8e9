"""Reading a verification: which attack records can be compared, and on which images all networks are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.masking import masking_warnings
from morel_search.analysis.members import FEWEST_VERIFIED
from morel_search.analysis.run_data import NetworkEntry, RunData
from morel_search.analysis.verification import Network, Verification, as_network
from morel_search.results.attack_names import LATE, STAGES, WHITE_BOX
from morel_search.results.attack_records import BROKEN, COLUMNS, ROBUST, UNKNOWN, AttackRecord, read_records
from morel_search.results.image_order import image_order
from morel_search.results.mixtures import MixtureEntry
from morel_search.results.names import rival_record
from morel_search.results.rivals import RivalEntry

__all__ = ["leading", "read_verification", "verification_of"]

Flags = NDArray[np.bool_]


def read_verification(run_data: RunData) -> Verification | None:
    """Read the verification of a run from its attack records.

    Returns:
        The verification; None when there is no image on which every network was attacked.

    Raises:
        RunFolderError: An attack record is damaged.
    """
    records = read_records(run_data.run)
    return verification_of(run_data.networks, records, run_data.mixtures, run_data.rivals)


def verification_of(
    entries: Collection[NetworkEntry],
    records: Mapping[str, AttackRecord],
    mixtures: Collection[MixtureEntry] = (),
    rivals: Collection[RivalEntry] = (),
) -> Verification | None:
    """Compare networks by their attack records.

    Args:
        entries: The networks.
        records: Records of networks and mixtures, by name, and of rivals, by the names of their records.
        mixtures: Mixtures of these networks.
        rivals: Networks that the search did not train.

    Returns:
        The verification; None when there is no image on which every network was attacked.
    """
    comparable = _comparable(
        {
            entry.name: records[entry.name]
            for entry in entries
            if entry.name in records and _attacked(records[entry.name])
        }
    )
    if not comparable:
        return None
    white_box = np.logical_and.reduce([_finished(record, WHITE_BOX) for record in comparable.values()])
    if not white_box.any():
        return None
    met = {
        attack: white_box & _met(comparable.values(), attack)
        for attack in STAGES
        if any(attack in record.attacks for record in comparable.values())
    }
    networks = [
        _network(comparable[entry.name], entry, white_box, met)
        for entry in entries
        if entry.name in comparable
    ]
    attacked = {attack: int(images.sum()) for attack, images in met.items()}
    absent = tuple(entry for entry in entries if entry.name not in comparable)
    same = _SameAttacks(comparable, white_box, met)
    mixed = [(entry, _mixture(records.get(entry.name), entry, networks, same)) for entry in mixtures]
    others = [(entry, _rival(records.get(rival_record(entry.name)), entry, same)) for entry in rivals]
    return Verification(
        networks=tuple(networks),
        attacked=attacked,
        all_images=len(white_box),
        absent=absent,
        data=next(iter(comparable.values())).setup.data,
        shown=white_box,
        mixtures=tuple(network for _, network in mixed if network is not None),
        absent_mixtures=tuple(entry for entry, network in mixed if network is None),
        rivals=tuple(network for _, network in others if network is not None),
        absent_rivals=tuple(entry for entry, network in others if network is None),
    )


def leading(verification: Verification | None) -> Verification | None:
    """Return the verification if a page or a comparison can lead with it.

    None without one, with too few images, or when no network of the front is among its networks, as after a
    resumed search that has replaced the front.
    """
    if verification is None or verification.images < FEWEST_VERIFIED or not verification.members:
        return None
    return verification


@dataclass(frozen=True, slots=True, eq=False)
class _SameAttacks:
    """The attacks and images on which the single networks are compared; others are compared on the same.

    Attributes:
        singles: The comparable records of the single networks.
        white_box: Images on which every single network was attacked with the white-box attacks.
        met: Those of them on which each attack counts, by its name.
    """

    singles: Mapping[str, AttackRecord]
    white_box: Flags
    met: Mapping[str, Flags]

    def network(self, record: AttackRecord | None, entry: MixtureEntry | RivalEntry) -> Network | None:
        """Count the results of another network on these images.

        Args:
            record: Its record; None without one.
            entry: The network.

        Returns:
            The network; None if it was not attacked on all of these images in the same way.
        """
        if record is None or not _attacked(record):
            return None
        key = {_setup_key(single) for single in self.singles.values()}
        attacks = {attack: images for attack, images in self.met.items() if attack in record.attacks}
        came = [
            (record.table[images, COLUMNS.index(attack)] != UNKNOWN).all()
            for attack, images in attacks.items()
            if record.runs(attack)
        ]
        if _setup_key(record) not in key or not all(came):
            return None
        if not _finished(record, WHITE_BOX)[self.white_box].all():
            return None
        return _network(record, as_network(entry), self.white_box, self.met)


def _mixture(
    record: AttackRecord | None, entry: MixtureEntry, networks: Collection[Network], same: _SameAttacks
) -> Network | None:
    """Return a mixture of these single networks, as :meth:`_SameAttacks.network`."""
    network = same.network(record, entry)
    if network is None:
        return None
    flags = (*network.flags, *_inherited(entry, same.singles, networks))
    return replace(
        network, members=entry.members, flags=flags, passes=entry.passes, parameters=entry.parameters
    )


def _rival(record: AttackRecord | None, entry: RivalEntry, same: _SameAttacks) -> Network | None:
    """Return a rival, as :meth:`_SameAttacks.network`; None if the record is that of other weights."""
    network = (
        None if record is None or record.setup.weights != entry.fingerprint else same.network(record, entry)
    )
    return None if network is None else replace(network, rival=True, parameters=entry.parameters)


def _inherited(
    entry: MixtureEntry, singles: Mapping[str, AttackRecord], networks: Collection[Network]
) -> list[str]:
    """Return a sentence for each member because of which a mixture is flagged.

    A member whose gradients vanish hides from attacks through the mixture too, and the gradients of the
    others make the mixture look sound.
    """
    flags = {network.name: network.flags for network in networks}
    sentences = []
    for part in entry.parts:
        if part.network not in flags:
            sentences.append(f"its member {part.network} was not verified")
        elif singles[part.network].setup.weights != part.fingerprint:
            sentences.append(f"its member {part.network} has other weights now; mix again")
        elif flags[part.network]:
            sentences.append(f"its member {part.network} is flagged: {flags[part.network][0]}")
    return sentences


def _attacked(record: AttackRecord) -> bool:
    """Return whether a network was checked for gradient masking and attacked on at least one image."""
    return record.diagnostics is not None and bool(_finished(record, WHITE_BOX).any())


def _comparable(records: Mapping[str, AttackRecord]) -> dict[str, AttackRecord]:
    """Keep the records with the most common setup; other setups cannot be compared with it."""
    setups = {name: _setup_key(record) for name, record in records.items()}
    if not setups:
        return {}
    ((common, _),) = Counter(setups.values()).most_common(1)
    return {name: record for name, record in records.items() if setups[name] == common}


def _setup_key(record: AttackRecord) -> str:
    setup = record.setup
    return json.dumps([len(record.table), setup.evaluation, setup.seed, setup.data], sort_keys=True)


def _finished(record: AttackRecord, attacks: tuple[str, ...]) -> Flags:
    """Return the images which all of these attacks that can be run have attacked or skipped."""
    columns = [0, *(COLUMNS.index(attack) for attack in attacks if record.runs(attack))]
    return np.asarray((record.table[:, columns] != UNKNOWN).all(axis=1))


def _met(records: Collection[AttackRecord], attack: str) -> Flags:
    """Return the images that an attack has attacked or skipped on every network to which it applies."""
    column = COLUMNS.index(attack)
    came = [record.table[:, column] != UNKNOWN for record in records if attack in record.attacks]
    return np.asarray(np.logical_and.reduce(came))


def _network(
    record: AttackRecord, entry: NetworkEntry, white_box: Flags, met: Mapping[str, Flags]
) -> Network:
    """Count the results of a network.

    Args:
        record: Its record, with diagnostics.
        entry: The network.
        white_box: Images on which every network was attacked with the white-box attacks.
        met: Those of them on which each attack counts, by its name.
    """
    assert record.diagnostics is not None
    late = np.logical_and.reduce([met.get(attack, np.zeros_like(white_box)) for attack in LATE])
    table, late_table = record.table[white_box], record.table[late]
    after = {name: int(_robust(table, name).sum()) for name in ("clean", *WHITE_BOX)}
    late_after = {name: int(_robust(late_table, name).sum()) for name in ("clean", *STAGES)}
    # FAB-T and Square count only on images on which every network was attacked with them.
    robust = _robust(table, WHITE_BOX[-1])
    for attack in LATE:
        if attack in met:
            robust &= ~(met[attack][white_box] & (table[:, COLUMNS.index(attack)] == BROKEN))
    not_finite = sum(bool(white_box[row]) for row in record.not_finite)
    warnings = masking_warnings(
        record.diagnostics, after, len(table), len(late_table), late_after, not_finite
    )
    return Network(
        name=entry.name,
        number=entry.number,
        epoch=-1 if entry.epoch is None else entry.epoch,
        member=entry.member,
        label=entry.label,
        validation=entry.validation,
        clean=table[:, 0] == ROBUST,
        robust=robust,
        after=after,
        late=late_after,
        diagnostics=record.diagnostics,
        attacks=record.attacks,
        flags=tuple(warnings),
        not_run={attack: reason for attack, reason in record.failures.items() if not record.runs(attack)},
        curve_clean=_curve_clean(record),
    )


def _curve_clean(record: AttackRecord) -> int | None:
    """Return how many images of the diagnostics a network classifies correctly without an attack.

    The diagnostics are measured on the first images in the order of the verification.

    Returns:
        The number; None when the record does not have it, or when an attack would have left more images than
        there are: the diagnostics then have other images.
    """
    assert record.diagnostics is not None
    count, curve = record.diagnostics.images, record.diagnostics.curve
    clean = record.table[image_order(record.setup.seed, len(record.table))[:count], 0]
    if len(clean) < count or (clean == UNKNOWN).any():
        return None
    correct = int((clean == ROBUST).sum())
    return correct if all(round(accuracy * count) <= correct for accuracy in curve) else None


def _robust(table: NDArray[np.int8], attack: str) -> Flags:
    """Return which images are correctly classified after an attack and all attacks before it."""
    results = table[:, : COLUMNS.index(attack) + 1]
    return np.asarray((table[:, 0] == ROBUST) & ~(results == BROKEN).any(axis=1))
