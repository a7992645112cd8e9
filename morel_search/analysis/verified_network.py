"""A verified network: which images it answers correctly, without and under attack, and how it is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.intervals import wilson
from morel_search.results.diagnostics import MaskingDiagnostics

__all__ = ["Network"]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A verified network.

    Attributes:
        name: Name of the network and of its folder in ``front/``.
        number: Number of the trial.
        epoch: Epoch of the trial; -1 when it is not known.
        member: Whether the network is on the validation front.
        label: Name of the control; empty for other trials.
        validation: Clean and robust validation accuracy, under the attack of the search.
        clean: Whether each of the N images is correctly classified, shape (N,).
        robust: Whether each of them is correctly classified after every attack, shape (N,).
        after: Number of images that are correctly classified after each white-box attack and all attacks
            before it; ``clean`` before the first attack.
        late: The same after every attack, over the :attr:`Verification.late_images` only.
        diagnostics: Diagnostics of gradient masking.
        attacks: The attacks that apply to this network.
        not_run: Errors of the attacks that could not be run on this network, by the attack's name.
        flags: Signs of gradient masking, one sentence each.
        members: Names of the members of a mixture; empty for a single network.
        rival: Whether the search did not train it.
        passes: Forward passes of one prediction.
        parameters: Number of parameters of a mixture or a rival; 0 where it is not known.
        curve_clean: Number of the images of the diagnostics that are correctly classified without an attack;
            None where it is not known.
    """

    name: str
    number: int
    epoch: int
    member: bool
    label: str
    validation: tuple[float, float]
    clean: Flags
    robust: Flags
    after: Mapping[str, int]
    late: Mapping[str, int]
    diagnostics: MaskingDiagnostics
    attacks: tuple[str, ...]
    flags: tuple[str, ...]
    not_run: Mapping[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    passes: int = 1
    parameters: int = 0
    rival: bool = False
    curve_clean: int | None = None

    @property
    def accuracy(self) -> tuple[float, float]:
        """Clean and robust test accuracy, under all attacks."""
        return float(self.clean.mean()), float(self.robust.mean())

    @property
    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """95 % intervals of the clean and of the robust accuracy."""
        return wilson(int(self.clean.sum()), len(self.clean)), wilson(
            int(self.robust.sum()), len(self.robust)
        )

    @property
    def title(self) -> str:
        """``Control trades`` or ``Network 12``, for the beginning of a sentence."""
        return f"{self.reference[0].upper()}{self.reference[1:]}"

    @property
    def reference(self) -> str:
        """``control trades``, ``network 12`` or ``rival theirs``, for the inside of a sentence."""
        if self.members:
            return f"mixture {self.name}"
        if self.rival:
            return f"rival {self.name}"
        return f"control {self.label}" if self.label else f"network {self.name}"

    @property
    def labelled_name(self) -> str:
        """``12 (trades)`` for a control, ``theirs (rival)`` for a rival, ``12`` for another network."""
        if self.rival:
            return f"{self.name} (rival)"
        return f"{self.name} ({self.label})" if self.label else self.name

    @property
    def by_search(self) -> float:
        """Robust test accuracy under the attack of the search, on the same images."""
        return self.after["pgd"] / len(self.clean)
