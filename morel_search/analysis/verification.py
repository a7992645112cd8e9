"""The verification of a front: accuracies under all attacks, intervals, ties, and the bias of the search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.hypervolume import hypervolume, hypervolume_interval
from morel_search.analysis.intervals import Difference, paired_difference
from morel_search.analysis.run_data import NetworkEntry
from morel_search.analysis.statistics import spearman
from morel_search.analysis.verdicts import Verdict, judge
from morel_search.analysis.verified_network import Network
from morel_search.results.attack_names import LATE, WHITE_BOX
from morel_search.results.mixtures import MixtureEntry
from morel_search.results.rivals import RivalEntry
from morel_search.results.tables import VERIFIED_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Network", "Verification", "as_network", "compare"]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Verification:
    """The verified networks of a run, compared on the images on which all of them were attacked.

    Attributes:
        networks: The members of the front, from the highest to the lowest clean validation accuracy, then the
            controls.
        attacked: Number of images on which an attack counts, by its name: on every network it attacked the
            image, or skipped it because an earlier attack had already broken it. 0 if the attack was
            not run; attacks that apply to no network are left out.
        all_images: Number of images of the test split.
        absent: The networks that were not attacked yet, that were not checked for gradient masking, or that
            were attacked with a different setup.
        data: SHA-256 of the images and the labels of the test split.
        shown: Which images of the test split were attacked, shape (all_images,); the results of the networks
            are in the order of these images.
        mixtures: The mixtures that were attacked on the same images with the same attacks. They are judged
            among all networks, and no single network is judged by them.
        absent_mixtures: The mixtures that were not.
        rivals: The networks that the search did not train, and that were attacked on the same images with the
            same attacks. They are judged by the networks of the run, and no network of the run by them.
        absent_rivals: Those that were not.
    """

    networks: tuple[Network, ...]
    attacked: Mapping[str, int]
    all_images: int
    absent: tuple[NetworkEntry, ...] = ()
    data: str = ""
    shown: Flags = field(default_factory=lambda: np.zeros(0, dtype=bool))
    mixtures: tuple[Network, ...] = ()
    absent_mixtures: tuple[MixtureEntry, ...] = ()
    rivals: tuple[Network, ...] = ()
    absent_rivals: tuple[RivalEntry, ...] = ()

    @property
    def everyone(self) -> tuple[Network, ...]:
        """The networks, the mixtures and the rivals."""
        return (*self.networks, *self.mixtures, *self.rivals)

    @property
    def images(self) -> int:
        """Number of images on which every network was attacked with every white-box attack."""
        return len(self.networks[0].clean)

    @property
    def late_images(self) -> int:
        """Number of those on which every network was attacked with FAB-T and Square as well."""
        return min(self.attacked.get(attack, 0) for attack in LATE)

    @property
    def transfer_images(self) -> int:
        """Number of images on which every network was attacked by transfer; 0 if one of them was not."""
        return min(
            network.diagnostics.images if network.diagnostics.transfer else 0 for network in self.networks
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the networks in ``absent``."""
        return tuple(entry.name for entry in self.absent)

    @property
    def members(self) -> list[Network]:
        """The networks of the validation front."""
        return [network for network in self.networks if network.member]

    @property
    def unflagged(self) -> list[Network]:
        """The networks of the validation front without a sign of gradient masking."""
        return [network for network in self.members if not network.flags]

    @property
    def controls(self) -> list[Network]:
        """The controls without a sign of gradient masking."""
        return [network for network in self.networks if network.label and not network.flags]

    @property
    def flagged(self) -> list[str]:
        """Names of the networks with a sign of gradient masking."""
        return [network.name for network in self.networks if network.flags]

    @cached_property
    def verdicts(self) -> Mapping[str, Verdict]:
        """The verdict on each network, by name; flagged networks beat no other network."""
        others = {network.name for network in self.networks if not network.flags}
        return judge({network.name: (network.clean, network.robust) for network in self.networks}, others)

    @cached_property
    def mixture_verdicts(self) -> Mapping[str, Verdict]:
        """The verdict on each mixture among all networks and mixtures, by name.

        A mixture beats no single network, because its predictions cost more.
        """
        everyone = (*self.networks, *self.mixtures)
        others = {network.name for network in everyone if not network.flags}
        judged = judge({network.name: (network.clean, network.robust) for network in everyone}, others)
        return {network.name: judged[network.name] for network in self.mixtures}

    @cached_property
    def rival_verdicts(self) -> Mapping[str, Verdict]:
        """The verdict on each rival by the networks of the run, by name; a rival beats none of them here."""
        everyone = (*self.networks, *self.rivals)
        others = {network.name for network in self.networks if not network.flags}
        judged = judge({network.name: (network.clean, network.robust) for network in everyone}, others)
        return {network.name: judged[network.name] for network in self.rivals}

    def _judged(self, network: Network) -> Verdict:
        if network.rival:
            return self.rival_verdicts[network.name]
        return (self.mixture_verdicts if network.members else self.verdicts)[network.name]

    def beaten_by(self, network: Network) -> str:
        """Return the name of the unflagged network that beats this network; empty when there is none."""
        verdict = self._judged(network)
        return verdict.rival if verdict.kind == "beaten" else ""

    def kind(self, network: Network) -> str:
        """Return ``flagged``, ``beaten``, ``control``, ``rival``, ``undecided`` or ``on the front``."""
        if network.flags:
            return "flagged"
        kind = self._judged(network).kind
        if network.rival:
            return kind if kind == "beaten" else "rival"
        return kind if network.member or network.members or kind == "beaten" else "control"

    def verdict(self, network: Network) -> str:
        """Return the verdict in words, with the rival and the differences."""
        kind, verdict = self.kind(network), self._judged(network)
        names = {other.name: other.labelled_name for other in (*self.networks, *self.mixtures)}
        return (
            kind if kind in ("flagged", "control", "rival") else verdict.words(names.get(verdict.rival, ""))
        )

    @property
    def front(self) -> list[Network]:
        """The unflagged members that no other network beats: on the front, or undecided."""
        return [network for network in self.unflagged if not self.beaten_by(network)]

    @property
    def hypervolumes(self) -> tuple[float, float]:
        """Hypervolume of the validation front, and of the unflagged members under all attacks."""
        validation = [network.validation for network in self.members]
        verified = [network.accuracy for network in self.unflagged]
        return hypervolume(validation), hypervolume(verified)

    @cached_property
    def hypervolume_interval(self) -> tuple[float, float]:
        """95 % interval of the hypervolume of the unflagged members under all attacks."""
        return hypervolume_interval([(network.clean, network.robust) for network in self.unflagged])

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
    def overestimates(self) -> list[float]:
        """Robust accuracy under the search's attack minus that under all attacks, for each network."""
        return [network.by_search - network.accuracy[1] for network in self.networks]

    @property
    def overestimate(self) -> float:
        """Mean of the overestimates."""
        return float(np.mean(self.overestimates))

    def table(self) -> pd.DataFrame:
        """Return the content of ``verified.csv``, one row per network."""
        import pandas as pd

        rows = [self._row(network) for network in self.networks]
        rows += [_empty_row(entry) for entry in self.absent]
        for network in (*self.mixtures, *self.rivals):
            rows.append(self._row(network) | _named_cells(network.name))
        absent: tuple[MixtureEntry | RivalEntry, ...] = (*self.absent_mixtures, *self.absent_rivals)
        for entry in absent:
            rows.append(_empty_row(as_network(entry)) | _named_cells(entry.name))
        return pd.DataFrame(rows, columns=list(VERIFIED_COLUMNS))

    def _row(self, network: Network) -> dict[str, object]:
        clean, robust = network.accuracy
        (clean_low, clean_high), (robust_low, robust_high) = network.intervals
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
            **{
                f"images_{attack.replace('-', '_')}": images
                for attack, images in self.attacked.items()
                if attack in network.attacks
            },
            "images_transfer": network.diagnostics.images if network.diagnostics.transfer else 0,
            "clean_accuracy": clean,
            "clean_low": clean_low,
            "clean_high": clean_high,
            "robust_accuracy": robust,
            "robust_low": robust_low,
            "robust_high": robust_high,
            **after,
            "on_front": bool(network.member or network.members)
            and not network.flags
            and not self.beaten_by(network),
            "verdict": self.kind(network),
            "beaten_by": self.beaten_by(network),
            "flags": " | ".join(network.flags),
            "not_run": " | ".join(f"{attack}: {reason}" for attack, reason in network.not_run.items()),
        }


