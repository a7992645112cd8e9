"""Training a finished network's configuration again: one training, without Ray and without a study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err, print_out
from morel_search._consent import import_paths
from morel_search._format import duration, percent
from morel_search._version import __version__
from morel_search.errors import DataError, OutOfMemoryError, ResourceError, TrainingError
from morel_search.workflows.teacher_copy import copy_used_by

if TYPE_CHECKING:
    from morel_search._consent import Consent
    from morel_search.models.recipe import TrainingConfig
    from morel_search.models.settings import Accuracies, ModelSettings
    from morel_search.training.compute_settings import Compute
    from morel_search.training.datasets.loading import Development
    from morel_search.training.selection import EpochResult
    from morel_search.training.settings import DataSettings, TrainSettings

__all__ = ["available_device", "memory_errors", "retrain"]


def retrain(
    folder: Path,
    *,
    seed: int | None = None,
    target: Path | None = None,
    teacher: str | None = None,
    loss: str | None = None,
    device: str = "auto",
    trust_code: bool = False,
) -> Path:
    """Train a network's configuration again and write the network of the selected epoch.

    A line is printed for each epoch. The network is written before the test split is read, so that an error
    there does not lose it, and once more with its test accuracies.

    Args:
        folder: An exported network, or a run's ``front/NUMBER``.
        seed: Random seed of the training; None for the network's own.
        target: The new folder; None for a name derived from the folder, the teacher and the seed.
        teacher: Folder or import path of a network that is distilled into the configuration; None for the
            configuration's own teacher, if it has one.
        loss: Accuracy objective of the distillation; None for that of the configuration if it distils, else
            ``rslad``.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``: the device of the first training, or else the fastest
            available.
        trust_code: Whether code that the folder names may be run: a network or an objective of your own.

    Returns:
        The new folder.

    Raises:
        MorelSearchError: Settings, images or the device are missing, the training diverged or ran out of
            memory, or the new folder cannot be written.
    """
    from morel_search._consent import consent_of
    from morel_search.models.export import check_target, free_target, settings_of, write_export
    from morel_search.models.recipe import read_training_config, train_from_config
    from morel_search.models.teacher import load_teacher, taught_settings, with_fingerprint

    settings = settings_of(folder)
    consent = consent_of(trust_code=trust_code)
    config = read_training_config(settings, folder, consent)
    config = config if seed is None else replace(config, seed=seed)
    if teacher is not None or loss is not None:
        train = taught_settings(config.train, teacher, loss)
        config = replace(config, train=train)
    if teacher is not None:  # the user's own words, unlike those of the folder
        consent = replace(consent, names=consent.names | set(import_paths(teacher)))
    target = target or _target(folder, config.seed, None if teacher is None else config.train)
    check_target(target)
    device = _device(device, config.device)
    if config.network.weights is not None:
        print_out(f"weights: network.weights {config.network.weights}")
    development = _development(config.data)
    copy = copy_used_by(folder, config.train) if teacher is None else None
    loaded = load_teacher(
        config.train, development.train.images.shape[1:], development.classes, consent, copy=copy
    )
    if loaded is not None:
        config = replace(config, train=with_fingerprint(config.train, loaded))
        print_out(f"teacher: {config.train.teacher}")
    compute = _compute(config.compute, device)
    with memory_errors(device):
        kept, model = train_from_config(
            config,
            development,
            compute=compute,
            device=device,
            on_epoch=lambda result: _print_epoch(result, config.train.epochs),
            teacher=None if loaded is None else loaded.model,
        )
        validation: Accuracies = {
            "clean_accuracy": kept.clean_accuracy,
            "robust_accuracy": kept.strongest_robust_accuracy,
            "images": len(development.validation),
        }
        made = _made(settings, config, kept, development, compute, device)
        made = replace(made, figures={"validation": validation})
        if (free := free_target(target)) != target:
            print_err(f"warning: {target} was written by somebody else meanwhile; the network is in {free}")
            target = free
        write_export(target, model, made)
        test = _score(target, config, compute, device, consent)
    write_export(target, model, replace(made, figures={"test": test, "validation": validation}))
    clean, robust = percent(test["clean_accuracy"]), percent(test["robust_accuracy"])
    print_out(f"epoch {kept.epoch} on the test split: clean {clean}  robust {robust}")
    print_out(f"written to {target}")
    return target


def _print_epoch(result: EpochResult, epochs: int) -> None:
    accuracies = (
        ""
        if result.clean_accuracy is None
        else f"  clean {percent(result.clean_accuracy):>6}  robust {percent(result.robust_accuracy):>6}"
    )
    print_out(
        f"epoch {result.epoch:3d} of {epochs}: loss {result.loss:.4f}{accuracies}  {duration(result.seconds)}"
    )


def _score(
    folder: Path, config: TrainingConfig, compute: Compute, device: str, consent: Consent
) -> Accuracies:
    """Score the written network on the test split, as a search does."""
    from morel_search.models.load import load_model
    from morel_search.training.datasets.loading import load_test
    from morel_search.training.evaluation import TEST_SEED, evaluate, not_finite_text

    try:
        images = load_test(config.data).to(device)
    except DataError as error:
        raise DataError(f"{error}; the network is in {folder}, without test accuracies") from error
    model = load_model(folder, consent).to(device)
    scores = evaluate(model, images, config.evaluation, final=True, seed=TEST_SEED, compute=compute)
    if problem := not_finite_text("the network", scores):
        print_err(f"warning: {problem}")
    return {
        "clean_accuracy": scores.clean_accuracy,
        "robust_accuracy": scores.robust_accuracy,
        "images": scores.images,
    }


def _made(
    settings: ModelSettings,
    config: TrainingConfig,
    kept: EpochResult,
    development: Development,
    compute: Compute,
    device: str,
) -> ModelSettings:
    """Return the settings of the new network: those of the first one, with what the new training changed."""
    import torch

    from morel_search.results.provenance import commit, versions

    channels, height, width = development.train.images.shape[1:]
    return replace(
        settings,
        made_by="python -m morel_search.train",
        train=settings.train if config.train.teacher is None else asdict(config.train),
        seed=config.seed,
        epoch=kept.epoch,
        image_shape=(channels, height, width),
        classes=tuple(development.classes),
        picked=None,
        compute=asdict(compute),
        device=device,
        threads=torch.get_num_threads(),
        versions={**versions(), "morel_search": __version__},
        commit=commit(),
    )


def _target(folder: Path, seed: int, distilled: TrainSettings | None = None) -> Path:
    """Return a folder beside the network's.

    For a run's ``front/``, from which a search deletes other folders, in ``picked/``.

    Args:
        folder: The network's folder.
        seed: Random seed of the training.
        distilled: The settings of a training with another teacher.
    """
    from morel_search.models.export import run_around
    from morel_search.results.links import check_inside

    folder = folder.resolve()
    run = run_around(folder)
    name = folder.name
    if distilled is not None:
        teacher = Path(str(distilled.teacher).rpartition(":")[2]).name
        name += f"-{distilled.accuracy_loss.rpartition(':')[2]}-{teacher}"
    target = (folder.parent if run is None else run.path / "picked") / f"{name}-seed{seed}"
    if run is not None:
        check_inside(run.path, target)
    return target


def _device(requested: str, before: str | None) -> str:
    """Return the device of the training.

    Args:
        requested: ``auto`` or a device.
        before: The device of the first training, if it is known.

    Raises:
        ResourceError: This machine does not have the requested device.
    """
    device = available_device(requested, before)
    if requested == "auto" and before not in (None, device):
        print_err(
            f"warning: the network was trained on {before}, which this machine does not have; "
            f"on {device} the weights will differ"
        )
    return device


def available_device(requested: str, before: str | None) -> str:
    """Return a device of this machine: the requested one, else the one before, else the fastest.

    Args:
        requested: ``auto`` or a device.
        before: The device of the first training, if it is known.

    Raises:
        ResourceError: This machine does not have the requested device.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested != "auto":
        if not available[requested]:
            raise ResourceError(
                f"--device is {requested}, which this machine does not have; --device auto uses another one"
            )
        return requested
    if before is not None and available.get(before):
        return before
    return next(name for name, is_available in available.items() if is_available)


