"""The settings of a run, as ``settings.json`` records them: of a new run, and of a resumed one."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from morel_search._format import without_passwords
from morel_search._version import __version__
from morel_search.config import Space
from morel_search.results.earlier import aside
from morel_search.results.files import os_error_sentence
from morel_search.results.reading import read_regular
from morel_search.results.settings import ComputeRecord, ImageCounts, RunSettings

if TYPE_CHECKING:
    from morel_search.results.folder import RunFolder
    from morel_search.training.compute_settings import Compute, ComputeSettings
    from morel_search.workflows.preflight import PreflightResult

__all__ = ["compute_of", "continued_compute", "new_settings", "resumed_settings", "write_resumed"]


def new_settings(name: str, space: Space, preflight_result: PreflightResult) -> RunSettings:
    """Return the settings of a new run on this machine, started by the command of this process."""
    from morel_search.cluster.placement import device_for
    from morel_search.results.provenance import commit, hardware, versions
    from morel_search.search.successive_halving import rungs_of

    return RunSettings(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
        seed=space.search.seed,
        space=space.describe(),
        rungs=tuple(rungs_of(space)),
        images=ImageCounts(
            train=preflight_result.train,
            validation=preflight_result.validation,
            shape=list(preflight_result.image_shape),
            classes=preflight_result.classes,
        ),
        overrides=tuple(space.overrides),
        versions={**versions(), "morel_search": __version__},
        hardware=hardware(),
        commit=commit(),
        device=device_for(space.resources),
        compute=_compute_record(preflight_result.compute),
        command=("python", "-m", "morel_search.run", *map(without_passwords, sys.argv[1:])),
        warnings=tuple(space.warnings),
    )


def resumed_settings(before: RunSettings, space: Space, compute: Compute) -> RunSettings:
    """Return the settings with what a resumed run may change: budget, resources, arithmetic, and status."""
    return replace(
        before,
        status="running",
        finished=None,
        compute=_compute_record(compute),
        space=space.describe(),
        overrides=tuple(space.overrides),
    )


def write_resumed(run: RunFolder, before: RunSettings, space: Space, compute: Compute) -> None:
    """Write the settings of a run that begins or continues, and the space file that belongs to them.

    ``--set`` may have replaced values of the earlier file that are values of the new file: the file and the
    overrides together are what :mod:`morel_search.verify` reads. An earlier file with another content is kept
    as ``space.earlier.yaml``.

    Raises:
        RunFolderError: A file cannot be written.
    """
    text = space.text.encode("utf-8", "backslashreplace")
    earlier: bytes | None = None
    try:
        earlier = read_regular(run.space)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise os_error_sentence("read", run.space, error) from error
    if earlier != text:
        if earlier is not None:  # a copy, so that the run has a space file at every moment
            run.write_bytes(aside(run.space), earlier)
        run.write_bytes(run.space, text)
    run.write_settings(resumed_settings(before, space, compute))


def continued_compute(before: RunSettings, settings: ComputeSettings, compute: Compute) -> Compute:
    """Return the arithmetic in which a run goes on.

    What the space file leaves to ``auto`` stays what it was, as far as every machine can compute it: float32,
    and torch's own memory layout.

    Args:
        before: The settings of the run so far.
        settings: The arithmetic that the space file asks for.
        compute: What this machine makes of it.
    """
    if before.compute is None:
        return compute
    earlier = compute_of(before.compute)
    if settings.precision == "auto" and earlier.precision == "float32":
        compute = replace(compute, precision="float32")
    if settings.channels_last == "auto" and not earlier.channels_last:
        compute = replace(compute, channels_last=False)
    return compute


def compute_of(record: ComputeRecord) -> Compute:
    """Return the recorded arithmetic."""
    from morel_search.training.compute_settings import Compute

    return Compute(record["precision"], record["channels_last"], record["compile"], record["deterministic"])


def _compute_record(compute: Compute) -> ComputeRecord:
    return ComputeRecord(
        precision=compute.precision,
        channels_last=compute.channels_last,
        compile=compute.compile,
        deterministic=compute.deterministic,
    )
