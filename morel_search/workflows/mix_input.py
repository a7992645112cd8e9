"""The networks of a run that are mixed, and the images and attacks by which their mixtures are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.errors import DataError, NetworkError, RunFolderError

if TYPE_CHECKING:
    from torch import nn

    from morel_search._consent import Consent
    from morel_search.analysis.run_data import RunData
    from morel_search.models.checkpoint import Metadata
    from morel_search.results.folder import RunFolder
    from morel_search.results.settings import RunSettings
    from morel_search.training.compute_settings import Compute
    from morel_search.training.datasets.loading import ImageSet
    from morel_search.training.settings import DataSettings, EvaluationSettings

__all__ = ["LoadedNetwork", "files_to_mix", "load_networks", "read_sections", "validation_images"]

NETWORKS = 16
"""Number of networks that are mixed, at most: 120 pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetwork:
    """A network of the run, on the CPU, with the data of its checkpoint."""

    model: nn.Module
    metadata: Metadata
    path: Path


def files_to_mix(run_data: RunData, members: Sequence[str]) -> dict[str, Path]:
    """Return the files with the weights of the networks to mix, by name.

    Raises:
        RunFolderError: There are fewer than two networks, one is unknown, or its weights are missing.
    """
    run = run_data.run
    entries = {entry.name: entry for entry in run_data.networks}
    if not entries:
        raise RunFolderError(f"{run.path}: there is nothing to mix, no trial has finished yet")
    unknown = [name for name in members if name not in entries]
    if unknown:
        raise RunFolderError(
            f"{unknown[0]} is neither on the front nor a control; the networks are {', '.join(entries)}"
        )
    names = list(dict.fromkeys(members)) or _spread([*entries])
    if len(names) < 2:
        raise RunFolderError(
            f"a mixture needs two networks, and there is only network {names[0]}: the front of {run.path} "
            "has one member, and there is no other control"
            if not members
            else f"a mixture needs two networks, got only {names[0]}"
        )
    files = {}
    for name in names:
        places = [folder / name / "model.pt" for folder in (run.front_models, run.control_models)]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            first = places[0] if entries[name].member else places[1]
            raise RunFolderError(
                f"the weights of network {name} are missing: {first} does not exist; a search writes it when "
                "it ends, and --members mixes other networks"
            )
        files[name] = found
    return files


def _spread(names: Sequence[str]) -> list[str]:
    """Return at most :data:`NETWORKS` of the names, evenly along their order, with both ends."""
    if len(names) <= NETWORKS:
        return [*names]
    step = (len(names) - 1) / (NETWORKS - 1)
    return [names[round(index * step)] for index in range(NETWORKS)]


def load_networks(files: Mapping[str, Path], consent: Consent) -> dict[str, LoadedNetwork]:
    """Load the networks.

    Raises:
        NetworkError: One cannot be loaded, or two have other classes or images.
    """
    from morel_search.models.checkpoint import load_model

    networks = {name: LoadedNetwork(*load_model(path, consent), path) for name, path in files.items()}
    (first, reference), *others = networks.items()
    for name, other in others:
        own, its = reference.metadata, other.metadata
        if own.image_shape != its.image_shape:
            shapes = [" x ".join(map(str, one.image_shape)) for one in (own, its)]
            raise NetworkError(
                f"network {first} takes images of {shapes[0]} and network {name} of {shapes[1]}: they cannot "
                "be mixed"
            )
        if own.classes != its.classes:
            raise NetworkError(
                f"network {first} and network {name} have other classes ({len(own.classes)} and "
                f"{len(its.classes)}), or the same ones in another order: they cannot be mixed"
            )
    return networks


def read_sections(
    settings: RunSettings, run: RunFolder, device: str
) -> tuple[DataSettings, EvaluationSettings, Compute]:
    """Return the data and the evaluation of the search, and the arithmetic of its attacks.

    Raises:
        RunFolderError: The settings of the run are damaged.
    """
    from morel_search.models.sections import read_section
    from morel_search.training.compute_settings import FLOAT32, Compute
    from morel_search.training.settings import DataSettings, EvaluationSettings

    try:
        data = read_section(DataSettings, settings.section("data"))
        evaluation = read_section(EvaluationSettings, settings.section("evaluation"))
        recorded = settings.compute
        compute = FLOAT32 if recorded is None else read_section(Compute, recorded)
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"{run.settings} is damaged: {error}") from error
    # Compiling each of many mixtures would take longer than attacking it.
    return data, evaluation, replace(compute, compile=False) if device == settings.device else FLOAT32


def validation_images(data: DataSettings, metadata: Metadata) -> ImageSet:
    """Read the validation images; test images and extra training images are not read.

    Raises:
        DataError: They cannot be read, or are not those of the networks.
    """
    from morel_search.training.datasets.loading import load_development
    from morel_search.workflows.data_paths import relative_path_hint

    data = replace(data, extra=None)
    with relative_path_hint(data):
        development = load_development(data)
    images = development.validation
    shape, classes = tuple(images.images.shape[1:]), tuple(development.classes)
    if shape != metadata.image_shape or classes != metadata.classes:
        raise DataError(
            f"the images of {data.name} are not those of the search: they have the shape "
            f"{' x '.join(map(str, shape))} and {len(classes)} classes, the networks take images of "
            f"{' x '.join(map(str, metadata.image_shape))} and have {len(metadata.classes)} classes"
        )
    return images