def _empty_row(entry: NetworkEntry) -> dict[str, object]:
    """Return the row of a network that was not verified: no images, and no accuracies."""
    counts = [column for column in VERIFIED_COLUMNS if column.partition("_")[0] == "images"]
    return {
        "number": entry.number,
        "epoch": -1 if entry.epoch is None else entry.epoch,
        "name": entry.label,
        "late_images": 0,
        **dict.fromkeys(counts, 0),
        **dict.fromkeys(("on_front", "verdict", "beaten_by", "flags", "not_run"), ""),
    }


def _named_cells(name: str) -> dict[str, object]:
    """Return the cells of a mixture or a rival, which is no trial: no number and no epoch."""
    return {"number": None, "epoch": None, "name": name}


def as_network(entry: MixtureEntry | RivalEntry) -> NetworkEntry:
    """Return a mixture or a rival as a network that belongs to no trial."""
    validation = entry.validation if isinstance(entry, MixtureEntry) else (math.nan, math.nan)
    return NetworkEntry(entry.name, -1, None, False, "", validation, None)


def compare(first: Network, second: Network) -> tuple[Difference, Difference]:
    """Compute the clean and the robust accuracy of the first network minus those of the second."""
    return paired_difference(first.clean, second.clean), paired_difference(first.robust, second.robust)
