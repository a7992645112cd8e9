"""The command ``verify --model``: attack networks that no search of this project trained."""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err, print_out, terminate_as_interrupt
from morel_search._consent import Consent, consent_of, is_import_path
from morel_search._user_code import named_errors
from morel_search.errors import NetworkError, RunFolderError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from morel_search.config import Space
    from morel_search.results.folder import RunFolder
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
    from morel_search.training.augment import to_float
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
            model = _load(text, test.images.shape[1:], classes, consent_of(trust_code=trust_code))
            candidates[name] = _candidate(text, model, space, to_float(test.images[:8]), len(classes))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error_sentence("create", folder, error) from error
    run = RunFolder(folder.absolute())
    budget = VerificationBudget(
        images or space.verify.images, None if minutes is None else 60 * minutes, space.verify.seed
    )
    entries = [
        NetworkEntry(name, number, None, True, "", (math.nan, math.nan), None)
        for number, name in enumerate(candidates)
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
            _write_table(run, table.drop(columns=["number", "epoch"]))
    if verification is None:
        print_err("no image has been through every white-box attack yet; raise --minutes")
        return
    if not quiet:
        print_out(verification_text(verification, searched=False))
    print_out(f"table: {run.verified}")


def _write_table(run: RunFolder, table: pd.DataFrame) -> None:
    """Write ``verified.csv``; keep one about other networks, and a file of this name that is no such table.

    Raises:
        RunFolderError: A file cannot be renamed or written.
    """
    from morel_search.results.earlier import keep_aside
    from morel_search.results.tables import read_table

    try:
        known = {*read_table(run.verified, ("name",), ("name",), ())["name"]}
    except RunFolderError:
        known = {None}
    if not known.issubset(table["name"]):
        print_err(f"note: {run.verified} is about other networks; it is {keep_aside(run.verified).name} now")
    run.write_table(run.verified, table)


def _space(data: Path, overrides: Sequence[str]) -> Space:
    """Return a space whose sections describe the data and the attacks."""
    from morel_search.config import load_space
    from morel_search.training.datasets.hub import pinned
    from morel_search.workflows.new_space import space_for

    if data.suffix in SPACE_SUFFIXES:
        space = load_space(data, overrides)
        return replace(space, data=pinned(space.data))
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


def _load(text: str, shape: Sequence[int], classes: Sequence[str], consent: Consent) -> nn.Module:
    """Load a network.

    Raises:
        NetworkError: There is no such network.
    """
    from morel_search.verification.outside import load_outside

    try:
        return load_outside(text, shape, classes, consent)
    except NetworkError as error:
        raise NetworkError(f"--model {error}") from error


def _candidate(text: str, model: nn.Module, space: Space, images: Tensor, classes: int) -> Candidate:
    """Check that a network classifies the images, and choose the arithmetic of the attacks.

    Raises:
        NetworkError: See :func:`morel_search.verification.outside.check_network`.
    """
    from morel_search.cluster.placement import device_for
    from morel_search.verification.models import Candidate
    from morel_search.verification.outside import attack_compute, check_network, is_random

    check_network(f"network {text}", model, images, classes)
    if is_random(model, images):
        print_err(
            f"warning: network {text} is random in eval mode: two passes over the same images differ; its "
            "accuracies are not reliable"
        )
    device = device_for(space.resources)
    compute = attack_compute(model, images, space.compute, device)
    return Candidate(model.to(device).requires_grad_(False), compute)
