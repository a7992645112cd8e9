"""The README: its length, its two commands, and the files of the example that it shows."""

from __future__ import annotations

from pathlib import Path

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
