"""The verification of a front: accuracies under all attacks, intervals, ties, and the bias of the search."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.hypervolume import hypervolume
from morel_search.analysis.intervals import LEVEL, Difference, paired_difference, wilson
from morel_search.analysis.masking import masking_warnings
from morel_search.analysis.run_data import NetworkEntry, RunData
from morel_search.analysis.statistics import spearman
from morel_search.results.attack_names import STAGES, WHITE_BOX
from morel_search.results.attack_records import BROKEN, COLUMNS, ROBUST, UNKNOWN, AttackRecord, read_records
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.results.tables import VERIFIED_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Network", "Verification", "beats", "compare", "read_verification"]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A verified network.

    Attributes:
        name: Name of the network and of its folder in ``front/``.
        number: Number of the trial.
        epoch: Epoch of the trial; -1 when it is not known.
        member: Whether the network is on the validation front.
        label: Name of the control; empty for other trials.
        validation: Clean and robust validation accuracy, under the attack of the search.
        clean: Whether each of the N images is correctly classified, shape (N,).
        robust: Whether each of them is correctly classified after every attack, shape (N,).
        after: Number of images that are correctly classified after each white-box attack and all attacks
            before it; ``clean`` before the first attack.
        late: The same after every attack, over the :attr:`Verification.late_images` only.
        diagnostics: Diagnostics of gradient masking.
        attacks: The attacks that apply to this network.
        flags: Signs of gradient masking, one sentence each.
    """

    name: str
    number: int
    epoch: int
    member: bool
    label: str
    validation: tuple[float, float]
    clean: Flags
    robust: Flags
    after: Mapping[str, int]
    late: Mapping[str, int]
    diagnostics: MaskingDiagnostics
    attacks: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def accuracy(self) -> tuple[float, float]:
        """Clean and robust test accuracy, under all attacks."""
        return float(self.clean.mean()), float(self.robust.mean())

    @property
    def by_search(self) -> float:
        """Robust test accuracy under the attack of the search, on the same images."""
        return self.after["pgd"] / len(self.clean)


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The verified networks of a run, compared on the images on which all of them were attacked.

    Attributes:
        networks: The members of the front, from the highest to the lowest clean validation accuracy, then the
            controls.
        images: Number of images on which every network was attacked with every white-box attack.
        late_images: Number of those on which every network was attacked with FAB-T and Square as well.
        all_images: Number of images of the test split.
        missing: Names of the networks that were not attacked yet, that were not checked for gradient masking,
            or that were attacked with a different setup.
    """

    networks: tuple[Network, ...]
    images: int
    late_images: int
    all_images: int
    missing: tuple[str, ...] = ()

    @property
    def members(self) -> list[Network]:
        """The networks of the validation front."""
        return [network for network in self.networks if network.member]

    @property
    def unflagged(self) -> list[Network]:
        """The networks of the validation front without a sign of gradient masking."""
        return [network for network in self.members if not network.flags]

    @property
    def flagged(self) -> list[str]:
        """Names of the networks with a sign of gradient masking."""
        return [network.name for network in self.networks if network.flags]

    def beaten_by(self, network: Network) -> Network | None:
        """Find an unflagged network that is significantly better; see :func:`beats`.

        The significance level is corrected for the number of rivals and for the two accuracies (Bonferroni).

        Returns:
            The first such network; None when there is none.
        """
        rivals = [other for other in self.networks if not other.flags and other is not network]
        return next((other for other in rivals if beats(other, network, 2 * len(rivals))), None)

    @property
    def front(self) -> list[Network]:
        """The unflagged members that no other network beats significantly."""
        return [network for network in self.unflagged if self.beaten_by(network) is None]

    @property
    def hypervolumes(self) -> tuple[float, float]:
        """Hypervolume of the validation front, and of the unflagged members under all attacks."""
        validation = [network.validation for network in self.members]
        verified = [network.accuracy for network in self.unflagged]
        return hypervolume(validation), hypervolume(verified)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's correlation of the robust accuracies under the search's attack and under all attacks.

        None for fewer than three networks, or when all have the same accuracy.
        """
        return spearman(
            [network.by_search for network in self.networks],
            [network.accuracy[1] for network in self.networks],
        )

    @property
    def overestimate(self) -> float:
        """Mean over the networks of the robust accuracy under the search's attack minus that under all."""
        return float(np.mean([network.by_search - network.accuracy[1] for network in self.networks]))

    def table(self) -> pd.DataFrame:
        """Return the content of ``verified.csv``, one row per network."""
        import pandas as pd

        rows = [self._row(network) for network in self.networks]
        return pd.DataFrame(rows, columns=list(VERIFIED_COLUMNS))

    def _row(self, network: Network) -> dict[str, object]:
        clean, robust = network.accuracy
        clean_low, clean_high = wilson(int(network.clean.sum()), self.images)
        robust_low, robust_high = wilson(int(network.robust.sum()), self.images)
        rival = self.beaten_by(network)
        after = {
            f"after_{attack.replace('-', '_')}": network.after.get(attack, 0) / self.images
            for attack in WHITE_BOX
        }
        return {
            "number": network.number,
            "epoch": network.epoch,
            "name": network.label,
            "images": self.images,
            "late_images": self.late_images,
            "clean_accuracy": clean,
            "clean_low": clean_low,
            "clean_high": clean_high,
            "robust_accuracy": robust,
            "robust_low": robust_low,
            "robust_high": robust_high,
            **after,
            "on_front": network.member and not network.flags and rival is None,
            "beaten_by": "" if rival is None else rival.name,
            "flags": " | ".join(network.flags),
        }


