"""The mixtures of a run, as the ``settings.json`` in each folder of ``mixtures/`` describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.json_values import (
    get_list,
    get_number,
    get_object,
    get_text,
    get_texts,
    get_whole,
    read_json,
)
from morel_search.results.names import is_mixture_name

__all__ = ["CHOSEN", "MixtureEntry", "Part", "mixture_folders", "read_mixtures", "write_chosen"]

CHOSEN = "chosen.json"
"""File in ``mixtures/`` with the names that the last call of ``mix`` chose."""


@dataclass(frozen=True, slots=True)
class Part:
    """A member of a mixture.

    Attributes:
        network: Name of the member in its run.
        weight: Its weight; the weights of all members have the sum 1.
        fingerprint: SHA-256 of the file with its weights, as hexadecimal digits.
    """

    network: str
    weight: float
    fingerprint: str

    def to_json(self) -> dict[str, object]:
        """Return the JSON values."""
        return {"network": self.network, "weight": self.weight, "fingerprint": self.fingerprint}


@dataclass(frozen=True, slots=True)
class MixtureEntry:
    """A mixture of two networks of a run.

    Attributes:
        name: Name of its folder, see :func:`~morel_search.results.names.mixture_name`.
        parts: The members.
        form: What is mixed: ``probabilities`` or ``logits``.
        passes: Forward passes of one prediction.
        parameters: Number of parameters of all members together.
        validation: Clean and robust validation accuracy, under the final attack of the search.
    """

    name: str
    parts: tuple[Part, ...]
    form: str
    passes: int
    parameters: int
    validation: tuple[float, float]

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(part.network for part in self.parts)

    def to_json(self) -> dict[str, object]:
        """Return the section ``mixture`` of the settings."""
        return {
            "members": [part.to_json() for part in self.parts],
            "form": self.form,
            "passes": self.passes,
            "parameters": self.parameters,
        }


def write_chosen(run: RunFolder, names: Iterable[str]) -> None:
    """Record which mixtures the run has from now on, if it has any; see :func:`mixture_folders`.

    Raises:
        RunFolderError: The file cannot be written.
    """
    if run.mixture_models.is_dir():
        run.write_json(run.mixture_models / CHOSEN, {"mixtures": [*names]})


def mixture_folders(run: RunFolder) -> tuple[Path, ...]:
    """Return the folders of the run's mixtures.

    A mixture of an earlier call of ``mix`` that could not be deleted is left out. Without a record of the
    choice, as earlier versions left it, every folder is one of a mixture.

    Raises:
        RunFolderError: The record of the choice is damaged.
    """
    path = run.mixture_models / CHOSEN
    folders = tuple(sorted(folder for folder in run.mixture_models.glob("*") if folder.is_dir()))
    try:
        content = read_json(path)
        if not isinstance(content, Mapping):
            raise RunFolderError("is damaged: it is no object")
        chosen = get_texts(content, "mixtures")
    except (FileNotFoundError, NotADirectoryError):
        return folders
    except OSError as error:
        raise os_error_sentence("read", path, error) from error
    except ValueError as error:
        raise RunFolderError(f"{path} is damaged: {error}") from error
    except RunFolderError as error:
        raise RunFolderError(f"{path} {error}") from None
    return tuple(folder for folder in folders if folder.name in chosen or not is_mixture_name(folder.name))


def read_mixtures(run: RunFolder) -> tuple[MixtureEntry, ...]:
    """Read the mixtures of a run, from the highest to the lowest clean validation accuracy.

    Raises:
        RunFolderError: The settings of a mixture, or the record of the choice, are damaged.
    """
    entries = []
    for folder in mixture_folders(run):
        path = folder / "settings.json"
        if not path.exists():
            continue
        try:
            content = read_json(path)
            if not isinstance(content, Mapping):
                raise RunFolderError("is damaged: it is no object")
            entries.append(_entry(folder.name, content))
        except OSError as error:
            raise os_error_sentence("read", path, error) from error
        except ValueError as error:
            raise RunFolderError(f"{path} is damaged: {error}") from error
        except RunFolderError as error:
            raise RunFolderError(f"{path} {error}") from None
    return tuple(sorted(entries, key=lambda entry: (-entry.validation[0], entry.validation[1], entry.name)))


def _entry(name: str, content: Mapping[str, object]) -> MixtureEntry:
    mixture = get_object(content, "mixture")
    figures = get_object(get_object(content, "figures"), "validation", "figures.")
    form, passes = get_text(mixture, "form", "mixture."), get_whole(mixture, "passes", "mixture.")
    parameters = get_whole(mixture, "parameters", "mixture.")
    clean, robust = (
        get_number(figures, f"{key}_accuracy", "figures.validation.") for key in ("clean", "robust")
    )
    parts = tuple(map(_part, get_list(mixture, "members", "mixture.")))
    if len(parts) < 2 or form is None or passes is None or parameters is None:
        raise RunFolderError("is damaged: it does not describe the members of a mixture")
    if clean is None or robust is None:
        raise RunFolderError("is damaged: it has no validation accuracies")
    return MixtureEntry(name, parts, form, passes, parameters, (clean, robust))


def _part(given: object) -> Part:
    if not isinstance(given, Mapping):
        raise RunFolderError("is damaged: a member of 'mixture.members' is no object")
    network, weight = get_text(given, "network"), get_number(given, "weight")
    if network is None or weight is None:
        raise RunFolderError("is damaged: a member of 'mixture.members' has no network or no weight")
    return Part(network, weight, get_text(given, "fingerprint") or "")
