"""Writing space files for the tests of the door."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from morel_search.config import Space, load_space
from morel_search.errors import SpaceError

SHIPPED = sorted((Path(__file__).parent.parent / "search_spaces").glob("*.yaml"))


def least() -> dict[str, Any]:
    """The least that a space file may say."""
    return {
        "data": {"name": "digits"},
        "network": {"name": "small_cnn"},
        "parameters": {"k_robust": {"type": "float", "low": 0, "high": 0.8}},
    }


def changed(**sections: Any) -> dict[str, Any]:
    """The least space with sections given or replaced."""
    return {**least(), **sections}


def searched(**parameters: Any) -> dict[str, Any]:
    """The least space with these parameters."""
    return changed(parameters=parameters)


def write(folder: Path, content: Any, name: str = "space.yaml") -> Path:
    """A space file: a text or bytes as they are, anything else as JSON, which is YAML 1.2."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(
            content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8"
        )
    return path


def load(folder: Path, content: Any, overrides: Sequence[str] = ()) -> Space:
    """Load a space from a content."""
    return load_space(write(folder, content), overrides)


def faults(folder: Path, content: Any, overrides: Sequence[str] = ()) -> tuple[str, ...]:
    """The faults of a content that has to be refused, without their lines."""
    with pytest.raises(SpaceError) as caught:
        load(folder, content, overrides)
    assert str(caught.value).startswith(str(folder / "space.yaml"))
    return tuple(fault.rpartition(" (line ")[0] or fault for fault in caught.value.faults)
