"""The head of the page: notes on the status of the run, and its key figures."""

from __future__ import annotations

from datetime import datetime

from morel_search._format import area_text, duration, evaluation_text, shortened
from morel_search.analysis.attacks_run import attack_counts
from morel_search.analysis.hypervolume import hypervolume, hypervolume_interval
from morel_search.analysis.run_data import RunData
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import leading

__all__ = ["data_set_words", "key_figures", "status_notes"]

_DATA = {
    "digits": "handwritten digits",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "svhn": "SVHN",
    "stl10": "STL-10",
    "image_folder": "image folder",
    "parquet": "parquet files",
    "npz": "NumPy arrays",
}

_STATUS = {
    "running": "The search was still running when this page was written.",
    "stopped": "The search was interrupted before its end.",
}


def status_notes(run_data: RunData) -> list[str]:
    """Return a note on an unfinished search, and the warnings about the space file."""
    note = _STATUS.get(run_data.settings.status or "")
    return [*([note] if note else []), *run_data.settings.warnings]


def key_figures(run_data: RunData, verification: Verification | None = None) -> list[tuple[str, str]]:
    """Return the key figures of a run, as pairs of a label and a short text; verified ones come first."""
    leads = leading(verification)
    verified = [] if leads is None else _verified_figures(leads)
    return [
        *verified,
        ("Data set", data_set_words(run_data, verification)),
        ("Network", str(run_data.section("network").get("name", "?")).rpartition(":")[2]),
        ("Attacks of the search", evaluation_text(run_data.section("evaluation"))),
        ("Hypervolume above (0, 0)", _hypervolume_words(run_data)),
        ("Trials", _trial_words(run_data)),
        ("Search", _search_words(run_data)),
        ("Time", _time_words(run_data)),
        ("Device", _device_words(run_data)),
    ]


def data_set_words(run_data: RunData, verification: Verification | None = None) -> str:
    """Return the data set with its classes, the size of an image, and the number of images, where known."""
    data, images = run_data.section("data"), run_data.settings.images or {}
    name = str(data.get("name", "?"))
    words = _DATA.get(name, name)
    if name in ("image_folder", "parquet", "npz") and data.get("train"):
        words += f" {shortened(data['train'])}"
    parts = []
    if classes := images.get("classes"):
        parts.append(f"{classes:,} classes")
    shape = images.get("shape") or []
    if len(shape) == 3:
        channels = {1: "grey", 3: "colour"}.get(shape[0], f"{shape[0]} channels")
        parts.append(f"{shape[1]} × {shape[2]} pixels, {channels}")
    counts = {"training": images.get("train"), "validation": run_data.validation_images}
    counts["test"] = None if verification is None else verification.all_images
    known = [f"{count:,} {split}" for split, count in counts.items() if count is not None]
    if known:
        parts.append(f"{', '.join(known)} images")
    return ": ".join([words, *(["; ".join(parts)] if parts else [])])


def _verified_figures(verification: Verification) -> list[tuple[str, str]]:
    controls = verification.controls
    words = area_text(verification.hypervolumes[1], verification.hypervolume_interval)
    if controls:
        area = hypervolume([network.accuracy for network in controls])
        interval = hypervolume_interval([(network.clean, network.robust) for network in controls])
        words += f"; controls alone {area_text(area, interval)}"
    return [
        ("Verified hypervolume above (0, 0)", f"{words}, on {verification.images} test images"),
        ("Attacks of the verification", attack_counts(verification)),
    ]


def _hypervolume_words(run_data: RunData) -> str:
    if run_data.feasible.empty:
        return "–"
    controls = run_data.control_hypervolume
    alone = f"; controls alone {controls:.4f}" if controls else ""
    return f"{run_data.hypervolume:.4f}{alone}, on validation images under the search's attack"


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