def _development(data: DataSettings) -> Development:
    from morel_search.training.datasets.loading import check_test, load_development
    from morel_search.workflows.data_paths import relative_path_hint, used_paths

    paths = [f"data.{name} {path}" for name, path in used_paths(data).items()]
    print_out(", ".join([f"images: {data.name}", *paths]))
    with relative_path_hint(data):
        notes = check_test(data)
        development = load_development(data)
    for note in (*development.notes, *notes):
        print_err(f"note: {note}")
    return development


def _compute(before: Compute | None, device: str) -> Compute:
    """Return the arithmetic of the first training if this device supports it, else float32."""
    from morel_search.training.compute import resolve_compute
    from morel_search.training.compute_settings import FLOAT32, ComputeSettings

    before = before or FLOAT32
    requested = ComputeSettings(
        precision=before.precision,  # type: ignore[arg-type]  # a resolved precision is a valid setting too
        channels_last="on" if before.channels_last else "off",
        compile="on" if before.compile else "off",
        deterministic=before.deterministic,
    )
    try:
        return resolve_compute(requested, device, operations=0)
    except TrainingError as error:
        print_err(f"warning: {error}; the training uses float32 instead, and the weights will differ")
        return replace(before, precision="float32", compile=False)


@contextmanager
def memory_errors(device: str, work: str = "this training") -> Iterator[None]:
    """Turn every error of missing memory into OutOfMemoryError; for the CPU torch has no class for it.

    Args:
        device: The device, for the message.
        work: The work inside the block, for the message.
    """
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(
            error, (torch.OutOfMemoryError, MemoryError)
        ) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"out of memory: the memory of {device} is too small for {work}; use a device with more memory"
        ) from error
