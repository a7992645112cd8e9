"""Make mixtures of two networks of a run, keep those that are better than every network, and print them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err, print_out
from morel_search._consent import import_paths
from morel_search._format import percent
from morel_search._user_code import named_errors

if TYPE_CHECKING:
    from morel_search.results.folder import RunFolder
    from morel_search.results.mixtures import MixtureEntry
    from morel_search.results.settings import RunSettings
    from morel_search.workflows.mix_input import LoadedNetwork
    from morel_search.workflows.mix_search import Mixed

__all__ = ["mix_run"]


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
    from morel_search.results.mixtures import write_chosen
    from morel_search.results.names import mixture_name
    from morel_search.workflows.mix_input import (
        files_to_mix,
        load_networks,
        read_sections,
        validation_images,
    )
    from morel_search.workflows.mix_search import Judge, choose_mixtures, steps_of
    from morel_search.workflows.retrain import available_device, memory_errors

    run = open_run_folder(path)
    with run.lock():
        run_data = read_run_data(run)
        files = files_to_mix(run_data, members)
        device = available_device(device, run_data.settings.device)
        with memory_errors(device, "two networks at the same time"):
            networks = load_networks(files, consent_of(trust_code=trust_code))
            data, evaluation, compute = read_sections(run_data.settings, run, device)
            validation = validation_images(data, next(iter(networks.values())).metadata)
            points = {entry.name: entry.validation for entry in run_data.networks}
            with (
                tqdm(
                    total=steps_of(len(networks)),
                    unit="step",
                    desc="mixing",
                    file=sys.stderr,
                    disable=quiet,
                    dynamic_ncols=True,
                ) as bar,
                named_errors(
                    "a network that is mixed",
                    import_paths([own.metadata.network.name for own in networks.values()]),
                ),
            ):
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
        write_chosen(run, names)
        _delete_others(run, names)
        report = write_report(run)
    if not quiet:
        for line in _describe(entries, points, len(validation), path):
            print_out(line)
    print_out(f"report: {report}")
    return [*names]


def _write(
    run: RunFolder,
    name: str,
    mixed: Mixed,
    networks: Mapping[str, LoadedNetwork],
    settings: RunSettings,
    images: int,
) -> MixtureEntry:
    """Write the weights and the settings of a mixture."""
    from morel_search.models.build import mixture_settings
    from morel_search.models.checkpoint import save_model
    from morel_search.models.settings import ModelSettings
    from morel_search.results.attack_records import fingerprint
    from morel_search.results.files import os_error_sentence
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error_sentence("create", folder, error) from error
    # First the weights: after a kill in between, the settings name other members' weights, which is noticed.
    save_model(folder / "model.pt", model, network, metadata.image_shape, metadata.classes)
    run.write_json(folder / "settings.json", content.to_json())
    return entry


def _delete_others(run: RunFolder, names: Collection[str]) -> None:
    """Delete the mixtures of an earlier call, now that those of this one are chosen; keep other folders."""
    from morel_search.results.deletion import delete_network
    from morel_search.results.names import is_mixture_name

    for folder in run.mixture_models.iterdir() if run.mixture_models.is_dir() else ():
        own = is_mixture_name(folder.name) and folder.is_dir() and not folder.is_symlink()
        if own and folder.name not in names and (problem := delete_network(folder)):
            print_err(f"warning: {problem}; it is no mixture of this run any more, and verify leaves it out")


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
