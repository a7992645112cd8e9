"""The pictures of a verification: which networks and test images a page shows, and when they are made again.

The images are the first ones in the order of the verification that all shown networks classify correctly
without an attack; nothing else decides. The attack is that of
:mod:`morel_search.verification.attacked_images`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morel_search._cli import print_err
from morel_search.analysis.front import front_mask
from morel_search.analysis.picking import knee_distances
from morel_search.analysis.run_data import RunData, read_run_data
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import leading, read_verification
from morel_search.errors import MorelSearchError, RunFolderError
from morel_search.results.attack_records import COLUMNS, ROBUST, AttackRecord
from morel_search.results.folder import RunFolder
from morel_search.results.pictures import (
    MOST_IMAGES,
    MOST_NETWORKS,
    PIXEL_BYTES,
    CleanImage,
    NetworkPictures,
    Pictures,
)
from morel_search.results.pictures_file import read_pictures, write_pictures
from morel_search.verification.attacked_images import STEPS, TARGETS, AttackedImages
from morel_search.verification.chunks import OPERATIONS_PER_SECOND
from morel_search.verification.worker import WorkerSetup

__all__ = ["choose_images", "pictured_networks", "update_pictures"]

CLEAN = COLUMNS.index("clean")

MOST_SECONDS = 60
"""Intended limit of the duration of all attacks; slow networks get fewer images."""

PASSES_PER_STEP = 3
"""Rough cost of a step in forward passes: the forward pass, and a backward pass of twice its cost."""

SHOWN_CHANNELS = (1, 3)
"""Numbers of channels of the images that a page can show."""

DrawOnWorker = Callable[[str, NDArray[np.int64], WorkerSetup], AttackedImages]
"""Runs :func:`~.attacked_images.draw_network` with these arguments on a worker."""


def update_pictures(
    run: RunFolder,
    records: Mapping[str, AttackRecord],
    models: Mapping[str, Path],
    rows: NDArray[np.int64],
    setup: WorkerSetup,
    operations: int,
    draw: DrawOnWorker,
) -> None:
    """Make the pictures of a run, unless its file has them already.

    A failure is a warning here: the results of the verification are written, and they count.

    Args:
        run: The run folder, with the records written.
        records: The records of the verification, by the network's name.
        models: Files with weights, by the network's name.
        rows: The images in the order of the verification.
        setup: The settings of the verification.
        operations: Floating point operations of one forward pass of one image.
        draw: Runs :func:`~.attacked_images.draw_network` on a worker.
    """
    try:
        run_data = read_run_data(run)
        attacked = [name for name, record in records.items() if (record.table[:, CLEAN] == ROBUST).any()]
        names = pictured_networks(run_data, read_verification(run_data), attacked)
        shown = {name: records[name] for name in names if name in records}
        if not shown or setup.evaluation.epsilon * 255 < 1:  # 8 bits cannot show so small a change
            return
        most = _affordable(operations * len(shown), setup.device)
        chosen, _ = choose_images([record.table for record in shown.values()], rows, most)
        if not len(chosen) or _is_current(run, shown, chosen, setup):
            return
        parts = {name: draw(str(models[name].absolute()), chosen, setup) for name in shown}
        pictures = _assembled(parts, shown, rows, setup)
        if pictures is not None:
            write_pictures(run, pictures)
    except MorelSearchError as error:
        print_err(f"warning: the pictures of attacked images were not made: {error}")


def pictured_networks(
    run_data: RunData, verification: Verification | None, attacked: Collection[str]
) -> list[str]:
    """Return the networks of the pictures: both ends of the front, and the one between them at its knee.

    Args:
        run_data: The run.
        verification: Its verification; the verified front, without beaten and flagged networks, counts if
            there is one. Otherwise it is the front of the search.
        attacked: The networks of which a verification knows which images they classify correctly.
    """
    leads = leading(verification)
    if leads is None:
        members = [entry for entry in run_data.networks if entry.member and entry.name in attacked]
        points = {entry.name: entry.validation for entry in members}
    else:
        points = {network.name: network.accuracy for network in leads.front or leads.members}
    if not points:
        return []
    names, pairs = list(points), np.array(list(points.values()), dtype=float)
    kept = np.flatnonzero(front_mask(pairs))
    kept = kept[np.lexsort((pairs[kept, 1], -pairs[kept, 0]))]
    distances = knee_distances(pairs[kept])
    knee = int(distances.argmax()) if distances.max() > 0 else 0
    places = dict.fromkeys((0, knee, len(kept) - 1))
    return [names[kept[place]] for place in sorted(places)][:MOST_NETWORKS]


def choose_images(
    tables: Sequence[NDArray[np.int8]], rows: NDArray[np.int64], most: int = MOST_IMAGES
) -> tuple[NDArray[np.int64], int]:
    """Return the first images that all networks classify correctly without an attack.

    Args:
        tables: The tables of the networks' records.
        rows: The images in the order of the verification.
        most: Largest number of images.

    Returns:
        The images, and the number of images before the last one that were passed over.
    """
    correct = np.logical_and.reduce([table[rows, CLEAN] == ROBUST for table in tables])
    places = np.flatnonzero(correct)[:most]
    passed_over = int(places[-1]) + 1 - len(places) if len(places) else 0
    return rows[places], passed_over


def _affordable(operations: int, device: str) -> int:
    """Return how many images are attacked in about :data:`MOST_SECONDS`."""
    passes = MOST_SECONDS * OPERATIONS_PER_SECOND[device] / max(1, operations)
    return int(min(MOST_IMAGES, max(1, passes / (STEPS * TARGETS * PASSES_PER_STEP))))


def _is_current(
    run: RunFolder, records: Mapping[str, AttackRecord], chosen: NDArray[np.int64], setup: WorkerSetup
) -> bool:
    """Return whether the file has the pictures of these networks with the same attack."""
    try:
        pictures = read_pictures(run)
    except RunFolderError:
        return False
    if pictures is None:
        return False
    count = _storable(pictures.images[0].pixels.shape, len(records), len(chosen))
    return (
        {network.name: network.weights for network in pictures.networks}
        == {name: record.setup.weights for name, record in records.items()}
        and [image.index for image in pictures.images] == chosen[:count].tolist()
        and (pictures.norm, pictures.epsilon, pictures.steps, pictures.targets)
        == (setup.evaluation.norm, str(setup.evaluation.epsilon), STEPS, TARGETS)
        and pictures.data == next(iter(records.values())).setup.data
    )


def _storable(shape: Sequence[int], networks: int, images: int) -> int:
    """Return how many images and their adversarial examples fit into the file; at least one."""
    as_text = 4 * ceil(int(np.prod(shape)) / 3)
    return max(1, min(images, PIXEL_BYTES // (as_text * (1 + networks))))


def _assembled(
    attacked: Mapping[str, AttackedImages],
    records: Mapping[str, AttackRecord],
    rows: NDArray[np.int64],
    setup: WorkerSetup,
) -> Pictures | None:
    """Put the networks' parts together; None if a page cannot show these images."""
    first = next(iter(attacked.values()))
    shape = first.clean.shape[1:]
    if shape[0] not in SHOWN_CHANNELS:
        return None
    count = _storable(shape, len(attacked), len(first.clean))
    chosen, passed_over = choose_images([record.table for record in records.values()], rows, count)
    images = [
        CleanImage(int(row), int(label), picture.before.name, pixels)  # it is classified correctly
        for row, label, pixels, picture in zip(
            chosen, first.labels, first.clean, first.pictures, strict=False
        )
    ]
    return Pictures(
        norm=setup.evaluation.norm,
        epsilon=str(setup.evaluation.epsilon),
        steps=STEPS,
        targets=TARGETS,
        data=next(iter(records.values())).setup.data,
        passed_over=passed_over,
        reduction=first.reduction,
        images=tuple(images),
        networks=tuple(
            NetworkPictures(name, records[name].setup.weights, part.pictures[:count])
            for name, part in attacked.items()
        ),
    )
