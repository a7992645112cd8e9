"""The lead of the page: its title and first sentences, from the verified accuracies where there are any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from morel_search._format import attack_text, interval_text, percent
from morel_search.analysis.attacks_run import unverified
from morel_search.analysis.differences import difference_words
from morel_search.analysis.front import front_mask
from morel_search.analysis.headline import headline
from morel_search.analysis.intervals import paired_covariance, ratio_interval
from morel_search.analysis.members import FEWEST_VERIFIED
from morel_search.analysis.report.commands import module_command
from morel_search.analysis.report.constraints import constraint_words, nearest_words
from morel_search.analysis.report.exchange_rate import exchange_rate_words
from morel_search.analysis.rivals import rival_sentence
from morel_search.analysis.run_data import POINT, RunData
from morel_search.analysis.verification import Network, Verification, compare
from morel_search.analysis.verification_reader import leading

__all__ = ["ends", "images_words", "sentences", "title"]


def title(run_data: RunData, verification: Verification | None) -> str:
    """Return the title: the ends of the verified front, or those of the search, which are not verified.

    A network that the verification found beaten or flagged is never named in it.
    """
    leads = leading(verification)
    if leads is None:
        known = headline(run_data)
        if run_data.front.empty:
            return known
        lost = verification is None and _has_table(run_data)
        return f"{known}, on validation images" if lost else f"{known}, on validation images and not verified"
    where = f"verified on {images_words(leads)}"
    found = ends(leads)
    if not found:
        count = len(leads.members)
        only = _only_verified(leads)
        which = f"the one {only}network" if count == 1 else f"each of the {count} {only}networks"
        return f"No network to take: {which} of the search's front was beaten or flagged, {where}"
    pairs = [
        f"{percent(clean)} clean and {percent(robust)} robust{_control(network)}"
        for network, (clean, robust) in zip(found, _accuracies(found), strict=True)
    ]
    return f"{'From ' if len(pairs) > 1 else ''}{' to '.join(pairs)}, {where}"


def sentences(run_data: RunData, verification: Verification | None = None) -> list[str]:
    """Return the sentences below the title."""
    if run_data.complete.empty:
        failed = len(run_data.failed)
        return (
            [f"{failed} of {len(run_data.trials)} trials failed; the reasons are listed below."]
            if failed
            else []
        )
    if run_data.feasible.empty:
        words = [constraint_words(run_data), "There is no front, and so no hypervolume."]
        return [" ".join([*words, *nearest_words(run_data)])]
    leads = leading(verification)
    return _search_sentences(run_data, verification) if leads is None else _verified(run_data, leads)


def ends(verification: Verification) -> list[Network]:
    """Return the most accurate and the most robust network of the verified front; one if they are the same.

    Only networks that are neither beaten nor flagged count.
    """
    front = verification.front
    if not front:
        return []
    kept = front_mask(np.array(_accuracies(front)))
    front = [network for network, on_front in zip(front, kept, strict=True) if on_front]
    front.sort(key=lambda network: (-network.accuracy[0], network.accuracy[1]))
    return [front[0]] if len(front) == 1 else [front[0], front[-1]]


def images_words(verification: Verification) -> str:
    """Return ``359 test images``, or ``120 of 359 test images`` while the verification is not complete."""
    images, total = verification.images, verification.all_images
    return f"{images} test images" if images == total else f"{images} of {total} test images"


def _verified(run_data: RunData, verification: Verification) -> list[str]:
    found = ends(verification)
    lines = [" ".join(_network_words(network) for network in found)] if found else []
    if len(found) == 2:
        lines.append(_cost_words(*found))
    lines.append(_verdict_counts(verification))
    lines += [rival_sentence(verification, rival) for rival in verification.rivals if not rival.flags]
    lines += unverified(verification)
    if found:
        lines.append(_by_the_search(run_data, found))
    return lines


def _network_words(network: Network) -> str:
    (clean, robust), (clean_interval, robust_interval) = network.accuracy, network.intervals
    return (
        f"{network.title} has {percent(clean)} clean accuracy (95% interval "
        f"{interval_text(clean_interval)}) and {percent(robust)} robust accuracy "
        f"({interval_text(robust_interval)})."
    )


def _cost_words(accurate: Network, robust: Network) -> str:
    """Return what robust accuracy costs in clean accuracy, with an interval, or that none is measurable."""
    clean_change, gain = compare(robust, accurate)
    comparison = (
        f"{robust.reference} has {difference_words(gain, 'robust accuracy')} and "
        f"{difference_words(clean_change, 'clean accuracy')} than {accurate.reference}, with one training "
        "of each"
    )
    covariance = paired_covariance((robust.clean, robust.robust), (accurate.clean, accurate.robust))
    interval = ratio_interval(
        -clean_change.value,
        gain.value,
        (float(covariance[0, 0]), float(covariance[1, 1])),
        -float(covariance[0, 1]),
    )
    beyond = gain.low > 0 and clean_change.high < 0
    if interval is None or interval[0] <= 0 or not beyond:
        return f"No cost of robust accuracy was measurable: {comparison}."
    return (
        f"One more point of robust accuracy costs about {-clean_change.value / gain.value:.2f} points of "
        f"clean accuracy (95% interval {interval[0]:.2f} to {interval[1]:.2f}): {comparison}."
    )


def _verdict_counts(verification: Verification) -> str:
    names: dict[str, list[str]] = {"beaten": [], "flagged": [], "undecided": [], "on the front": []}
    for network in verification.members:
        names[verification.kind(network)].append(network.labelled_name)
    parts = [
        f"{len(listed)} {'is' if len(listed) == 1 else 'are'} {words} ({', '.join(listed)})"
        for kind, words in (
            ("on the front", "better than every other network in one accuracy, beyond chance"),
            ("undecided", "undecided on these images"),
            ("beaten", "beaten by another network"),
            ("flagged", "flagged for gradient masking"),
        )
        if (listed := names[kind])
    ]
    count = len(verification.members)
    if count == len(verification.networks) == 1:
        return "It is the only network that was verified."
    *first, last = parts
    verdicts = f"{', '.join(first)} and {last}" if first else last
    networks = f"{_only_verified(verification)}network{'s' if count > 1 else ''}"
    return f"Of the {count} {networks} on the search's front, {verdicts}."


def _only_verified(verification: Verification) -> str:
    """Return ``verified`` and a space when other networks of the front are not verified yet, else nothing."""
    return "verified " if any(entry.member for entry in verification.absent) else ""


def _by_the_search(run_data: RunData, found: Sequence[Network]) -> str:
    images = run_data.validation_images
    count = "the" if images is None else f"{images}"
    seen = [
        f"{network.reference} had {percent(network.validation[0])} and {percent(network.validation[1])}"
        for network in found
    ]
    return (
        f"In the search's own view, on {count} validation images under its final attack, "
        f"{' and '.join(seen)}; the search selected networks by these values, so they tend to be too high."
    )


def _search_sentences(run_data: RunData, verification: Verification | None) -> list[str]:
    images = run_data.validation_images
    count = "the" if images is None else f"{images}"
    lines = [
        f"These are the search's own values: accuracies on {count} validation images, by which networks and "
        f"epochs were selected; robust accuracy is that under {_attack(run_data)}."
    ]
    lines += exchange_rate_words(run_data.front[POINT].to_numpy(dtype=float), images)
    command = module_command("verify", run_data)
    if run_data.settings.status == "running":
        lines.append(
            "No network has been verified yet; the search verifies the networks of its front at its end."
        )
    elif verification is None and _has_table(run_data):
        lines.append(
            "The networks were verified (verified.csv), but the records of the attacks are not in this copy "
            "of the run folder, so this page cannot show it."
        )
    elif verification is None:
        lines.append(f"No network has been verified; {command} attacks them on test images.")
    elif not verification.members:
        lines.append(f"No network of this front has been verified; {command} attacks them on test images.")
    else:
        lines.append(
            f"The verification has attacked {images_words(verification)} so far; this page leads with its "
            f"figures from {FEWEST_VERIFIED} images on. {command} attacks the others."
        )
    lines.append(
        "The test images were used only after the search, to measure finished networks; they were not used "
        "for any selection."
        if run_data.tested
        else "The front has not been measured on the test split."
    )
    return lines


def _has_table(run_data: RunData) -> bool:
    """Return whether verified.csv has a network with a result, also where the attack records are gone."""
    return bool(run_data.run.read_verified()["robust_accuracy"].notna().any())


def _control(network: Network) -> str:
    return f" (control {network.label})" if network.label else ""


def _attack(run_data: RunData) -> str:
    return f"the search's final attack ({attack_text(run_data.section('evaluation'))})"


def _accuracies(networks: Sequence[Network]) -> list[tuple[float, float]]:
    return [network.accuracy for network in networks]
