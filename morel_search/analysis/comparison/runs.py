"""Runs read for a comparison: their fronts on the same kind of accuracies, hypervolumes and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morel_search._format import with_interval
from morel_search.analysis.comparison.comparable import (
    check_attack,
    check_images,
    image_warnings,
    verified_warnings,
)
from morel_search.analysis.headline import headline
from morel_search.analysis.hypervolume import hypervolume, hypervolume_difference, hypervolume_interval
from morel_search.analysis.intervals import Difference, wilson
from morel_search.analysis.members import FEWEST_VERIFIED
from morel_search.analysis.run_data import RunData, read_run_data
from morel_search.analysis.spent import Spent, spent
from morel_search.analysis.verdicts import Verdict, judge
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import leading, read_verification
from morel_search.errors import RunFolderError
from morel_search.results.folder import open_run_folder

__all__ = ["MOST_RUNS", "ComparedNetwork", "ComparedRun", "Comparison", "read_comparison"]

MOST_RUNS = 8
"""Largest number of runs in a comparison: as many colours can be told apart."""

Flags = NDArray[np.bool_]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class ComparedNetwork:
    """A network of a front.

    Attributes:
        name: Its name in the run.
        label: Name of the control; empty for other networks.
        accuracy: Clean and robust accuracy.
        intervals: Their 95 % intervals; None when the number of images is not known.
        answers: Whether each image is correctly classified without an attack and under attack; None on
            validation images.
        beaten_by: The network of its own run that beats it, beyond chance; empty without any.
    """

    name: str
    label: str
    accuracy: tuple[float, float]
    intervals: tuple[Interval, Interval] | None
    answers: tuple[Flags, Flags] | None = None
    beaten_by: str = ""

    @property
    def labelled_name(self) -> str:
        """``12 (trades)`` for a control, ``12`` for another network."""
        return f"{self.name} ({self.label})" if self.label else self.name

    @property
    def accuracy_texts(self) -> tuple[str, str]:
        """Clean and robust accuracy in words, with their intervals where these are known."""
        (clean, robust), ends = self.accuracy, self.intervals or (None, None)
        return with_interval(clean, ends[0]), with_interval(robust, ends[1])


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """A run of a comparison.

    Attributes:
        label: Its name, different from those of the other runs.
        data: The run.
        images: Number of images of the accuracies; None when it is not known.
        networks: The networks of its front, from the highest to the lowest clean accuracy; in a comparison
            of verified accuracies without those that were flagged for gradient masking.
        cost: The cost of its trials.
    """

    label: str
    data: RunData
    images: int | None
    networks: tuple[ComparedNetwork, ...]
    cost: Spent

    @property
    def front(self) -> list[ComparedNetwork]:
        """The networks that no other network of the run beats, beyond chance."""
        return [network for network in self.networks if not network.beaten_by]

    @property
    def ends(self) -> tuple[ComparedNetwork, ComparedNetwork]:
        """The most accurate and the most robust of its networks; of equal ones the better in the other."""
        accurate = max(self.networks, key=lambda network: network.accuracy)
        return accurate, max(self.networks, key=lambda network: network.accuracy[::-1])

    @property
    def area(self) -> float:
        """Hypervolume of its networks above (0, 0)."""
        return hypervolume([network.accuracy for network in self.networks])

    @property
    def area_interval(self) -> Interval | None:
        """Its 95 % interval, by drawing the images again; None on validation images."""
        answers = self.answers
        return None if answers is None else hypervolume_interval(answers)

    @property
    def answers(self) -> list[tuple[Flags, Flags]] | None:
        """The answers of its networks on the images; None on validation images."""
        known = [network.answers for network in self.networks if network.answers is not None]
        return known if known and len(known) == len(self.networks) else None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs, compared by the same kind of accuracies.

    Attributes:
        runs: The runs, in the order in which they were given.
        verified: Whether the accuracies are verified ones; else they are those on validation images.
        paired: Whether the networks of all runs were attacked on the same images.
        warnings: What makes the comparison less certain, one sentence each.
    """

    runs: tuple[ComparedRun, ...]
    verified: bool
    paired: bool
    warnings: tuple[str, ...]

    def area_difference(self, run: ComparedRun, other: ComparedRun) -> Difference | None:
        """Return the hypervolume of a run minus that of another; None where no interval can be given."""
        first, second = run.answers, other.answers
        if first is None or second is None:
            return None
        return hypervolume_difference(first, second, paired=self.paired)

    @cached_property
    def verdicts(self) -> dict[tuple[str, str], Verdict]:
        """The verdict on each network among the fronts of all runs, by the label of the run and its name.

        Empty unless all networks were attacked on the same images.
        """
        if not self.paired:
            return {}
        answers = {
            (run.label, network.name): network.answers
            for run in self.runs
            for network in run.front
            if network.answers is not None
        }
        if not answers:
            return {}
        keys = {f"{index}": key for index, key in enumerate(answers)}
        judged = judge({ident: answers[key] for ident, key in keys.items()}, set(keys))
        return {keys[ident]: verdict for ident, verdict in judged.items()}

    def beaten(self, run: ComparedRun) -> list[tuple[ComparedNetwork, ComparedRun, ComparedNetwork]]:
        """Return the networks of a run's front that a network of another run beats, with both."""
        keys = list(self.verdicts)
        beaten = []
        for network in run.front:
            verdict = self.verdicts.get((run.label, network.name))
            if verdict is None or verdict.kind != "beaten":
                continue
            label, name = keys[int(verdict.rival)]
            if label != run.label:
                other = next(other for other in self.runs if other.label == label)
                beaten.append((network, other, next(n for n in other.networks if n.name == name)))
        return beaten


