"""The verification of mixtures, read from made attack records: figures, flags, verdicts, tables and words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from verified_runs import HONEST, IMAGES, SETUP, copied_run, made_table

from morel_search.analysis.attacks_run import is_complete, unverified
from morel_search.analysis.intervals import paired_difference
from morel_search.analysis.members import find_member, read_members, read_mixture_members
from morel_search.analysis.mixture_gains import gain_sentence, member_gains
from morel_search.analysis.report.front_figure import front_figure
from morel_search.analysis.report.front_view import axis_limits, obstacles
from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.report.sections.mixtures import mixtures_section
from morel_search.analysis.report.sections.verified_front import verified_front_section
from morel_search.analysis.report.verified_figure import verified_figure
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification import Network, Verification
from morel_search.analysis.verification_reader import read_verification
from morel_search.results.attack_records import BROKEN, UNKNOWN, AttackRecord, read_records
from morel_search.results.folder import RunFolder
from morel_search.results.mixtures import MixtureEntry, Part
from morel_search.workflows.terminal import verification_text


def add_mixture(
    run: RunFolder,
    members: tuple[str, str],
    *,
    fingerprint: str = SETUP.weights,
    validation: tuple[float, float] = (0.9, 0.6),
) -> str:
    """Write the settings of a mixture, and return its name."""
    name = f"{'+'.join(members)}@30"
    parts = tuple(Part(member, weight, fingerprint) for member, weight in zip(members, (0.3, 0.7)))  # noqa: B905
    entry = MixtureEntry(name, parts, "probabilities", 2, 51_956, validation)
    figures = {"validation": {"clean_accuracy": validation[0], "robust_accuracy": validation[1]}}
    content = {"format": 1, "network": {}, "figures": figures, "mixture": entry.to_json()}
    run.write_json(run.mixture_models / name / "settings.json", content)
    return name


def mixed_run(
    folder: Path, clean: float, robust: float, **more: object
) -> tuple[RunFolder, Verification, str]:
    """Make a verified run with a mixture of the first and the last member of its front."""
    run, verification = copied_run(folder)
    members = verification.members[0].name, verification.members[-1].name
    name = add_mixture(run, members, **more)  # type: ignore[arg-type]
    table = made_table(np.random.default_rng(1), clean, robust)
    AttackRecord(name, replace(SETUP, weights="m"), table, HONEST).write(run)
    return run, read(run), name


def read(run: RunFolder) -> Verification:
    verification = read_verification(read_run_data(run))
    assert verification is not None
    return verification


def test_its_figures_are_those_of_its_record(tmp_path: Path) -> None:
    run, verification, name = mixed_run(tmp_path, 0.93, 0.71)
    (mixture,) = verification.mixtures
    table = read_records(run)[name].table
    assert mixture.accuracy == (float((table[:, 0] == 1).mean()), float(np.mean(robust_rows(table))))
    assert (mixture.name, mixture.passes, mixture.parameters) == (name, 2, 51_956)
    assert not mixture.flags
    assert verification.absent_mixtures == ()
    assert is_complete(verification) == is_complete(replace(verification, mixtures=()))


def robust_rows(table: NDArray[np.int8]) -> NDArray[np.bool_]:
    return np.array([row[0] == 1 and BROKEN not in row for row in table])


def test_single_networks_are_judged_as_without_it(tmp_path: Path) -> None:
    """Even a mixture that is better than all of them changes no verdict and not the front's hypervolume."""
    _, alone = copied_run(tmp_path / "alone")
    _, verification, name = mixed_run(tmp_path / "mixed", 1.0, 0.99)
    assert verification.verdicts == alone.verdicts
    assert verification.hypervolumes == alone.hypervolumes
    assert verification.images == alone.images
    assert [network.name for network in verification.front] == [network.name for network in alone.front]
    pd.testing.assert_frame_equal(
        verification.table().iloc[: len(alone.networks)], alone.table(), check_dtype=False
    )
    (mixture,) = verification.mixtures
    assert verification.verdict(mixture) == "on the front"
    row = verification.table().iloc[-1]
    assert (row["name"], row["verdict"], row["on_front"]) == (name, "on the front", True)
    assert pd.isna(row["number"])
    assert pd.isna(row["epoch"])


def test_a_worse_mixture_is_beaten_by_a_single_network(tmp_path: Path) -> None:
    _, verification, _ = mixed_run(tmp_path, 0.5, 0.01)
    (mixture,) = verification.mixtures
    assert verification.kind(mixture) == "beaten"
    assert verification.beaten_by(mixture) in {network.name for network in verification.networks}
    assert verification.verdict(mixture).startswith("beaten by ")


