"""What is left of a front once it has been attacked with all there is: intervals, ties, and what the search's own figures were worth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.hypervolume import hypervolume
from morel_search.analysis.intervals import LEVEL, Difference, paired_difference, wilson
from morel_search.analysis.masking import masking_warnings
from morel_search.analysis.run_data import POINT, RunData
from morel_search.analysis.statistics import spearman
from morel_search.results.attack_names import STAGES, WHITE_BOX
from morel_search.results.attack_records import BROKEN, COLUMNS, ROBUST, UNKNOWN, AttackRecord, read_records

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Network", "Verification", "read_verification"]

Flags = NDArray[np.bool_]


class _Wanted(NamedTuple):
    """The first fields of a :class:`Network`."""

    name: str
    number: int
    epoch: int
    member: bool
    label: str
    validation: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One verified network.

    Attributes:
        name: As its folder in ``front/`` is named.
        number: Its trial.
        epoch: Its epoch.
        member: Whether it is on the front as the search saw it.
        label: The control's name, else empty.
        validation: Clean and robust accuracy on the validation split, as the search saw them.
        clean: Which of the N images it classifies rightly, shape (N,).
        robust: Which of them it does after every attack, shape (N,).
        after: How many are right after each attack that was run on all N.
        late: How many of the :attr:`Verification.late_images` are right after all attacks by gradient, and after each later one.
        diagnostics: Its signs.
        flags: What looks wrong, a sentence each.
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
    diagnostics: Mapping[str, Any]
    flags: tuple[str, ...]

    @property
    def accuracy(self) -> tuple[float, float]:
        """Clean and robust accuracy."""
        return float(self.clean.mean()), float(self.robust.mean())

    @property
    def by_search(self) -> float:
        """Robust accuracy under the search's own attack, on the same images."""
        return self.after["pgd"] / len(self.clean)


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """Every network of a run that was verified, on the images that all of them have seen.

    Attributes:
        networks: The front's members, from the most accurate to the most robust on the validation split, then the controls.
        images: Images that every network met with every attack by gradient.
        late_images: Those of them that every network met with FAB-T and Square too.
        all_images: Images of the test split.
        missing: Names of the networks that no image was attacked on yet, or not in the same way.
    """

    networks: tuple[Network, ...]
    images: int
    late_images: int
    all_images: int
    missing: tuple[str, ...] = ()

    @property
    def members(self) -> list[Network]:
        """Those of the validation front."""
        return [network for network in self.networks if network.member]

    @property
    def unflagged(self) -> list[Network]:
        """Those of the front that nothing is said against."""
        return [network for network in self.members if not network.flags]

    @property
    def flagged(self) -> list[str]:
        """Names of the networks that something is said against."""
        return [network.name for network in self.networks if network.flags]

    def beaten_by(self, network: Network) -> Network | None:
        """A network without flags that is better in one accuracy beyond chance and not worse in the other; None where there is none.

        Beyond chance counts that every rival could have been it, in either accuracy (Bonferroni).
        """
        rivals = [other for other in self.networks if not other.flags and other is not network]
        return next((other for other in rivals if beats(other, network, 2 * len(rivals))), None)

    @property
    def front(self) -> list[Network]:
        """The members without flags that no network beats beyond chance."""
        return [network for network in self.unflagged if self.beaten_by(network) is None]

    @property
    def hypervolumes(self) -> tuple[float, float]:
        """That of the front as the search saw it on the validation split, and what verification leaves of it."""
        seen = [network.validation for network in self.members]
        left = [network.accuracy for network in self.unflagged]
        return (hypervolume(seen) if seen else 0.0, hypervolume(left) if left else 0.0)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of robust accuracy under the search's attack and under all of them; None of fewer than three networks."""
        return spearman(
            [network.by_search for network in self.networks],
            [network.accuracy[1] for network in self.networks],
        )

    @property
    def overestimate(self) -> float:
        """By how much the search's own attack is too kind, on average over the networks, in fractions."""
        return float(np.mean([network.by_search - network.accuracy[1] for network in self.networks]))

    def table(self) -> pd.DataFrame:
        """A row a network: what ``verified.csv`` holds."""
        import pandas as pd

        return pd.DataFrame([self._row(network) for network in self.networks])

    def _row(self, network: Network) -> dict[str, Any]:
        (clean, robust), count = network.accuracy, self.images
        low, high = wilson(int(network.clean.sum()), count), wilson(int(network.robust.sum()), count)
        beaten = self.beaten_by(network)
        return {
            "number": network.number,
            "epoch": network.epoch,
            "name": network.label,
            "images": count,
            "late_images": self.late_images,
            "clean_accuracy": clean,
            "clean_low": low[0],
            "clean_high": low[1],
            "robust_accuracy": robust,
            "robust_low": high[0],
            "robust_high": high[1],
            **{
                f"after_{stage.replace('-', '_')}": network.after.get(stage, 0) / count for stage in WHITE_BOX
            },
            "on_front": network.member and not network.flags and beaten is None,
            "beaten_by": "" if beaten is None else beaten.name,
            "flags": " | ".join(network.flags),
        }