def read_comparison(folders: Sequence[Path]) -> Comparison:
    """Read runs for a comparison.

    Verified accuracies are compared if every run has them, on at least as many images as a report requires;
    otherwise the validation accuracies of all runs are compared.

    Args:
        folders: The run folders, two to eight.

    Raises:
        RunFolderError: A folder is given twice or is no run folder, a run has no network, or the data sets or
            the attacks differ so that the accuracies have no common meaning.
    """
    if not 2 <= len(folders) <= MOST_RUNS:
        raise RunFolderError(f"give two to {MOST_RUNS} run folders to compare, got {len(folders)}")
    paths = [open_run_folder(folder).path.resolve() for folder in folders]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise RunFolderError(f"the run folder {folders[index]} is given twice")
    runs = {
        label: read_run_data(open_run_folder(path)) for label, path in zip(_labels(paths), paths, strict=True)
    }
    for label, data in runs.items():
        if data.front.empty:
            raise RunFolderError(f"{label} has no network to compare: {headline(data)}")
    found = {label: leading(read_verification(data)) for label, data in runs.items()}
    verifications = {label: each for label, each in found.items() if each is not None}
    notes = _status_notes(runs)
    usable = len(verifications) == len(runs) and all(each.unflagged for each in verifications.values())
    hashes = {each.data for each in verifications.values()}
    check_images(runs, same_test_images=usable and len(hashes) == 1)
    check_attack(runs)
    if not usable:
        notes += [_why_not_verified(runs, verifications), *image_warnings(runs)]
        compared = tuple(_by_validation(label, data) for label, data in runs.items())
        return Comparison(compared, verified=False, paired=False, warnings=tuple(notes))
    shown = _common_images(list(verifications.values())) if len(hashes) == 1 else None
    notes += verified_warnings(verifications, same_images=shown is not None)
    compared = tuple(_by_verification(label, runs[label], verifications[label], shown) for label in runs)
    return Comparison(compared, verified=True, paired=shown is not None, warnings=tuple(notes))


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that are all different, at least their last names."""
    for count in range(1, max(len(path.parts) for path in paths)):
        labels = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _status_notes(runs: dict[str, RunData]) -> list[str]:
    running = [label for label, data in runs.items() if data.settings.status == "running"]
    return [f"Still running when this was read: {', '.join(running)}."] if running else []


def _why_not_verified(runs: dict[str, RunData], verifications: dict[str, Verification]) -> str:
    missing = [label for label in runs if label not in verifications or not verifications[label].unflagged]
    return (
        f"Without verified accuracies of at least {FEWEST_VERIFIED} images: {', '.join(missing)}. All runs "
        "are therefore compared on validation images, by which their networks were selected, and without an "
        "interval of the hypervolume."
    )


def _by_validation(label: str, data: RunData) -> ComparedRun:
    images, networks = data.validation_images, []
    for entry in data.networks:
        if entry.member:
            ends = None
            if images is not None:
                clean, robust = (wilson(value * images, images) for value in entry.validation)
                ends = clean, robust
            networks.append(ComparedNetwork(entry.name, entry.label, entry.validation, ends))
    return ComparedRun(label, data, images, tuple(networks), spent(data))


def _by_verification(
    label: str, data: RunData, verification: Verification, shown: Flags | None
) -> ComparedRun:
    """Return a run with its verified accuracies, on the images of ``shown`` if it is given."""
    kept = np.ones(verification.images, dtype=bool) if shown is None else shown[verification.shown]
    networks = []
    for network in verification.unflagged:
        clean, robust = network.clean[kept], network.robust[kept]
        count = len(clean)
        networks.append(
            ComparedNetwork(
                network.name,
                network.label,
                (float(clean.mean()), float(robust.mean())),
                (wilson(int(clean.sum()), count), wilson(int(robust.sum()), count)),
                (clean, robust),
                verification.beaten_by(network),
            )
        )
    networks.sort(key=lambda network: (-network.accuracy[0], network.accuracy[1]))
    return ComparedRun(label, data, int(kept.sum()), tuple(networks), spent(data))


def _common_images(verifications: Sequence[Verification]) -> Flags | None:
    """Return the images on which all runs were attacked; None if they are too few for a comparison."""
    shown: Flags = np.logical_and.reduce([verification.shown for verification in verifications])
    return shown if int(shown.sum()) >= FEWEST_VERIFIED else None