def test_a_flagged_member_makes_it_flagged(tmp_path: Path) -> None:
    """The mixture's own diagnostics are sound: the other member's gradients hide the first one's."""
    run, verification, name = mixed_run(tmp_path, 0.95, 0.8)
    member = verification.mixtures[0].members[1]
    record = read_records(run)[member]
    record.diagnostics = replace(HONEST, scale=1000.0, gap=1e4)
    record.write(run)
    again = read(run)
    (mixture,) = again.mixtures
    assert again.kind(mixture) == "flagged"
    assert len(mixture.flags) == 1
    assert mixture.flags[0].startswith(f"its member {member} is flagged: ")
    assert "logits are scaled up" in mixture.flags[0]
    row = again.table().iloc[-1]
    assert (row["name"], row["verdict"], row["on_front"], row["beaten_by"]) == (name, "flagged", False, "")
    assert f"{name}: its member {member} is flagged" in verification_text(again)


def test_signs_of_its_own_flag_it_too(tmp_path: Path) -> None:
    run, _, name = mixed_run(tmp_path, 0.95, 0.8)
    record = read_records(run)[name]
    record.diagnostics = replace(HONEST, chance=0.5)
    record.write(run)
    (mixture,) = read(run).mixtures
    assert mixture.flags
    assert "member" not in mixture.flags[0]


def test_a_member_that_is_gone_or_has_other_weights_flags_it(tmp_path: Path) -> None:
    _, verification, _ = mixed_run(tmp_path / "other", 0.95, 0.8, fingerprint="other")
    (mixture,) = verification.mixtures
    assert [flag.partition("has")[2] for flag in mixture.flags] == [" other weights now; mix again"] * 2
    run, verification, _ = mixed_run(tmp_path / "gone", 0.95, 0.8)
    member = verification.mixtures[0].members[0]
    (run.verification / f"{member}.json").unlink()
    (mixture,) = read(run).mixtures
    assert mixture.flags == (f"its member {member} was not verified",)


@pytest.mark.parametrize("how", ["absent", "partly", "late", "setup", "diagnosis"])
def test_it_counts_only_on_the_images_of_the_single_networks(tmp_path: Path, how: str) -> None:
    """A mixture without all attacks on all images is named, and takes no image from the single networks."""
    run, before, name = mixed_run(tmp_path, 0.95, 0.8)
    record = read_records(run)[name]
    if how == "absent":
        (run.verification / f"{name}.json").unlink()
    elif how == "setup":
        replaced = replace(record.setup, seed=7)
        AttackRecord(name, replaced, record.table, HONEST).write(run)
    elif how == "diagnosis":
        AttackRecord(name, record.setup, record.table, None).write(run)
    else:
        record.table[300:, 1 if how == "partly" else -1] = UNKNOWN
        record.write(run)
    verification = read(run)
    assert verification.mixtures == ()
    assert [entry.name for entry in verification.absent_mixtures] == [name]
    assert verification.images == before.images == IMAGES
    assert verification.verdicts == before.verdicts
    assert not is_complete(verification)
    assert unverified(verification) == [f"Not verified yet: {name}."]
    row = verification.table().iloc[-1]
    assert (row["name"], row["images"]) == (name, 0)


def test_the_gains_over_both_members_have_intervals(tmp_path: Path) -> None:
    _, verification, name = mixed_run(tmp_path, 0.93, 0.71)
    (mixture,) = verification.mixtures
    sentence = gain_sentence(verification, mixture)
    gains = member_gains(verification, mixture)
    assert [member.name for member, _ in gains] == [*mixture.members]
    for member, (clean, robust) in gains:
        assert clean == paired_difference(mixture.clean, member.clean)
        assert robust == paired_difference(mixture.robust, member.robust)
        assert f"compared with {member.reference}: " in sentence
    assert sentence.startswith(f"Mixture {name} compared with network ")
    assert sentence.endswith("It costs 2 forward passes for each prediction, 51,956 parameters.")
    same = replace(mixture, clean=gains[0][0].clean, robust=gains[0][0].robust)
    assert "equal clean accuracy (-0.7 to +0.7), equal robust accuracy" in gain_sentence(verification, same)
    few = np.flatnonzero(~same.robust)[:2]
    lucky = same.robust.copy()
    lucky[few] = True
    assert "0.5 points more robust accuracy (" in gain_sentence(verification, replace(same, robust=lucky))
    assert "not beyond chance)" in gain_sentence(verification, replace(same, robust=lucky))


