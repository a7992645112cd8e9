"""Loading a space file: read, apply overrides, check, build the space."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from morel_search._consent import ALL_CODE, Consent, import_paths
from morel_search._format import printable
from morel_search._values import JsonObject, JsonValue
from morel_search.config.checks import check_rationals, check_sections, check_space
from morel_search.config.constraints import check_fixed, narrowed, read_constraints
from morel_search.config.controls import DEFAULT_CONTROLS, read_controls
from morel_search.config.enqueued import read_enqueued
from morel_search.config.faults import Faults, nearest, shown
from morel_search.config.overrides import apply_overrides
from morel_search.config.parameter import Parameter
from morel_search.config.parameters import read_parameters
from morel_search.config.reader import read_text, read_tree
from morel_search.config.renamed import rename_old_keys
from morel_search.config.rivals import read_rivals
from morel_search.config.schema import build, read_given, read_section
from morel_search.config.search_settings import (
    EarlyStoppingSettings,
    ResourceSettings,
    SearchSettings,
    VerifySettings,
)
from morel_search.config.sections import REQUIRED, SECTIONS
from morel_search.config.space import Space
from morel_search.config.warnings import warnings
from morel_search.errors import SpaceError
from morel_search.training.compute_settings import ComputeSettings
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings

__all__ = ["load_space"]


def load_space(path: Path, overrides: Sequence[str] = (), *, consent: Consent = ALL_CODE) -> Space:
    """Read and check a space file.

    Args:
        path: The file.
        overrides: Texts of the form ``section.setting=value``; a later one replaces an earlier one.
        consent: The code that may be imported. A space file that the user names is the user's own code; the
            space file of a run folder may not be.

    Returns:
        The space; its ``warnings`` name settings that are allowed but probably a mistake.

    Raises:
        SpaceError: With all faults, each with its place and, for a value of the file, its line. Settings are
            checked against each other only if each of them has no fault.
        UntrustedCodeError: The file names code without consent.
    """
    path = Path(path)
    text = read_text(path)
    faults = Faults()
    try:
        tree = read_tree(text.removeprefix("\ufeff"), faults)
    except SpaceError as error:
        raise SpaceError([printable(fault) for fault in error.faults], str(path)) from None
    if not isinstance(tree, dict):
        problem = "is empty" if tree is None else f"must be a mapping of sections, got {shown(tree)}"
        raise SpaceError([f"{problem}; a space file has the sections {', '.join(SECTIONS)}"], str(path))
    renamed = [*rename_old_keys(tree, faults), *apply_overrides(tree, overrides, faults)]
    consent.check(import_paths({name: tree[name] for name in tree if name != "data"}), path)
    space = _read(path, text, tuple(overrides), tree, faults)
    faults.raise_all(str(path))
    assert space is not None, "a section is missing, but no fault was noted"
    return dataclasses.replace(space, warnings=(*renamed, *warnings(space, tree)))


def _read(
    path: Path, text: str, overrides: tuple[str, ...], tree: JsonObject, faults: Faults
) -> Space | None:
    for name in [name for name in tree if name not in SECTIONS]:
        faults.add((name,), f"unknown section{nearest(name, SECTIONS)}")
    for name in [name for name in REQUIRED if name not in tree]:
        faults.add((name,), "this section must be given")
    given = {name: _section(tree, name) for name in SECTIONS}
    data = read_section(DataSettings, given["data"], ("data",), faults) if "data" in tree else None
    network = (
        read_section(NetworkSettings, given["network"], ("network",), faults) if "network" in tree else None
    )
    evaluation = read_section(EvaluationSettings, given["evaluation"], ("evaluation",), faults)
    search = read_section(SearchSettings, given["search"], ("search",), faults)
    stopping = read_section(EarlyStoppingSettings, given["early_stopping"], ("early_stopping",), faults)
    verify = read_section(VerifySettings, given["verify"], ("verify",), faults)
    compute = read_section(ComputeSettings, given["compute"], ("compute",), faults)
    resources = read_section(ResourceSettings, given["resources"], ("resources",), faults)
    parameters = read_parameters(given["parameters"], given["train"], faults) if "parameters" in tree else ()
    constraints = read_constraints(given["constraints"], faults)
    parameters = narrowed(parameters, constraints, faults)
    train = _read_train(given["train"], parameters, faults)
    if train is not None:
        check_fixed(train, parameters, constraints, faults)
    controls = read_controls(given["controls"], given["train"], evaluation, faults)
    rivals = read_rivals(given["rivals"], {control.name for control in controls}, faults)
    enqueued = (
        read_enqueued(search.start_from, parameters, faults)
        if search is not None and "parameters" in tree
        else ()
    )
    check_rationals(given, faults)
    check_sections(given, data, train, evaluation, faults)
    if (
        faults
        or data is None
        or network is None
        or train is None
        or evaluation is None
        or search is None
        or stopping is None
        or verify is None
        or compute is None
        or resources is None
    ):
        return None
    space = Space(
        path=path,
        text=text,
        overrides=overrides,
        data=data,
        network=network,
        train=train,
        evaluation=evaluation,
        parameters=parameters,
        search=search,
        early_stopping=stopping,
        constraints=constraints,
        verify=verify,
        compute=compute,
        resources=resources,
        controls=controls,
        rivals=rivals,
        enqueued=enqueued,
    )
    check_space(space, given, faults)
    return space


def _section(tree: JsonObject, name: str) -> JsonValue:
    """Return a section as it stands in the file; the default if it is missing or empty."""
    given = tree.get(name)
    if given is None:
        return list(DEFAULT_CONTROLS) if name == "controls" else {}
    return given


def _read_train(given: JsonValue, parameters: Sequence[Parameter], faults: Faults) -> TrainSettings | None:
    """Return the settings of a training that are not searched.

    If embedding_dim or attention_heads is searched without a condition, it gets the first value of its range:
    the default could contradict the other of the two.
    """
    values = read_given(TrainSettings, given, ("train",), faults)
    if values is None:
        return None
    for parameter in parameters:
        if parameter.name in ("embedding_dim", "attention_heads") and not parameter.when:
            values.setdefault(parameter.name, (parameter.values or (parameter.low,))[0])
    return build(TrainSettings, values, ("train",), faults)
