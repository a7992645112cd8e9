"""The results of a run as an object: its frames, and what it shows in a notebook."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from run_folders import make_run
from verified_runs import verified_run

import morel_search
from morel_search._format import percent
from morel_search.results.tables import VERIFIED_COLUMNS

EXAMPLE = Path(__file__).parents[1] / "results" / "example"
ACCURACIES = ["clean_accuracy", "robust_accuracy"]


def shown(folder: Path) -> str:
    html = morel_search.load_results(folder)._repr_html_()
    (image,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert base64.b64decode(image).startswith(b"\x89PNG")
    return html


def test_the_frames_have_types_and_the_numbers_of_the_tables() -> None:
    results = morel_search.load_results(EXAMPLE)
    assert list(results.verified.columns) == list(VERIFIED_COLUMNS)
    written = pd.read_csv(EXAMPLE / "verified.csv")
    pd.testing.assert_frame_equal(
        results.verified[["number", *ACCURACIES]], written[["number", *ACCURACIES]], check_dtype=False
    )
    for frame in (results.trials, results.epochs, results.front, results.verified):
        assert all(pd.api.types.is_float_dtype(frame[name]) for name in ACCURACIES)
        assert pd.api.types.is_integer_dtype(frame["number"])
    assert set(results.front["number"]) <= set(results.trials["number"])
    assert set(results.epochs["number"]) <= set(results.trials["number"])


def test_a_verified_run_shows_verified_accuracies(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    html = shown(run.path)
    for network in verification.networks:
        assert f"<td>{network.labelled_name}</td><td>{percent(network.accuracy[0])}</td>" in html
    assert "verdict" in html


def test_a_run_that_is_not_verified_shows_those_of_the_search(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    results = morel_search.load_results(run.path)
    assert results.verification is None
    assert results.verified.empty
    html = shown(run.path)
    clean = percent(results.front["clean_accuracy"].iloc[0])
    assert f"<td>{results.network(results.front['number'].iloc[0], None)}</td><td>{clean}</td>" in html
    assert "test robust" in html


def test_without_a_result_it_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    trials = pd.read_csv(run.trials)
    trials.iloc[:0].to_csv(run.trials, index=False)
    for name in ("front.csv", "epochs.csv"):
        table = pd.read_csv(run.path / name)
        table.iloc[:0].to_csv(run.path / name, index=False)
    html = morel_search.load_results(run.path)._repr_html_()
    assert "No trial" in html
    assert "<img" not in html


def test_names_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    other = tmp_path / "<script>alert(1)<"
    shutil.copytree(run.path, other)
    html = shown(other)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_two_loads_are_equal_in_shape(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(AttributeError):
        morel_search.load_results(run.path).trials = None  # type: ignore[misc,assignment]
