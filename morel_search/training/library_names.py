"""Names of networks of timm and torchvision, which are imported only when such a name is checked."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.util import find_spec

from morel_search._user_code import PASSED_ON, error_text

__all__ = ["is_library_name", "library_problem", "similar_name"]

LIBRARIES = ("timm", "torchvision")


def is_library_name(name: str) -> bool:
    """Return whether a name has the form ``timm/NAME`` or ``torchvision/NAME``."""
    library, slash, rest = name.partition("/")
    return bool(slash) and library in LIBRARIES and bool(rest)


def library_problem(name: str) -> str:
    """Return what is wrong with ``timm/NAME`` or ``torchvision/NAME``, as the second part of a sentence.

    Returns:
        The problem; empty if there is such a network.
    """
    library, _, network = name.partition("/")
    if find_spec(library) is None:
        extra = f"pip install 'morel-search[{library}]'" if library == "timm" else f"pip install {library}"
        return f"needs {library}, which is not installed: {extra}"
    try:
        known = _names(library)
        if network in known:
            return ""
        if library == "timm" and "." in network and network.partition(".")[0] in known:
            tags = _timm_tags(network.partition(".")[0])
            if network in tags:
                return ""
            return f"is not in timm; its weights are {', '.join(tags) or 'none'}"
    except PASSED_ON:
        raise
    except BaseException as error:
        return f"needs {library}, which cannot be imported: {error_text(error)}"
    return f"is not in {library}{_did_you_mean(network, library)}"


def similar_name(name: str) -> str:
    """Return the name of timm or torchvision that is meant by a name without a library, or nothing.

    Args:
        name: An unknown name, such as ``resnet50`` or ``timm:resnet10t``.
    """
    library, separator, rest = name.replace(":", "/").replace(".models", "").rpartition("/")
    if separator and library not in LIBRARIES:
        return ""
    try:
        libraries = [library] if separator else [*reversed(LIBRARIES)]
        return next(
            (f"{known}/{rest}" for known in libraries if find_spec(known) and rest in _names(known)), ""
        )
    except PASSED_ON:
        raise
    except BaseException:  # a library that cannot be imported suggests nothing
        return ""


@cache
def _names(library: str) -> frozenset[str]:
    """Return the names of all classification networks of a library."""
    if library == "timm":
        import timm

        return frozenset(timm.list_models())
    import torchvision

    return frozenset(torchvision.models.list_models(module=torchvision.models))


def _timm_tags(name: str) -> list[str]:
    import timm

    return [str(tag) for tag in timm.list_pretrained(f"{name}.*")]


def _did_you_mean(network: str, library: str) -> str:
    close = difflib.get_close_matches(network[:60], _names(library), n=1, cutoff=0.6)
    return f"; did you mean {library}/{close[0]}?" if close else ""
