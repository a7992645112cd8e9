"""Make mixtures of two networks of a run, keep those that are better than every network, and print them."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_out
from morel_search._format import percent
from morel_search.errors import DataError, NetworkError, RunFolderError

if TYPE_CHECKING:
    from torch import nn

    from morel_search._consent import Consent
    from morel_search.analysis.run_data import RunData
    from morel_search.models.checkpoint import Metadata
    from morel_search.results.folder import RunFolder
    from morel_search.results.mixtures import MixtureEntry
    from morel_search.results.settings import RunSettings
    from morel_search.training.compute_settings import Compute
    from morel_search.training.datasets.loading import ImageSet
    from morel_search.training.settings import DataSettings, EvaluationSettings
    from morel_search.workflows.mix_search import Mixed

__all__ = ["mix_run"]

NETWORKS = 16
"""Number of networks that are mixed, at most: 120 pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """A network of the run, on the CPU, with the data of its checkpoint."""

    model: nn.Module
    metadata: Metadata
    path: Path


def mix_run(
    path: Path,
    *,
    members: Sequence[str] = (),
    most: int = 6,
    device: str = "auto",
    quiet: bool = False,
    trust_code: bool = False,
) -> list[str]:
    """Make mixtures of the networks of a run, and draw its report again.

    The mixtures are chosen by their accuracies on the validation images; the test split is not read. Those of
    an earlier call are replaced.

    Args:
        path: The run's folder.
        members: Names of the networks to mix; empty takes the front and the controls.
        most: Number of mixtures to keep, at most.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``: the device of the search, or else the fastest one.
        quiet: Print nothing but warnings and the report's path.
        trust_code: Whether code that the run folder names may be run.

    Returns:
        The names of the mixtures in ``mixtures/``.

    Raises:
        MorelSearchError: There are no two networks to mix, their weights are missing or do not fit together,
            or the images cannot be read.
    """
    from tqdm import tqdm

    from morel_search._consent import consent_of
    from morel_search.analysis.report.page import write_report
    from morel_search.analysis.run_data import read_run_data
    from morel_search.results.folder import open_run_folder
    from morel_search.results.names import mixture_name
    from morel_search.workflows.mix_search import Judge, choose_mixtures, steps_of
    from morel_search.workflows.retrain import available_device, memory_errors

    run = open_run_folder(path)
    with run.lock():
        run_data = read_run_data(run)
        files = _files(run_data, members)
        device = available_device(device, run_data.settings.device)
        with memory_errors(device, "two networks at the same time"):
            networks = _load(files, consent_of(trust_code=trust_code))
            data, evaluation, compute = _sections(run_data.settings, run, device)
            validation = _validation(data, next(iter(networks.values())).metadata)
            points = {entry.name: entry.validation for entry in run_data.networks}
            with tqdm(
                total=steps_of(len(networks)),
                unit="step",
                desc="mixing",
                file=sys.stderr,
                disable=quiet,
                dynamic_ncols=True,
            ) as bar:
                chosen = choose_mixtures(
                    {name: loaded.model for name, loaded in networks.items()},
                    points,
                    Judge(validation.to(device), evaluation, compute, device),
                    most,
                    bar.update,
                )
        names = {mixture_name(own.members, own.recipe.weights, own.recipe.form): own for own in chosen}
        entries = [
            _write(run, name, own, networks, run_data.settings, len(validation))
            for name, own in names.items()
        ]
        _delete_others(run, names)
        report = write_report(run)
    if not quiet:
        for line in _describe(entries, points, len(validation), path):
            print_out(line)
    print_out(f"report: {report}")
    return [*names]


def _files(run_data: RunData, members: Sequence[str]) -> dict[str, Path]:
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


def _load(files: Mapping[str, Path], consent: Consent) -> dict[str, _Loaded]:
    """Load the networks.

    Raises:
        NetworkError: One cannot be loaded, or two have other classes or images.
    """
    from morel_search.models.checkpoint import load_model

    networks = {name: _Loaded(*load_model(path, consent), path) for name, path in files.items()}
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


