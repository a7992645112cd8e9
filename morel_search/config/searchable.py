"""The settings that a search may vary: those of train, the augmentation, and the network's options."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from morel_search._values import SettingValue
from morel_search.config.faults import nearest
from morel_search.config.fieldspec import FieldSpec, replaced, specs
from morel_search.training.data_settings import Augmentation, DataSettings
from morel_search.training.settings import NetworkSettings, TrainSettings

__all__ = ["OptionValue", "TrialSettings", "joined_name", "searchable", "unsearchable"]

AUGMENTATION = "data.augmentation"
_OPTIONS = ("network", "options")
_OPTION = re.compile(r"network\.options\.[A-Za-z_]\w*")


class OptionValue:
    """The type of an option of the network in a :class:`~morel_search.config.fieldspec.FieldSpec`.

    A value is a number, a text, true or false; the network itself checks it.
    """


def searchable(name: str) -> FieldSpec | None:
    """Return the field of a setting that can be searched; None for any other name.

    Args:
        name: A setting of ``train``, ``data.augmentation``, or ``network.options.NAME``.
    """
    if name == AUGMENTATION:
        return dataclasses.replace(specs(DataSettings)["augmentation"], name=name)
    if _OPTION.fullmatch(name):
        doc = f"option {name.rpartition('.')[2]} of the network"
        return FieldSpec(name, OptionValue, False, (), False, {}, None, doc)
    return specs(TrainSettings).get(name)


def unsearchable(name: str) -> str:
    """Return why a setting cannot be searched, as the second part of a sentence about it."""
    if name.partition(".")[0] in ("network", "data"):
        return (
            f"cannot be searched; beside the settings of train, {AUGMENTATION} and network.options.NAME can"
        )
    return f"is not a setting of train, so it cannot be searched{nearest(name, specs(TrainSettings))}"


def joined_name(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Join the parts of a searched setting's name that begin a path of keys.

    >>> joined_name(("network", "options", "width", "choices"))
    ('network.options.width', 'choices')
    """
    count = 3 if keys[:2] == _OPTIONS else 2 if ".".join(keys[:2]) == AUGMENTATION else 1
    return (".".join(keys[:count]), *keys[count:]) if keys else keys


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSettings:
    """The settings of a training that a search can vary.

    Attributes:
        train: Settings of the training.
        network: The network with its options.
        augmentation: The augmentation.
    """

    train: TrainSettings
    network: NetworkSettings
    augmentation: Augmentation

    def value(self, name: str) -> SettingValue:
        """Return the value of a setting, see :func:`searchable`.

        An option of the network that is not given, so that the network's own default holds, is None.
        """
        value: SettingValue
        if name == AUGMENTATION:
            value = self.augmentation
        elif _OPTION.fullmatch(name):
            value = self.network.options.get(name.rpartition(".")[2])
        else:
            value = getattr(self.train, name)
        return value

    def replaced(self, values: Mapping[str, SettingValue]) -> TrialSettings:
        """Return settings with some values replaced, of which the types were checked before.

        Raises:
            ValueError: The values contradict each other or other settings.
        """
        options = {
            name.rpartition(".")[2]: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if _OPTION.fullmatch(name)
        }
        train = {name: value for name, value in values.items() if name != AUGMENTATION and "." not in name}
        augmentation: Augmentation = self.augmentation
        if AUGMENTATION in values:
            augmentation = _augmentation(values[AUGMENTATION])
        return TrialSettings(
            train=replaced(self.train, train),
            network=dataclasses.replace(self.network, options={**self.network.options, **options}),
            augmentation=augmentation,
        )


def _augmentation(value: SettingValue) -> Augmentation:
    settings = replaced(DataSettings(name="digits"), {"augmentation": value})
    return settings.augmentation
