"""The results of a run for a notebook: its tables, and the front as a figure and a table."""

from __future__ import annotations

import base64
import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

from morel_search._format import interval_text, percent
from morel_search.analysis.report.html import table, text
from morel_search.analysis.report.lead import title
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.run_data import RunData
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import leading, read_verification
from morel_search.results.tables import VERIFIED_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Results"]


@dataclasses.dataclass(frozen=True)
class Results(RunData):
    """The data of a run, which shows its front where it is the last value of a notebook's cell."""

    @classmethod
    def of(cls, run_data: RunData) -> Results:
        """Return the same data as results."""
        fields = dataclasses.fields(RunData)
        return cls(**{field.name: getattr(run_data, field.name) for field in fields})

    @cached_property
    def verification(self) -> Verification | None:
        """The verified networks, image by image; None when no image was attacked on all networks yet."""
        return read_verification(self)

    @property
    def verified(self) -> pd.DataFrame:
        """The verified networks, one row each, with the columns of ``verified.csv``; no row without any."""
        import pandas as pd

        if self.verification is None:
            return pd.DataFrame(columns=list(VERIFIED_COLUMNS))
        return self.verification.table()

    def _repr_html_(self) -> str:
        """Return title, figure and table of the front, for a notebook."""
        verification = leading(self.verification)
        parts = [f"<h3>{text(self.run.path.name)}: {text(title(self, self.verification))}</h3>"]
        if len(self.complete):
            drawn = base64.b64encode(paper_figure(self, verification)["png"]).decode()
            parts.append(
                f'<img width="460" alt="The front of {text(self.run.path.name)}" '
                f'src="data:image/png;base64,{drawn}">'
            )
        rows = self._verified_rows(verification) if verification is not None else self._front_rows()
        if rows:
            heads = ("network", "clean", "robust", "95% interval", "verdict")
            if verification is None:
                heads = ("network", "clean", "robust", "test clean", "test robust")
            parts.append(table(heads, rows, "The networks", sortable=False))
        return "".join(parts)

    def _front_rows(self) -> list[list[str]]:
        """Return the members of the front, with accuracies on validation and test images."""
        members = [entry for entry in self.networks if entry.member]
        return [
            [entry.name, *map(percent, entry.validation), *map(percent, entry.test or (None, None))]
            for entry in members
        ]

    def _verified_rows(self, verification: Verification) -> list[list[str]]:
        return [
            [
                network.labelled_name,
                *map(percent, network.accuracy),
                interval_text(network.intervals[1]),
                verification.verdict(network),
            ]
            for network in verification.networks
        ]