def beats(first: Network, second: Network, tests: int = 2) -> bool:
    """Whether the first is at least as good in both accuracies, and better in one beyond chance (McNemar's test on the same images).

    Args:
        first: A network.
        second: Another one.
        tests: How many such tests are made, each of which could go wrong by chance.
    """
    differences = compare(first, second)
    return all(one.value >= 0 for one in differences) and any(
        one.p < (1 - LEVEL) / tests for one in differences
    )


def compare(first: Network, second: Network) -> tuple[Difference, Difference]:
    """Clean and robust accuracy of the first minus those of the second."""
    return paired_difference(first.clean, second.clean), paired_difference(first.robust, second.robust)


def read_verification(run_data: RunData) -> Verification | None:
    """What the run folder holds of its front and its controls; None where no image has been attacked on every one of them."""
    records = read_records(run_data.run)
    if not records:
        return None
    wanted = _wanted(run_data)
    known = _alike(
        {
            one.name: records[one.name]
            for one in wanted
            if one.name in records and _seen(records[one.name], WHITE_BOX).any()
        }
    )
    if not known:
        return None
    seen = np.logical_and.reduce([_seen(record, WHITE_BOX) for record in known.values()])
    late = np.logical_and.reduce([_seen(record, STAGES) for record in known.values()])
    if not seen.any():
        return None
    networks = tuple(_network(known[one.name], one, seen, late) for one in wanted if one.name in known)
    missing = tuple(one.name for one in wanted if one.name not in known)
    return Verification(networks, int(seen.sum()), int(late.sum()), len(seen), missing)


def _alike(records: Mapping[str, AttackRecord]) -> dict[str, AttackRecord]:
    """Those of the records that were made in the way in which most were: others cannot be compared with them."""

    def way(record: AttackRecord) -> str:
        return json.dumps(
            [len(record.table), *(record.diagnostics.get(name) for name in ("evaluation", "seed", "data"))],
            sort_keys=True,
        )

    ways = Counter(way(record) for record in records.values())
    return {name: record for name, record in records.items() if way(record) == ways.most_common(1)[0][0]}


def _wanted(run_data: RunData) -> list[_Wanted]:
    """The front's members, and the controls beside it."""
    import pandas as pd

    found: dict[str, _Wanted] = {}
    for rows, member in ((run_data.front, True), (run_data.controls, False)):
        for row in rows.to_dict("records"):
            number, epoch = int(row["number"]), -1 if pd.isna(row["epoch"]) else int(row["epoch"])
            label = str(row["name"]) if row["origin"] == "control" else ""
            one = _Wanted(
                run_data.network(number, row["epoch"]),
                number,
                epoch,
                member,
                label,
                (float(row[POINT[0]]), float(row[POINT[1]])),
            )
            found.setdefault(one.name, one)
    return [*found.values()]


def _seen(record: AttackRecord, stages: tuple[str, ...]) -> Flags:
    """Images on which nothing is left to do by these attacks."""
    able = record.diagnostics.get("attacks", STAGES)
    columns = [0, *(COLUMNS.index(stage) for stage in stages if stage in able)]
    broken = (record.table == BROKEN).any(axis=1)
    return np.asarray(broken | (record.table[:, columns] != UNKNOWN).all(axis=1))


def _network(record: AttackRecord, wanted: _Wanted, seen: Flags, late: Flags) -> Network:
    table = record.table[seen]
    after = {name: int(_standing(table, name).sum()) for name in ("clean", *WHITE_BOX)}
    last = record.table[late]
    then = {name: int(_standing(last, name).sum()) for name in ("clean", *STAGES)}
    said = masking_warnings(record.diagnostics, after, int(seen.sum()), int(late.sum()), then)
    robust = np.where(
        late[seen], _standing(table, STAGES[-1]), _standing(table, WHITE_BOX[-1])
    )  # every network met the same attacks
    return Network(*wanted, table[:, 0] == ROBUST, robust, after, then, record.diagnostics, tuple(said))


def _standing(table: NDArray[np.int8], stage: str) -> Flags:
    """Which images are right after an attack and all before it."""
    return np.asarray((table[:, 0] == ROBUST) & ~(table[:, : COLUMNS.index(stage) + 1] == BROKEN).any(axis=1))
