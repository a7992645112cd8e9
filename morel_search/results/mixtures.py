"""The mixtures of a run, as the ``settings.json`` in each folder of ``mixtures/`` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.json_values import get_list, get_number, get_object, get_text, get_whole, read_json

__all__ = ["MixtureEntry", "Part", "read_mixtures"]


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


def read_mixtures(run: RunFolder) -> tuple[MixtureEntry, ...]:
    """Read the mixtures of a run, from the highest to the lowest clean validation accuracy.

    Raises:
        RunFolderError: The settings of a mixture are damaged.
    """
    entries = []
    for path in sorted(run.mixture_models.glob("*/settings.json")):
        try:
            content = read_json(path)
            if not isinstance(content, Mapping):
                raise RunFolderError("is damaged: it is no object")
            entries.append(_entry(path.parent.name, content))
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
