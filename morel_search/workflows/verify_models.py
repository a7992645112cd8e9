"""The command ``verify --model``: attack networks that no search of this project trained."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err, print_out, terminate_as_interrupt
from morel_search._consent import consent_of, is_import_path
from morel_search._user_code import named_errors
from morel_search.errors import NetworkError, RunFolderError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from morel_search.config import Space
    from morel_search.training.datasets.loading import ImageSet
    from morel_search.verification.models import Candidate

__all__ = ["verify_models_on"]

SPACE_SUFFIXES = (".yaml", ".yml")


def verify_models_on(
    models: Sequence[str],
    data: Path,
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    minutes: float | None = None,
    images: int | None = None,
    quiet: bool = False,
    trust_code: bool = False,
) -> None:
    """Verify networks on the test split of a data set, and write a table.

    Args:
        models: Import paths ``package.module:name``, which the user names and which are run, or folders of
            networks of this project.
        data: A space file, of which ``data``, ``evaluation``, ``verify`` and ``resources`` are used, or a
            folder of images, see :func:`morel_search.workflows.data_facts.find_splits`.
        folder: Where the records and ``verified.csv`` are written; an earlier verification in it is
            continued.
        overrides: Settings that replace those of the space file.
        minutes: Time limit of the attacks; None for none.
        images: Number of test images; None takes ``verify.images``.
        quiet: Print nothing but warnings and the path of the table.
        trust_code: Whether code that the folder of a network names may be run.

    Raises:
        MorelSearchError: The data or a network cannot be used.
    """
    from tqdm import tqdm

    from morel_search.analysis.run_data import NetworkEntry
    from morel_search.analysis.verification_reader import verification_of
    from morel_search.results.files import kind_of_path, os_error_sentence
    from morel_search.results.folder import RunFolder
    from morel_search.training.datasets.loading import check_test, load_development, load_test
    from morel_search.verification.models import verify_models
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows.preflight import check_device
    from morel_search.workflows.terminal import verification_text

    if kind_of_path(folder) == "file":
        raise RunFolderError(f"{folder} is a file, not a folder; name another folder with --out")
    if kind_of_path(folder / "settings.json"):
        raise RunFolderError(f"{folder} is a run or a network; name another folder with --out")
    space = _space(data, overrides)
    check_device(space)
    for note in check_test(space.data):
        print_err(f"note: {note}")
    classes = load_development(replace(space.data, limit=None, extra=None)).classes
    test = load_test(space.data)
    code = [text for text in models if is_import_path(text)]
    candidates = {}
    for name, text in _names(models).items():
        with named_errors(f"network {text}", code):
            model = _load(text, len(classes), trust_code=trust_code)
            candidates[name] = _candidate(text, model, space, test, len(classes))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error_sentence("create", folder, error) from error
    run = RunFolder(folder.absolute())
    budget = VerificationBudget(
        images or space.verify.images, None if minutes is None else 60 * minutes, space.verify.seed
    )
    unknown = float("nan"), float("nan")
    entries = [
        NetworkEntry(name, number, None, True, "", unknown, None) for number, name in enumerate(candidates)
    ]
    bar = tqdm(unit="chunk", desc="verifying", file=sys.stderr, disable=quiet, dynamic_ncols=True)

    def on_chunk(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    evaluation = space.describe()["evaluation"]
    with run.lock(), terminate_as_interrupt(), bar, named_errors("a network of --model", code):
        records = verify_models(run, candidates, test, space.evaluation, evaluation, budget, on_chunk)
        verification = verification_of(entries, records)
        if verification is not None:
            table = verification.table()
            table["name"] = [network.name for network in verification.networks] + [*verification.missing]
            run.write_table(run.verified, table.drop(columns=["number", "epoch"]))
    if verification is None:
        print_err("no image has been through every white-box attack yet; raise --minutes")
        return
    if not quiet:
        print_out(verification_text(verification, searched=False))
    print_out(f"table: {run.verified}")


def _space(data: Path, overrides: Sequence[str]) -> Space:
    """Return a space whose sections describe the data and the attacks."""
    from morel_search.config import load_space
    from morel_search.workflows.new_space import space_for

    if data.suffix in SPACE_SUFFIXES:
        return load_space(data, overrides)
    text, _ = space_for(data, None, None, Path("space.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "space.yaml")
        file.write_text(text, encoding="utf-8")
        return load_space(file, overrides)


def _names(models: Sequence[str]) -> dict[str, str]:
    """Return the models by names that can be file names, each once."""
    names: dict[str, str] = {}
    for text in models:
        last = text.rpartition(":")[2] if is_import_path(text) else Path(text).resolve().name
        base = name = re.sub(r"[^\w.-]+", "-", last).lstrip(".-") or "network"
        number = 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names[name] = text
    return names


def _load(text: str, classes: int, *, trust_code: bool) -> nn.Module:
    """Load a network.

    Raises:
        NetworkError: There is no such network.
    """
    from morel_search.models.load import load_model
    from morel_search.training.networks.imported import import_network

    if Path(text).is_dir():
        return load_model(text, consent_of(trust_code=trust_code))
    if not is_import_path(text):
        raise NetworkError(
            f"--model {text} is neither a folder of a network nor an import path package.module:name; for "
            "another network, name a function of your own that returns it with its weights"
        )
    try:
        return import_network(text, classes)
    except NetworkError as error:
        raise NetworkError(f"network {text} {error}") from error


def _candidate(text: str, model: nn.Module, space: Space, test: ImageSet, classes: int) -> Candidate:
    """Check that a network classifies the images, and choose the arithmetic of the attacks.

    Raises:
        NetworkError: It does not take the images, gives another number of logits, or its predictions depend
            on the other images of a batch.
    """
    import torch

    from morel_search.cluster.placement import device_for
    from morel_search.training.augment import to_float
    from morel_search.training.compute import operations, resolve_compute, supports_channels_last
    from morel_search.training.networks.parts import explained
    from morel_search.training.predictions import DEPENDS_ON_BATCH, NOISE, batch_effect, randomness
    from morel_search.verification.models import Candidate

    few = to_float(test.images[:8])
    size = " x ".join(str(side) for side in few.shape[1:])
    try:
        with explained(f"does not take images of {size}"), torch.no_grad():
            logits = model.eval()(few)
    except NetworkError as error:
        raise NetworkError(f"network {text} {error}") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (len(few), classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise NetworkError(
            f"network {text} must give logits of shape (N, {classes}) for N images of {classes} classes, got "
            f"{got}"
        )
    if not torch.isfinite(logits).all():
        raise NetworkError(f"network {text} gives logits that are not finite")
    if not _has_gradient(model, few):
        raise NetworkError(
            f"network {text} gives logits without a gradient for its images, which the white-box attacks "
            "need; remove no_grad, detach and conversions to NumPy from its forward"
        )
    if randomness(model, few) > NOISE:
        print_err(
            f"warning: network {text} is random in eval mode: two passes over the same images differ; its "
            "accuracies are not reliable"
        )
    elif batch_effect(model, few) > NOISE:
        raise NetworkError(f"network {text} {DEPENDS_ON_BATCH}")
    channels, height, width = (int(side) for side in few.shape[1:])
    device = device_for(space.resources)
    compute = resolve_compute(space.compute, device, operations(model, (channels, height, width)))
    if compute.channels_last and not supports_channels_last(model, few):
        compute = replace(compute, channels_last=False)
    return Candidate(model.to(device).requires_grad_(False), compute)


def _has_gradient(model: nn.Module, images: Tensor) -> bool:
    """Return whether the logits have a gradient for the images; its values may all be zero."""
    import torch

    with torch.enable_grad():
        inputs = images.clone().requires_grad_()
        logits = model(inputs)
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.sum(), inputs, allow_unused=True)
    return gradient is not None
