"""Changed names, so that space files, run folders and studies of earlier versions can be read."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = [
    "RENAMED_ORIGINS",
    "RENAMED_SETTINGS",
    "current_evaluation",
    "current_member_settings",
    "current_space",
]

RENAMED_SETTINGS: dict[str, dict[str, str]] = {"search": {"point": "select_epoch"}}
"""For each section of a space, the old names of keys and their current names."""

LATER_DATA = {
    **{"background": "white", "extra": None, "extra_share": 0.5},
    **{"subset": None, "revision": None, "commit": None},
}
"""Settings of the section ``data`` that earlier versions did not have, with their defaults."""

LATER_TRAIN = {
    **{"label_smoothing": 0.0, "awp": 0.0, "awp_warmup": 0.0},
    **{"teacher": None, "teacher_sha256": None, "teacher_weight": None, "teacher_temperature": None},
}
"""Settings of the section ``train`` that earlier versions did not have, with their defaults."""

LATER_NETWORK = {"weights": None, "weights_sha256": None}
"""Settings of the section ``network`` that earlier versions did not have, with their defaults."""

GENETIC_SAMPLERS = ("nsga2", "nsga3")

LATER_SEARCH = {"children": 1}
"""Settings of the genetic samplers that earlier versions did not have, with the values they stand for."""

RENAMED_ORIGINS = {"seed": "enqueued"}
"""Old names of the origin of a trial and their current names."""


def current_space(description: Mapping[str, object]) -> dict[str, object]:
    """Rename the old keys of a resolved space and add those that it lacks.

    ``settings.json`` and a study's identity hold such a space.
    """
    renamed = dict(description)
    for section, names in RENAMED_SETTINGS.items():
        content = renamed.get(section)
        if isinstance(content, Mapping):
            renamed[section] = {names.get(key, key): value for key, value in content.items()}
    data, train, network = renamed.get("data"), renamed.get("train"), renamed.get("network")
    search = renamed.get("search")
    if isinstance(search, Mapping) and search.get("sampler") in GENETIC_SAMPLERS:
        renamed["search"] = {**LATER_SEARCH, **search}
    if isinstance(data, Mapping) and "name" in data:
        renamed["data"] = {**LATER_DATA, **data}
    if isinstance(train, Mapping) and "epochs" in train:
        renamed["train"] = {**LATER_TRAIN, **train}
    if isinstance(network, Mapping) and "name" in network:
        renamed["network"] = {**LATER_NETWORK, **network}
    return _with_current_stopping(_with_current_evaluation(renamed))


def _with_current_stopping(space: dict[str, object]) -> dict[str, object]:
    """Give early stopping the settings that have the meaning of earlier versions.

    There, 1 / eta of the trainings continued, ``grace: null`` was epochs / eta^2, and a rung saw eta
    trainings or ``min_peers``, whichever is more.
    """
    stopping = space.get("early_stopping")
    if not isinstance(stopping, Mapping) or "keep" in stopping or "eta" not in stopping:
        return space
    eta, epochs = stopping["eta"], _most_epochs(space)
    renamed = {"keep": None, **stopping}
    if isinstance(eta, int) and eta > 1:
        peers = renamed.get("min_peers")
        renamed["min_peers"] = max(eta, peers) if isinstance(peers, int) else eta
        if renamed.get("grace") is None and epochs is not None:
            renamed["grace"] = math.ceil(epochs / eta**2)
    return {**space, "early_stopping": renamed}


def _most_epochs(space: Mapping[str, object]) -> int | None:
    """Return the largest number of epochs of a training, which may be searched; None if it is not known."""
    train, parameters = space.get("train"), space.get("parameters")
    values: list[object] = [train.get("epochs") if isinstance(train, Mapping) else None]
    for parameter in parameters if isinstance(parameters, list) else ():
        if isinstance(parameter, Mapping) and parameter.get("name") == "epochs":
            choices = parameter.get("choices")
            inactive = values if parameter.get("when") else []
            searched = choices if isinstance(choices, list) and choices else [parameter.get("high")]
            values = [*searched, *inactive]
    return max((value for value in values if isinstance(value, int)), default=None)


def current_member_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """Rename the old keys of the ``settings.json`` file of a network."""
    names = RENAMED_SETTINGS["search"]
    return _with_current_evaluation({names.get(key, key): value for key, value in settings.items()})


def current_evaluation(evaluation: Mapping[str, object]) -> dict[str, object]:
    """Add the settings of the final attack, which earlier versions did not have, switched off.

    A setting that is missing has the default of these versions.
    """
    if not evaluation or "final_steps" in evaluation:
        return dict(evaluation)
    defaults = {"loss": "cross_entropy", "steps": 20}
    later = {"targets": 4, "final_steps": 0, "final_targets": 9, "final_restarts": 2}
    return {**defaults, **evaluation, **later}


def _with_current_evaluation(settings: dict[str, object]) -> dict[str, object]:
    evaluation = settings.get("evaluation")
    if isinstance(evaluation, Mapping):
        settings["evaluation"] = current_evaluation(evaluation)
    return settings
