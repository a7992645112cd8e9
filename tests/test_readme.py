"""The README: its length, its two commands, and the files of the example that it shows."""

from __future__ import annotations

from pathlib import Path

from morel_search.analysis.replication import read_replication
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification_reader import read_verification
from morel_search.results.folder import RunFolder

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_two_lines_are_all_the_set_up() -> None:
    lines = [line for line in README.splitlines() if line.startswith("pip install -e ")]
    assert lines == [
        "pip install -e . && python -m morel_search.run --space search_spaces/digits.yaml",
        "pip install -e '.[test]' && pytest",
    ]


def test_it_has_at_most_200_lines() -> None:
    assert len(README.splitlines()) <= 200


def test_it_shows_the_front_of_the_example() -> None:
    assert "](results/example/figures/front.png)" in README
    assert (ROOT / "results/example/figures/front.png").stat().st_size > 1000


def test_its_figures_are_those_of_the_example() -> None:
    """Numbers of the text, computed again from the tables and attack records of ``results/example``."""
    run = RunFolder(ROOT / "results" / "example")
    verification = read_verification(read_run_data(run))
    replicated = read_replication(read_run_data(run))
    assert verification is not None
    networks = {network.label or network.name: network for network in verification.networks}
    best, control, middle = (networks[name].accuracy for name in ("81", "pgd", "73"))
    trials = run.read_trials()
    losses = [
        verification.verdicts[network.name].value
        for network in verification.members
        if verification.kind(network) == "beaten"
    ]
    gaps = [network.by_search - network.accuracy[1] for network in verification.networks]
    text = " ".join(README.split())
    for sentence in (
        f"{len(trials)} small networks on scikit-learn's digits, "
        f"{int((trials['state'] == 'PRUNED').sum())} of them stopped early",
        f"search's final attack, to {100 * max(map(abs, gaps)):.1f} points",
        f"Network 81 has {100 * best[0]:.1f} % clean and {100 * best[1]:.1f} % robust accuracy",
        f"network 73 has {100 * middle[0]:.1f} % and {100 * middle[1]:.1f} %",
        f"The control trained with PGD has {100 * control[0]:.1f} % and {100 * control[1]:.1f} %",
        f"the search gains {100 * (best[1] - control[1]):.1f} points of robust accuracy",
        f"they have {100 * min(losses):.0f} to {100 * max(losses):.0f} points less robust accuracy",
    ):
        assert sentence in text
    assert set(verification.attacked.values()) == {verification.all_images}
    assert {len(network.points) for network in replicated} == {3}
