"""The head of the page: notes on the status of the run, sentences on its front, and key figures."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from morel_search._format import duration, evaluation_text
from morel_search.analysis.intervals import LEVEL, normal_quantile
from morel_search.analysis.report.constraints import constraint_words
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["exchange_rate", "exchange_rate_interval", "key_figures", "sentences", "status_notes"]

_DATA = {
    "digits": "handwritten digits (8 × 8)",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "image_folder": "image folder",
    "parquet": "parquet files",
}
_SAMPLERS = {"nsga2": "NSGA-II", "nsga3": "NSGA-III", "tpe": "TPE", "gp": "GP"}
_DRAWS = 1000
"""Number of draws of the bootstrap."""

_STATUS = {
    "running": "The search was still running when this page was written.",
    "stopped": "The search was interrupted before its end.",
}


def status_notes(run_data: RunData) -> list[str]:
    """Return a note on an unfinished search, and the warnings about the space file."""
    note = _STATUS.get(run_data.settings.status or "")
    return [*([note] if note else []), *run_data.settings.warnings]


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
    lines += _cost_words(run_data)
    lines.append("Networks and epochs were selected on the validation split.")
    if run_data.tested:
        lines.append(
            "The test split was used only after the search, to measure finished networks; it was not used "
            "for any selection."
        )
    else:
        lines.append("The front has not been measured on the test split.")
    return lines


def _cost_words(run_data: RunData) -> list[str]:
    front = run_data.front[POINT].to_numpy(dtype=float)
    rate, images = exchange_rate(front), run_data.validation_images
    if rate is None:
        return []
    if images is None:
        return ["The cost of robust accuracy is not known: the number of validation images is not recorded."]
    interval = exchange_rate_interval(front, images)
    if interval is None:
        return [
            "No cost of robust accuracy was measurable: on the validation split, the robust accuracies of "
            "the two ends of the front differ within chance."
        ]
    where = "In the middle of the front" if len(front) > 2 else "Between its ends"
    return [
        f"{where}, one more point of robust accuracy costs about {_rate(rate)} of clean accuracy (95% "
        f"interval {interval[0]:.2f} to {interval[1]:.2f}, for {images} validation images and one training "
        "of each network)."
    ]


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


def exchange_rate_interval(front: NDArray[np.float64], images: int) -> tuple[float, float] | None:
    """Return the 95 % interval of :func:`exchange_rate`, by a parametric bootstrap.

    The results of each network are drawn again for its accuracies, independently of the other networks. The
    networks answered the same images, so the interval is rather too wide.

    Args:
        front: Clean and robust accuracies of the front, as fractions, shape (n, 2).
        images: Number of images.

    Returns:
        Lower and upper end; None when the interval of the difference of the lowest and the highest robust
        accuracy contains 0.
    """
    clean, robust = front.T
    ends = robust.min(), robust.max()
    error = np.sqrt(sum(end * (1 - end) for end in ends) / images)
    if ends[1] - ends[0] <= normal_quantile((1 + LEVEL) / 2) * error:
        return None
    random = np.random.default_rng(0)
    robust_correct = random.binomial(images, robust, (_DRAWS, len(front)))
    # The images that are correctly classified without an attack only, among those that an attack broke.
    clean_only = np.clip((clean - robust) / np.maximum(1 - robust, 1e-12), 0, 1)
    correct = robust_correct + random.binomial(images - robust_correct, clean_only)
    draws = np.stack([correct, robust_correct], axis=2) / images
    rates = [rate for draw in draws if (rate := exchange_rate(draw)) is not None]
    low, high = np.quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def key_figures(run_data: RunData) -> list[tuple[str, str]]:
    """Return the key figures of a run, as pairs of a label and a short text."""
    data, network = run_data.section("data"), run_data.section("network")
    controls = run_data.control_hypervolume
    any_feasible = len(run_data.feasible) > 0 or run_data.complete.empty
    return [
        ("Data set", _DATA.get(str(data.get("name")), str(data.get("name", "?")))),
        ("Network", str(network.get("name", "?")).rpartition(":")[2]),
        ("Attacks of the search", evaluation_text(run_data.section("evaluation"))),
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