def _sections(
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


def _validation(data: DataSettings, metadata: Metadata) -> ImageSet:
    """Read the validation images; the test images are not read.

    Raises:
        DataError: They cannot be read, or are not those of the networks.
    """
    from morel_search.training.datasets.loading import load_development

    try:
        development = load_development(data)
    except DataError as error:
        if any(path and not Path(path).expanduser().is_absolute() for path in (data.folder, data.train)):
            raise DataError(
                f"{error}; relative paths start from the current folder: "
                "change to the folder in which the search was started"
            ) from error
        raise
    images = development.validation
    shape, classes = tuple(images.images.shape[1:]), tuple(development.classes)
    if shape != metadata.image_shape or classes != metadata.classes:
        raise DataError(
            f"the images of {data.name} are not those of the search: they have the shape "
            f"{' x '.join(map(str, shape))} and {len(classes)} classes, the networks take images of "
            f"{' x '.join(map(str, metadata.image_shape))} and have {len(metadata.classes)} classes"
        )
    return images


def _write(
    run: RunFolder,
    name: str,
    mixed: Mixed,
    networks: Mapping[str, _Loaded],
    settings: RunSettings,
    images: int,
) -> MixtureEntry:
    """Write the weights and the settings of a mixture."""
    from morel_search.models.build import mixture_settings
    from morel_search.models.checkpoint import save_model
    from morel_search.models.settings import ModelSettings
    from morel_search.results.attack_records import fingerprint
    from morel_search.results.links import check_inside
    from morel_search.results.mixtures import MixtureEntry, Part
    from morel_search.training.networks.mixture import Mixture

    members = [networks[member] for member in mixed.members]
    weights = mixed.recipe.weights
    model = Mixture([member.model for member in members], weights, mixed.recipe.form)
    network = mixture_settings(
        [member.metadata.network for member in members], mixed.members, weights, mixed.recipe.form
    )
    parts = [
        Part(member, weight, fingerprint(networks[member].path))
        for member, weight in zip(mixed.members, weights, strict=True)
    ]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    entry = MixtureEntry(name, tuple(parts), mixed.recipe.form, model.passes, parameters, mixed.point)
    metadata = members[0].metadata
    content = ModelSettings(
        data=settings.section("data"),
        network={"name": network.name, "options": dict(network.options)},
        evaluation=settings.section("evaluation"),
        made_by="python -m morel_search.mix",
        image_shape=metadata.image_shape,
        classes=metadata.classes,
        figures={
            "validation": {
                "clean_accuracy": mixed.clean,
                "robust_accuracy": mixed.robust,
                "images": images,
            }
        },
        mixture=entry.to_json(),
    )
    folder = run.mixture_models / name
    check_inside(run.path, folder / "model.pt")
    run.write_json(folder / "settings.json", content.to_json())
    save_model(folder / "model.pt", model, network, metadata.image_shape, metadata.classes)
    return entry


def _delete_others(run: RunFolder, names: Mapping[str, object]) -> None:
    """Delete the mixtures of an earlier call, now that those of this one are written; keep other folders."""
    from morel_search.results.names import is_mixture_name

    for folder in run.mixture_models.iterdir() if run.mixture_models.is_dir() else ():
        own = is_mixture_name(folder.name) and folder.is_dir() and not folder.is_symlink()
        if own and folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


def _describe(
    entries: Sequence[MixtureEntry], points: Mapping[str, tuple[float, float]], images: int, run: Path
) -> list[str]:
    """Say which mixtures were kept, and how accurate they are."""
    if not entries:
        return [
            f"No mixture is kept: on {images} validation images, under the final attack, a single network "
            "dominates or equals each of them."
        ]
    width = max(7, *(len(entry.name) for entry in entries))
    lines = [
        "",
        f"mixtures, on {images} validation images, robust under the final attack through the mixture; they "
        "were chosen by these accuracies, which are therefore optimistic",
        f"{'mixture':>{width}}  {'clean':>7} {'robust':>7}  passes  parameters  alone (clean / robust)",
    ]
    for entry in entries:
        alone = ", ".join(
            f"{member}: {percent(points[member][0])} / {percent(points[member][1])}"
            for member in entry.members
        )
        lines.append(
            f"{entry.name:>{width}}  {percent(entry.validation[0]):>7} {percent(entry.validation[1]):>7}  "
            f"{entry.passes:>6}  {entry.parameters:>10,}  {alone}"
        )
    return [
        *lines,
        "",
        f"not verified; python -m morel_search.verify {shlex.quote(str(run))} verifies them",
        f"load one: morel_search.load_model('{run / 'mixtures' / entries[0].name}')",
    ]
