"""The section of the parameters: parallel coordinates of all searched trials."""

from __future__ import annotations

from morel_search.analysis.report.html import Section, scrollable, section
from morel_search.analysis.report.parallel_coordinates import parallel_data
from morel_search.analysis.run_data import RunData

__all__ = ["parameters_section"]


def parameters_section(run_data: RunData) -> Section | None:
    """Return the section of the parameters; None without a searched trial or a parameter."""
    if run_data.searched.empty or not run_data.parameters:
        return None
    caption = (
        "One line per searched trial that finished, coloured by robust validation accuracy from ochre "
        "(lowest) to blue (highest); trials on the front are bold. Drag along an axis to filter the trials, "
        "click on it to remove the filter."
    )
    place = scrollable('<div id="parallel"></div>', "Parallel coordinates of the parameters")
    return section("Parameters", place, caption, "parameters", {"parallel": parallel_data(run_data)})
