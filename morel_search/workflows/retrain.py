"""Training a finished network's configuration again: one training, without Ray and without a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search._cli import print_err, print_out
from morel_search._version import __version__
from morel_search.errors import DataError, OutOfMemoryError, ResourceError, TrainingError

if TYPE_CHECKING:
    from morel_search.models.recipe import TrainingConfig
    from morel_search.training.datasets.loading import Development
    from morel_search.training.selection import EpochResult
    from morel_search.training.settings import Compute, DataSettings

__all__ = ["retrain"]


def retrain(
    folder: Path, *, seed: int | None = None, target: Path | None = None, device: str = "auto"
) -> Path:
    """Train a network's configuration again, print a line an epoch, and write the epoch that its rule chooses.

    The network is written before the test images are read, which may go wrong, and once more with their
    accuracies.

    Args:
        folder: An exported network, or a run's ``front/NUMBER``.
        seed: The seed; None takes the network's own.
        target: The new folder; None names it after the old one.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``: where it was trained, or else the best there is.

    Returns:
        The new folder.

    Raises:
        MorelSearchError: Settings, images or the device are missing, the training diverged or ran out of
            memory, or the new folder cannot be written.
    """
    from morel_search.models.export import check_target, settings_of, write_export
    from morel_search.models.recipe import read_training_config, train_from_config

    settings = settings_of(folder)
    recipe = read_training_config(settings, folder)
    recipe = recipe if seed is None else replace(recipe, seed=seed)
    target = target or _target(folder, recipe.seed)
    check_target(target)
    device = _device(device, recipe.device)
    development = _development(recipe.data)
    compute = _compute(recipe.compute, device)
    with _memory(device):
        kept, model = train_from_config(
            recipe,
            development,
            compute=compute,
            device=device,
            on_epoch=lambda result: _say_epoch(result, recipe.train.epochs),
        )
        made = {**settings, **_made(recipe, kept, development), **_circumstances(compute, device)}
        made.pop("picked", None)
        write_export(target, model, made)
        test = _score(target, recipe, compute, device)
    write_export(target, model, {**made, "figures": {"test": test, **made["figures"]}})
    print_out(
        f"epoch {kept.epoch} on the test split: clean {test['clean_accuracy']:.3f}  robust {test['robust_accuracy']:.3f}"
    )
    print_out(f"written to {target}")
    return target


def _say_epoch(result: EpochResult, epochs: int) -> None:
    scores = (
        ""
        if result.clean_accuracy is None
        else f"  clean {result.clean_accuracy:.3f}  robust {result.robust_accuracy:.3f}"
    )
    print_out(f"epoch {result.epoch:3d} of {epochs}: loss {result.loss:.4f}{scores}  {result.seconds:.1f} s")


def _score(folder: Path, recipe: TrainingConfig, compute: Compute, device: str) -> dict[str, Any]:
    """Score what was written on the test split, as a search does."""
    from morel_search.models.load import load_model
    from morel_search.training.datasets.loading import load_test
    from morel_search.training.evaluation import TEST_SEED, evaluate

    try:
        images = load_test(recipe.data).to(device)
    except DataError as error:
        raise DataError(f"{error}; the network is in {folder}, without test accuracies") from error
    found = evaluate(
        load_model(folder).to(device), images, recipe.evaluation, seed=TEST_SEED, compute=compute
    )
    return {
        "clean_accuracy": found.clean_accuracy,
        "robust_accuracy": found.robust_accuracy,
        "images": found.images,
    }


def _made(recipe: TrainingConfig, kept: EpochResult, development: Development) -> dict[str, Any]:
    validation = {
        "clean_accuracy": kept.clean_accuracy,
        "robust_accuracy": kept.robust_accuracy,
        "images": len(development.validation),
    }
    return {
        "made_by": "python -m morel_search.train",
        "seed": recipe.seed,
        "epoch": kept.epoch,
        "image_shape": list(development.train.images.shape[1:]),
        "classes": list(development.classes),
        "figures": {"validation": validation},
    }


def _circumstances(compute: Compute, device: str) -> Mapping[str, Any]:
    import torch

    from morel_search.results.provenance import commit, versions

    return {
        "compute": asdict(compute),
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {**versions(), "morel_search": __version__},
        "commit": commit(),
    }


def _target(folder: Path, seed: int) -> Path:
    """Beside the folder; but not in a run's ``front/``, which holds the front alone and is tidied by the search."""
    from morel_search.models.export import run_around

    folder = folder.resolve()
    run = run_around(folder)
    return (folder.parent if run is None else run.path / "picked") / f"{folder.name}-seed{seed}"


def _device(asked: str, before: str | None) -> str:
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked != "auto":
        if not there[asked]:
            raise ResourceError(f"--device is {asked}, which this machine does not have")
        return asked
    if before is not None and there.get(before):
        return before
    best = next(name for name, holds in there.items() if holds)
    if before is not None:
        print_err(
            f"warning: it was trained on {before}, which this machine does not have; on {best} the weights will be others"
        )
    return best


def _development(data: DataSettings) -> Development:
    from morel_search.training.datasets.loading import check_test, load_development

    try:
        check_test(data)
        return load_development(data)
    except DataError as error:
        used = [data.folder] if data.name.startswith("cifar") else [data.train, data.test]
        if any(path is not None and not Path(path).expanduser().is_absolute() for path in used):
            raise DataError(
                f"{error}; relative paths start from the current folder: go where the search was started"
            ) from error
        raise


def _compute(before: Compute | None, device: str) -> Compute:
    """The arithmetic of the first training where this device has it, else float32."""
    from morel_search.training.compute import resolve_compute
    from morel_search.training.settings import FLOAT32, ComputeSettings

    before = before or FLOAT32
    asked = ComputeSettings(
        precision=before.precision,  # type: ignore[arg-type]  # what auto became is one of the names too
        channels_last="on" if before.channels_last else "off",
        compile="on" if before.compile else "off",
        deterministic=before.deterministic,
    )
    try:
        return resolve_compute(asked, device, operations=0)
    except TrainingError as error:
        print_err(f"warning: {error}; it is trained in float32 instead, and the weights will be others")
        return replace(before, precision="float32", compile=False)


@contextmanager
def _memory(device: str) -> Iterator[None]:
    """Too little memory is said in a sentence, also where torch has no name for it."""
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(
            error, (torch.OutOfMemoryError, MemoryError)
        ) and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(f"out of memory: {device} does not hold this training") from error
