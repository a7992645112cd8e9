"""The section of the networks on the front: a table of their accuracies and parameters."""

from __future__ import annotations

from morel_search._format import attack_text, percent
from morel_search.analysis.report.html import Cell, Section, section, table
from morel_search.analysis.run_data import POINT, TEST, Row, RunData
from morel_search.results.cells import whole_number

__all__ = ["networks_section"]


def networks_section(run_data: RunData) -> Section | None:
    """Return the section of the networks on the front; None without a front."""
    if run_data.feasible.empty:
        return None
    caption = (
        "Clean and robust: accuracies on the validation split, on which the networks were selected; robust "
        f"accuracy under {attack_text(run_data.section('evaluation'))}."
    )
    caption += " Test: accuracies on the test split, measured after the search." if run_data.tested else ""
    caption += " 12-7 is trial 12 after epoch 7." if run_data.select_epoch == "front" else ""
    caption += " Click on a heading to sort."
    return section("The networks on the front", _table(run_data), caption, "networks")


def _table(run_data: RunData) -> str:
    test = ("test clean", "test robust") if run_data.tested else ()
    parameters = [parameter.name for parameter in run_data.parameters]
    rows = [_cells(run_data, row) for row in run_data.front.to_dict("records")]
    return table(["network", "clean", "robust", *test, "epoch", *parameters], rows, "sortable")


def _cells(run_data: RunData, row: Row) -> list[Cell]:
    name = run_data.network(row["number"], row["epoch"])
    name += f" ({row['name']})" if row["origin"] == "control" else ""
    epoch = whole_number(row["epoch"])
    order = float(row["number"]) + (epoch or 0) / 1e6  # by number, then by epoch
    accuracies = [row[column] for column in (*POINT, *(TEST if run_data.tested else ()))]
    cells: list[Cell] = [(name, order), *((percent(accuracy), accuracy) for accuracy in accuracies)]
    cells.append("" if epoch is None else (str(epoch), epoch))
    for parameter in run_data.parameters:
        cell = row.get(parameter.column)
        value, shown = parameter.value(cell), parameter.text(cell)
        cells.append((shown, value) if isinstance(value, float) else shown)
    return cells
