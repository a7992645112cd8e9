"""Take one network of a front, write it as a folder of its own, and print its accuracies."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morel_search._cli import print_err, print_out
from morel_search.errors import RunFolderError

if TYPE_CHECKING:
    from morel_search._consent import Consent
    from morel_search.analysis.cost import ImageResults
    from morel_search.analysis.members import Member
    from morel_search.analysis.picking import Rule
    from morel_search.analysis.run_data import RunData
    from morel_search.models.settings import ModelSettings, Picked
    from morel_search.results.folder import RunFolder

__all__ = ["pick_network"]


def pick_network(
    path: Path,
    *,
    rule: Rule | None = None,
    member_name: str | None = None,
    mixtures: bool = False,
    target: Path | None = None,
    formats: Sequence[str] = (),
    trust_code: bool = False,
) -> Path:
    """Pick a network of a run's front, print which and why, and write it.

    Args:
        path: The run's folder.
        rule: The rule that picks; None with ``member_name`` None takes the knee point.
        member_name: Name of the network to take, such as ``12``, ``12-7`` or ``33+2@30``, instead of a rule.
        mixtures: Whether the rule considers mixtures too.
        target: Folder to write; None takes ``RUN/picked/NAME``.
        formats: Further formats to write, keys of :data:`morel_search.models.formats.FORMATS`.
        trust_code: Whether code that the run folder names may be run: a network of your own.

    Returns:
        The folder that was written.

    Raises:
        MorelSearchError: The run has no such network, its weights are missing, or the folder cannot be
            written.
        UntrustedCodeError: The network is not a built-in one, and ``trust_code`` is False.
    """
    from morel_search._consent import consent_of, trust_option
    from morel_search.analysis.cost import cost_sentences
    from morel_search.analysis.members import find_member, read_members, read_mixture_members
    from morel_search.analysis.picking import candidate, candidates, choose, knee_point
    from morel_search.analysis.run_data import read_run_data
    from morel_search.models.formats import check_format
    from morel_search.results.folder import open_run_folder
    from morel_search.results.links import check_inside

    for name in formats:
        check_format(name)
    run = open_run_folder(path)
    run_data = read_run_data(run)
    members, mixed = read_members(run_data), read_mixture_members(run_data)
    if mixtures and not mixed:
        raise RunFolderError(f"{path} has no mixtures; python -m morel_search.mix makes them")
    if member_name is None:
        members = (*members, *mixed) if mixtures else members
        member, kind, why = choose(members, rule or knee_point)
        picked: Picked = {"why": why, "figures": kind}
    else:
        if member_name in {rival.name for rival in run_data.rivals}:
            raise RunFolderError(
                f"{member_name} is a rival, a network that this search did not train; pick takes networks of "
                "the run"
            )
        member = find_member((*members, *mixed), member_name)
        kind, why = member.kind, "It was named with --member."
        picked = {"why": why}
    if target is None:
        target = path / "picked" / member.name
        check_inside(path, target)
    settings = _export(run, member, picked, target, formats, consent_of(trust_code=trust_code))
    for line in _describe(member, kind, why, settings, path):
        print_out(line)
    if member in members:
        results = _results(run_data, members) if kind == "verified" else {}
        for sentence in cost_sentences(candidate(member, kind), candidates(members, kind), results):
            print_out(sentence)
    left_out = [
        f"{other.name} ({other.left_out or f'no {kind} accuracies'})"
        for other in members
        if kind not in other.figures or other.left_out
    ]
    if left_out and member_name is None:
        print_out(f"Not considered: {', '.join(left_out)}.")
    if member.flags:
        print_err(
            f"warning: the verification flagged {member.reference}; its robust accuracy is not "
            f"reliable: {member.flags}"
        )
    print_out(f"written to {target}")
    code = (settings.network, settings.train)
    if not member.is_mixture:
        print_out(
            f"train it again: python -m morel_search.train {shlex.quote(str(target))}{trust_option(code)}"
        )
    return target


def _results(run_data: RunData, members: Sequence[Member]) -> ImageResults:
    """Return the results of the verification, image by image, that agree with the verified accuracies."""
    from morel_search.analysis.verification_reader import read_verification

    verification = read_verification(run_data)
    if verification is None:
        return {}
    figures = {member.name: member.figures.get("verified") for member in members}
    results = {}
    for network in (*verification.networks, *verification.mixtures):
        known = figures.get(network.name)
        if known and np.allclose(network.accuracy, (known.clean, known.robust), rtol=0, atol=1e-6):
            results[network.name] = network.clean, network.robust
    return results


def _export(
    run: RunFolder,
    member: Member,
    picked: Picked,
    target: Path,
    formats: Sequence[str],
    consent: Consent,
) -> ModelSettings:
    """Write the network's folder and return its settings."""
    from morel_search.models.checkpoint import load_model
    from morel_search.models.export import check_target, figures_json, settings_of, write_export
    from morel_search.models.load import CHECKPOINT

    folder = (run.mixture_models if member.is_mixture else run.front_models) / member.name
    if not (folder / CHECKPOINT).is_file():
        writer = "python -m morel_search.mix" if member.is_mixture else "a search"
        raise RunFolderError(
            f"the weights of {member.reference} are missing: {folder / CHECKPOINT} does not exist; "
            f"{writer} writes it when it ends"
        )
    model, metadata = load_model(folder / CHECKPOINT, consent)
    settings = replace(
        settings_of(folder),
        made_by="python -m morel_search.pick",
        image_shape=metadata.image_shape,
        classes=metadata.classes,
        figures=figures_json(member),
        picked=picked,
    )
    check_target(target, settings, model.state_dict())
    write_export(target, model, settings, formats)
    return settings


def _describe(member: Member, kind: str, why: str, settings: ModelSettings, run: Path) -> list[str]:
    """Say which network was picked, why, and how accurate it is."""
    from morel_search._consent import trust_option
    from morel_search._format import percent, with_interval
    from morel_search.models.model_card import kind_text

    figures = member.figures[kind]
    lines = [
        f"{member.reference}: {with_interval(figures.clean, figures.clean_interval)} clean and "
        f"{with_interval(figures.robust, figures.robust_interval)} robust accuracy, "
        f"{kind_text(kind, settings.evaluation)}",
        why,
    ]
    if member.is_mixture:
        lines.append(f"It costs {member.cost}.")
    if kind != "verified":
        if test := member.figures.get("test"):
            lines.append(
                f"On test images, under the same attack: {percent(test.clean)} clean and "
                f"{percent(test.robust)} robust accuracy, which choose nothing."
            )
        trust = trust_option((settings.network, settings.train))
        lines.append(
            f"These figures are not verified; python -m morel_search.verify {shlex.quote(str(run))}{trust} "
            "verifies them."
        )
    return lines