def beats(first: Network, second: Network, tests: int = 2) -> bool:
    """Test whether the first network is significantly better than the second.

    It is when it is at least as good in both accuracies, and significantly better in one of them by McNemar's
    test on the same images.

    Args:
        first: A network.
        second: Another network.
        tests: Number of tests that are made in all; the significance level is divided by it (Bonferroni).
    """
    differences = compare(first, second)
    as_good = all(difference.value >= 0 for difference in differences)
    return as_good and any(difference.p < (1 - LEVEL) / tests for difference in differences)


def compare(first: Network, second: Network) -> tuple[Difference, Difference]:
    """Compute the clean and the robust accuracy of the first network minus those of the second."""
    return paired_difference(first.clean, second.clean), paired_difference(first.robust, second.robust)


def read_verification(run_data: RunData) -> Verification | None:
    """Read the verification of a run from its attack records.

    Returns:
        The verification; None when there is no image on which every network was attacked.

    Raises:
        RunFolderError: An attack record is damaged.
    """
    records = read_records(run_data.run)
    if not records:
        return None
    entries = run_data.networks
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
    late = np.logical_and.reduce([_finished(record, STAGES) for record in comparable.values()])
    if not white_box.any():
        return None
    networks = [
        _network(comparable[entry.name], entry, white_box, late)
        for entry in entries
        if entry.name in comparable
    ]
    missing = tuple(entry.name for entry in entries if entry.name not in comparable)
    return Verification(tuple(networks), int(white_box.sum()), int(late.sum()), len(white_box), missing)


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
    """Return the images with all results of these attacks, or on which the network is already wrong."""
    columns = [0, *(COLUMNS.index(attack) for attack in attacks if attack in record.attacks)]
    misclassified = (record.table == BROKEN).any(axis=1)
    return np.asarray(misclassified | (record.table[:, columns] != UNKNOWN).all(axis=1))


def _network(record: AttackRecord, entry: NetworkEntry, white_box: Flags, late: Flags) -> Network:
    """Count the results of a network.

    Args:
        record: Its record, with diagnostics.
        entry: The network.
        white_box: Images on which every network was attacked with the white-box attacks.
        late: Images on which every network was attacked with all attacks.
    """
    assert record.diagnostics is not None
    table, late_table = record.table[white_box], record.table[late]
    after = {name: int(_robust(table, name).sum()) for name in ("clean", *WHITE_BOX)}
    late_after = {name: int(_robust(late_table, name).sum()) for name in ("clean", *STAGES)}
    # FAB-T and Square count only on images on which every network was attacked with them.
    robust = np.where(late[white_box], _robust(table, STAGES[-1]), _robust(table, WHITE_BOX[-1]))
    warnings = masking_warnings(record.diagnostics, after, len(table), len(late_table), late_after)
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
    )


def _robust(table: NDArray[np.int8], attack: str) -> Flags:
    """Return which images are correctly classified after an attack and all attacks before it."""
    results = table[:, : COLUMNS.index(attack) + 1]
    return np.asarray((table[:, 0] == ROBUST) & ~(results == BROKEN).any(axis=1))
