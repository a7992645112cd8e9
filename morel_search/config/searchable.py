"""The settings that a search may vary: those of train, some of data, and the network's options."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from morel_search._values import SettingValue
from morel_search.config.faults import nearest
from morel_search.config.fieldspec import FieldSpec, replaced, specs
from morel_search.training.data_settings import DataSettings
from morel_search.training.settings import NetworkSettings, TrainSettings

__all__ = [
    "OPTION_PATTERN",
    "OptionValue",
    "TrialSettings",
    "is_option",
    "joined_name",
    "named_fields",
    "searchable",
    "unsearchable",
]

_DATA = ("data.augmentation", "data.extra_share")
_OPTIONS = ("network", "options")
OPTION_PATTERN = r"network\.options\.[A-Za-z_]\w*"
"""The names of options of the network."""
_OPTION = re.compile(OPTION_PATTERN)


class OptionValue:
    """The type of an option of the network in a :class:`~morel_search.config.fieldspec.FieldSpec`.

    A value is a number, a text, true or false; the network itself checks it.
    """


def searchable(name: str) -> FieldSpec | None:
    """Return the field of a setting that can be searched; None for any other name.

    Args:
        name: A setting of ``train``, ``data.augmentation``, ``data.extra_share``, or
            ``network.options.NAME``.
    """
    if name in _DATA:
        return dataclasses.replace(specs(DataSettings)[_last(name)], name=name)
    if is_option(name):
        doc = f"option {_last(name)} of the network"
        return FieldSpec(name, OptionValue, False, (), False, {}, None, doc)
    spec = specs(TrainSettings).get(name)
    return None if spec is None or spec.fixed else spec


def named_fields() -> dict[str, FieldSpec]:
    """Return the settings that can be searched, without the options of the network, by name."""
    fields = {name: searchable(name) for name in (*specs(TrainSettings), *_DATA)}
    return {name: spec for name, spec in fields.items() if spec is not None}


def is_option(name: str) -> bool:
    """Return whether a name is that of an option of the network."""
    return _OPTION.fullmatch(name) is not None


def unsearchable(name: str) -> str:
    """Return why a setting cannot be searched, as the second part of a sentence about it."""
    if name.partition(".")[0] in ("network", "data"):
        return (
            f"cannot be searched; beside the settings of train, {', '.join(_DATA)} and network.options.NAME "
            "can"
        )
    if name in specs(TrainSettings):
        return "cannot be searched: it is the same for all trainings of a search; set it in train"
    return f"is not a setting of train, so it cannot be searched{nearest(name, specs(TrainSettings))}"


def joined_name(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Join the parts of a searched setting's name that begin a path of keys.

    >>> joined_name(("network", "options", "width", "choices"))
    ('network.options.width', 'choices')
    """
    count = 3 if keys[:2] == _OPTIONS else 2 if ".".join(keys[:2]) in _DATA else 1
    return (".".join(keys[:count]), *keys[count:]) if keys else keys


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSettings:
    """The settings of a training that a search can vary.

    Attributes:
        train: Settings of the training.
        network: The network with its options.
        data: The data set; only its settings for training vary.
    """

    train: TrainSettings
    network: NetworkSettings
    data: DataSettings

    def value(self, name: str) -> SettingValue:
        """Return the value of a setting, see :func:`searchable`.

        An option of the network that is not given, so that the network's own default holds, is None.
        """
        value: SettingValue
        if name in _DATA:
            value = getattr(self.data, _last(name))
        elif is_option(name):
            value = self.network.options.get(_last(name))
        else:
            value = getattr(self.train, name)
        return value

    def replaced(self, values: Mapping[str, SettingValue]) -> TrialSettings:
        """Return settings with some values replaced, of which the types were checked before.

        Raises:
            ValueError: The values contradict each other or other settings.
        """
        options = {
            _last(name): list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if is_option(name)
        }
        train = {name: value for name, value in values.items() if "." not in name}
        data = {_last(name): value for name, value in values.items() if name in _DATA}
        return TrialSettings(
            train=replaced(self.train, train),
            network=dataclasses.replace(self.network, options={**self.network.options, **options}),
            data=replaced(self.data, data),
        )


def _last(name: str) -> str:
    return name.rpartition(".")[2]