def test_the_table_the_terminal_and_the_page_have_it(tmp_path: Path) -> None:
    run, verification, name = mixed_run(tmp_path, 0.93, 0.71)
    text = verification_text(verification)
    assert f"{name}  mixture" in text
    assert gain_sentence(verification, verification.mixtures[0]) in text
    run.write_table(run.verified, verification.table())
    (member,) = read_mixture_members(read_run_data(run))
    row = run.read_verified().iloc[-1]
    assert (member.figures["verified"].clean, member.figures["verified"].robust) == (
        float(row["clean_accuracy"]),
        float(row["robust_accuracy"]),
    )
    assert member.figures["validation"].robust == 0.6
    singles = read_members(read_run_data(run))
    assert all("verified" in single.figures for single in singles)
    assert find_member([*singles, member], name) is member
    page = write_report(run).read_text(encoding="utf-8")
    assert name in page


def test_a_network_has_no_members(tmp_path: Path) -> None:
    _, verification = copied_run(tmp_path)
    assert isinstance(verification.networks[0], Network)
    assert verification.mixtures == ()
    assert all(network.members == () for network in verification.networks)


def test_the_page_shows_mixtures_as_a_kind_of_their_own(tmp_path: Path) -> None:
    run, verification, name = mixed_run(tmp_path, 0.93, 0.71)
    second = add_mixture(run, (verification.members[1].name, verification.members[2].name))
    run_data = read_run_data(run)
    made = mixtures_section(run_data, read(run))
    assert made is not None
    assert gain_sentence(verification, verification.mixtures[0]) in made.html
    assert made.html.count("2 forward passes for each prediction, 51,956 parameters") == 3
    assert f"<td>{second}</td>" in made.html
    assert made.html.count("<td>not verified</td>") == 1
    assert f"--member {name}" in made.html or f"--member {second}" in made.html
    shown = {trace.get("name"): trace for trace in verified_figure(read(run))["data"]}
    assert shown["mixtures"]["x"] == [93.0]
    assert shown["mixtures"]["customdata"] == [None], "a click selects the trial of a point"
    assert "2 forward passes" in shown["mixtures"]["hovertext"][0]
    assert name not in str(shown["controls"]["hovertext"])
    shown = {trace.get("name"): trace for trace in front_figure(run_data)["data"]}
    assert (shown["mixtures"]["x"], shown["mixtures"]["y"]) == ([90.0, 90.0], [60.0, 60.0])
    marks = obstacles(run_data, axis_limits(run_data))
    assert sum(mark == pytest.approx((90.0, 60.0)) for mark in marks) >= 2, "no label covers a mixture"
    assert set(paper_figure(run_data, read(run))) == {"png", "svg", "pdf"}
    page = write_report(run).read_text(encoding="utf-8")
    assert "Mixtures of networks" in page
    assert "Triangles: mixtures of two networks." in page


def test_without_a_mixture_the_page_says_nothing_of_them(tmp_path: Path) -> None:
    run, verification = copied_run(tmp_path)
    assert mixtures_section(read_run_data(run), verification) is None
    assert "mixtures" not in {trace.get("name") for trace in verified_figure(verification)["data"]}
    assert "mixtures" not in {trace.get("name") for trace in front_figure(read_run_data(run))["data"]}


def test_a_flagged_mixture_is_drawn_and_named_as_flagged(tmp_path: Path) -> None:
    run, _, name = mixed_run(tmp_path, 0.95, 0.8, fingerprint="other")
    verification = read(run)
    shown = {trace.get("name"): trace for trace in verified_figure(verification)["data"]}
    assert "mixtures" not in shown
    assert name in shown["flagged"]["hovertext"][0]
    assert f"Mixture {name} is flagged for gradient masking." in verified_front_section(verification).html


def test_plotly_knows_the_markers_of_mixtures(tmp_path: Path) -> None:
    import plotly.graph_objects as go

    run, verification, _ = mixed_run(tmp_path, 0.93, 0.71)
    for figure in (verified_figure(verification), front_figure(read_run_data(run))):
        trace = next(trace for trace in figure["data"] if trace.get("name") == "mixtures")
        marker = {key: value for key, value in trace["marker"].items() if key != "color"}
        go.Scatter(mode="markers", marker=marker)
