"""Sentences and key figures of the report."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from morel_search._format import attack_text, duration, format_number, number_of, percent, points
from morel_search.analysis.run_data import POINT, RunData

__all__ = [
    "bound_words",
    "chance_words",
    "compare_controls",
    "constraint_words",
    "exchange_rate",
    "key_figures",
    "reason_words",
    "sentences",
]

_DATA = {
    "digits": "handwritten digits (8 × 8)",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "image_folder": "image folder",
    "parquet": "parquet files",
}


def sentences(run_data: RunData) -> list[str]:
    """Return the sentences below the headline: the exchange rate of the front, and the use of the splits."""
    if run_data.complete.empty:
        failed = len(run_data.failed)
        return (
            [f"{failed} of {len(run_data.trials)} trials failed; the reasons are listed below."]
            if failed
            else []
        )
    if run_data.feasible.empty:
        return [f"{constraint_words(run_data)} There is no front, and so no hypervolume."]
    lines = []
    rate = exchange_rate(run_data.front[POINT].to_numpy(dtype=float))
    if rate is not None:
        where = "In the middle of the front" if len(run_data.front) > 2 else "Between its ends"
        lines.append(
            f"{where}, one more point of robust accuracy costs about {_rate(rate)} of clean accuracy "
            "(validation split)."
        )
    lines.append("Networks and epochs were selected on the validation split.")
    if run_data.tested:
        lines.append(
            "The test split was used only after the search, to measure finished networks; it was not used "
            "for "
            "any selection."
        )
    else:
        lines.append("The front has not been measured on the test split.")
    return lines


def constraint_words(run_data: RunData) -> str:
    """Return the constraints and the number of networks that violate one; empty without constraints."""
    bounds, infeasible, finished = run_data.constraints, len(run_data.infeasible), len(run_data.complete)
    if not bounds and not infeasible:
        return ""
    named = f"Constraints: {', '.join(bound_words(*bound) for bound in bounds.items())}. " if bounds else ""
    count = f"All {finished}" if infeasible == finished > 1 else f"{infeasible or 'None'} of {finished}"
    networks = "network" if finished == 1 else "networks"
    return f"{named}{count} finished {networks} {'violate' if infeasible > 1 else 'violates'} a constraint."


def bound_words(name: str, bound: str) -> str:
    """Return a constraint as ``clean_accuracy ≥ 0.8``; a bound that cannot be read is returned as it is."""
    sign, value = bound[:2], number_of(bound[2:].strip())
    known = {">=": "≥", "<=": "≤"}.get(sign)
    if not known or value is None:
        return f"{name} {bound}"
    short = format_number(value)
    exact = math.isclose(number_of(short) or 0.0, value, rel_tol=1e-7)
    return f"{name} {known} {short if exact else f'{value:.8g}'}"


def _rate(rate: float) -> str:
    shown = f"{rate:.1f}" if rate >= 0.095 else f"{rate:.2f}"
    return f"{shown} point" if shown == "1.0" else f"{shown} points"


def exchange_rate(front: NDArray[np.float64]) -> float | None:
    """Return the clean accuracy that one unit of robust accuracy costs in the middle half of the front.

    Args:
        front: Clean and robust accuracies of the front, as fractions, shape (n, 2).

    Returns:
        The slope of the front, interpolated linearly, between 25 % and 75 % of the range of its robust
        accuracies; None when all robust accuracies are equal.
    """
    order = np.argsort(front[:, 1], kind="stable")
    clean, robust = front[order, 0], front[order, 1]
    if len(front) < 2 or robust[-1] <= robust[0]:
        return None
    ends = robust[0] + (robust[-1] - robust[0]) * np.array([0.25, 0.75])
    at = np.interp(ends, robust, clean)
    return float((at[0] - at[1]) / (ends[1] - ends[0]))


def compare_controls(run_data: RunData) -> list[tuple[str, str, str]]:
    """Compare each control with the networks of the front.

    Returns:
        For each control: its name, its validation accuracies, and a sentence that names the most robust
        searched network on the front that dominates it, or says that there is none.
    """
    members = run_data.front[run_data.front["origin"] != "control"]
    infeasible, compared = set(run_data.infeasible["number"]), []
    for _, control in run_data.controls.iterrows():
        clean, robust = float(control[POINT[0]]), float(control[POINT[1]])
        rivals = members[(members[POINT[0]] >= clean) & (members[POINT[1]] >= robust)]
        rivals = rivals[(rivals[POINT[0]] > clean) | (rivals[POINT[1]] > robust)]
        if rivals.empty:
            sentence = "Not dominated by any searched network" + (
                "; it is on the front." if control["number"] in set(run_data.front["number"]) else "."
            )
        else:
            rival = rivals.sort_values([POINT[1], POINT[0]]).iloc[-1]
            sentence = _dominated_by(
                run_data.network(rival["number"], rival["epoch"]),
                float(rival[POINT[0]]) - clean,
                float(rival[POINT[1]]) - robust,
            )
        if control["number"] in infeasible:
            sentence += " It violates a constraint."
        compared.append(
            (
                str(control["name"]) or f"trial {control['number']}",
                f"{percent(clean)} clean, {percent(robust)} robust",
                sentence,
            )
        )
    return compared


def _dominated_by(network: str, clean: float, robust: float) -> str:
    named = f"Dominated by network {network}:"
    if robust <= 0:
        return f"{named} {points(clean)} more clean accuracy, the same robust accuracy."
    if clean < 0.0005:
        return f"{named} {points(robust)} more robust accuracy, the same clean accuracy."
    return f"{named} {points(robust)} more robust accuracy, {points(clean)} more clean accuracy."


def key_figures(run_data: RunData) -> list[tuple[str, str]]:
    """Return the key figures of a run, as pairs of a label and a short text."""
    data, network = run_data.section("data"), run_data.section("network")
    controls = run_data.control_hypervolume
    any_feasible = len(run_data.feasible) > 0 or run_data.complete.empty
    return [
        ("Data set", _DATA.get(str(data.get("name")), str(data.get("name", "?")))),
        ("Network", str(network.get("name", "?")).rpartition(":")[2]),
        ("Attack of the search", attack_text(run_data.section("evaluation"))),
        ("Trials", _trial_words(run_data)),
        (
            "Hypervolume above (0, 0)",
            f"{run_data.hypervolume:.4f}" + (f" (controls alone {controls:.4f})" if controls else "")
            if any_feasible
            else "–",
        ),
        ("Time", _time_words(run_data)),
        ("Search", _search_words(run_data)),
        ("Device", _device_words(run_data)),
    ]


def _trial_words(run_data: RunData) -> str:
    parts = [f"{len(run_data.complete)} finished"]
    if len(run_data.infeasible):
        parts[0] += (
            f" ({len(run_data.infeasible)} violate{'s' if len(run_data.infeasible) == 1 else ''} a "
            "constraint)"
        )
    if len(run_data.stopped):
        parts.append(f"{len(run_data.stopped)} stopped early")
    parts.append(f"{len(run_data.failed)} failed")
    return ", ".join(parts)


def _search_words(run_data: RunData) -> str:
    count, seed = len(run_data.parameters), run_data.settings.seed
    sampler = {"nsga2": "NSGA-II", "nsga3": "NSGA-III", "tpe": "TPE", "gp": "GP"}.get(
        str(run_data.section("search").get("sampler"))
    )
    words = [
        f"{count} parameter{'' if count == 1 else 's'}",
        sampler or str(run_data.section("search").get("sampler", "?")),
    ]
    return ", ".join([*words, *([] if seed is None else [f"seed {seed}"])])


def _time_words(run_data: RunData) -> str:
    trained = float(run_data.trials["seconds"].sum())
    try:
        begun, ended = (
            datetime.fromisoformat(str(moment))
            for moment in (run_data.settings.created, run_data.settings.finished)
        )
        return f"{duration((ended - begun).total_seconds())}; sum of training times {duration(trained)}"
    except (KeyError, ValueError, TypeError):
        return f"sum of training times {duration(trained)}"


def _device_words(run_data: RunData) -> str:
    device, hardware = run_data.settings.device, run_data.settings.hardware
    names = hardware.get("gpus") or []
    if (device or "").startswith("cuda") and names:
        return ", ".join(
            f"{names.count(name)} × {name}" if names.count(name) > 1 else name
            for name in dict.fromkeys(names)
        )
    cores = hardware.get("cores")
    return (device or "?") + (f", {cores} cores" if cores else "")


def chance_words(run_data: RunData) -> str:
    """Return the largest standard error of a validation accuracy; empty for an unknown number of images."""
    images = run_data.settings.validation_images
    count = number_of(run_data.section("data").get("validation") if images is None else images)
    if count is None or count < 2:
        return ""
    return (
        f"With {count:.0f} validation images, the standard error of an accuracy is at most "
        f"{points(0.5 / math.sqrt(count))}."
    )


def reason_words(text: object) -> str:
    """Return the reason of a failure, shortened to about 600 characters."""
    reason = str(text).strip() or "no reason was recorded"
    return reason if len(reason) <= 600 else f"{reason[:400]} … {reason[-180:]}"
