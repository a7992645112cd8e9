"""The section that tells how to run the search again, with the files of the run."""

from __future__ import annotations

import shlex

from morel_search._format import without_passwords
from morel_search.analysis.report.commands import module_command, run_place
from morel_search.analysis.report.html import Section, section, text
from morel_search.analysis.run_data import RunData

__all__ = ["LINKED", "reproduce_section"]

LINKED = {
    "trials.csv": "trials",
    "epochs.csv": "epochs",
    "front.csv": "front",
    "figures/front.pdf": "figure, PDF",
    "figures/front.svg": "SVG",
    "figures/front.png": "PNG",
}
"""The files of a run to which its page links, with the words of the links."""


def reproduce_section(run_data: RunData) -> Section:
    """Return the commands that run the search again and write this page again, and links to the files."""
    links = _links(run_data)
    note = f'<p class="caption">Files of this run: {", ".join(links)}.</p>' if links else ""
    content = f"<pre>{text(_commands(run_data))}</pre>{note}"
    return section("Commands and files", content, ident="reproduce")


def _commands(run_data: RunData) -> str:
    seed = run_data.settings.seed
    given = without_passwords(shlex.join(run_data.settings.command))
    again = shlex.join(["python", "-m", "morel_search.run", "--space", f"{run_place(run_data)}/space.yaml"])
    again += "" if seed is None else f" --seed {seed}"
    if (run_data.run.teacher / "settings.json").is_file():
        again += " " + shlex.join(["--set", f"train.teacher={run_place(run_data)}/teacher"])
    lines = [
        *([f"# the command that started this run\n{given}"] if given else []),
        f"# the same search, from the space file in the run folder\n{again}",
        f"# write this page again\n{module_command('report', run_data)}",
    ]
    return "\n\n".join(lines)


def _links(run_data: RunData) -> list[str]:
    return [
        f'<a href="{path}">{text(label)}</a>'
        for path, label in LINKED.items()
        if (run_data.run.path / path).is_file()
    ]
