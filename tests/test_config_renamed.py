"""Old names of settings: accepted in a space file and in ``--set``, each with a warning."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_files import changed, faults, load

from morel_search.config import SearchSettings, Space
from morel_search.config.describe import changes, without_unused
from morel_search.errors import SpaceError
from morel_search.results.renamed import LATER_DATA, LATER_TRAIN, RENAMED_SETTINGS, current_space
from morel_search.search.successive_halving import rungs_of

WARNING = "search.point is now called search.select_epoch; the old name still works"


def test_an_old_key_in_a_file_is_accepted_with_a_warning(tmp_path: Path) -> None:
    old = load(tmp_path, changed(search={"point": "last", "trials": 40}))
    assert old.search == SearchSettings(select_epoch="last", trials=40)
    assert WARNING in old.warnings
    new = load(tmp_path, changed(search={"select_epoch": "last", "trials": 40}))
    assert WARNING not in new.warnings
    assert old.identity() == new.identity()


def test_an_old_key_in_an_override_is_accepted_with_a_warning(tmp_path: Path) -> None:
    space = load(tmp_path, changed(), ["search.point=best_robust"])
    assert space.search.select_epoch == "best_robust"
    assert WARNING in space.warnings


@pytest.mark.parametrize("key", ["point", "select_epoch"])
@pytest.mark.parametrize("override", ["point", "select_epoch"])
def test_an_override_replaces_the_value_of_the_file_under_either_name(
    tmp_path: Path, key: str, override: str
) -> None:
    space = load(tmp_path, changed(search={key: "last"}), [f"search.{override}=front"])
    assert space.search.select_epoch == "front"
    assert space.warnings.count(WARNING) == (key, override).count("point")


def test_an_old_and_a_new_key_together_are_a_fault(tmp_path: Path) -> None:
    given = {"point": "last", "select_epoch": "front"}
    assert faults(tmp_path, changed(search=given)) == (
        "search.point: is the old name of search.select_epoch, which is given too; remove search.point",
    )


def test_a_wrong_value_under_an_old_key_is_a_fault_of_the_new_one_at_its_line(tmp_path: Path) -> None:
    text = (
        "data: {name: digits}\n"
        "network: {name: small_cnn}\n"
        "parameters: {k_robust: {type: float, low: 0, high: 0.8}}\n"
        "search:\n"
        "  point: first\n"
    )
    with pytest.raises(SpaceError) as caught:
        load(tmp_path, text)
    (fault,) = caught.value.faults
    assert fault.startswith("search.select_epoch: must be last, best_robust, best_sum or front")
    assert fault.endswith("(line 5)")


def test_an_old_key_of_a_section_that_is_no_mapping_changes_nothing(tmp_path: Path) -> None:
    assert faults(tmp_path, changed(search="point")) == (
        "search: must be a mapping of settings (name: value)",
    )


def test_every_new_name_is_a_setting_and_no_old_name_is() -> None:
    known = set(SearchSettings.__dataclass_fields__)
    assert set(RENAMED_SETTINGS) == {"search"}
    assert set(RENAMED_SETTINGS["search"].values()) <= known
    assert not set(RENAMED_SETTINGS["search"]) & known


def old_identity(space: Space, **stopping: object) -> dict[str, object]:
    """Return the identity of a space as a study of an earlier version holds it."""
    old = {
        "enabled": True, "eta": 3, "grace": None, "rungs": None, "min_peers": None, "ranking": "crowding",
        "run_through": 0.05,
    }  # fmt: skip
    return current_space(space.identity() | {"early_stopping": old | stopping})


def test_a_search_with_the_earlier_early_stopping_is_continued_with_it(tmp_path: Path) -> None:
    """It kept 1 / eta at each rung; the first was at epochs / eta^2, and saw eta trainings first."""
    train, stopping = {"epochs": 27}, {"keep": None, "eta": 3, "grace": 3, "rungs": None, "min_peers": 3}
    now = load(tmp_path, changed(train=train))
    assert changes(old_identity(now), now.identity()) == [
        "early_stopping.keep was null and is 0.6",
        "early_stopping.grace was 3 and is null",
        "early_stopping.rungs was null and is 2",
    ]
    same = load(tmp_path, changed(train=train, early_stopping=stopping))
    assert changes(old_identity(same), same.identity()) == []
    assert rungs_of(same) == (3, 9)
    halves = stopping | {"eta": 2, "grace": 7, "min_peers": 2}
    same = load(tmp_path, changed(train=train, early_stopping=halves))
    assert changes(old_identity(same, eta=2), same.identity()) == []


@pytest.mark.parametrize(
    ("epochs", "grace"),
    [
        ({"type": "int", "low": 5, "high": 10}, 2),
        ({"type": "categorical", "choices": [5, 40]}, 5),
        ({"type": "int", "low": 5, "high": 10, "when": {"accuracy_loss": "mart"}}, 4),  # train has 30
    ],
)
def test_the_earlier_first_rung_follows_the_largest_number_of_epochs(
    tmp_path: Path, epochs: dict[str, object], grace: int
) -> None:
    losses = {"type": "categorical", "choices": ["trades", "mart"]}
    parameters = {"epochs": epochs, "accuracy_loss": losses}
    stopping = {"keep": None, "rungs": None, "grace": grace}
    now = load(tmp_path, changed(parameters=parameters, early_stopping=stopping))
    assert changes(old_identity(now), now.identity()) == []


def test_fewer_peers_than_eta_had_no_effect_and_can_be_continued(tmp_path: Path) -> None:
    stopping = {"keep": None, "rungs": None, "grace": 3, "min_peers": 3}
    now = load(tmp_path, changed(train={"epochs": 27}, early_stopping=stopping))
    assert changes(old_identity(now, min_peers=1), now.identity()) == []
    more = load(tmp_path, changed(train={"epochs": 27}, early_stopping=stopping | {"min_peers": 7}))
    assert changes(old_identity(more, min_peers=7), more.identity()) == []


def test_an_early_stopping_that_was_off_stays_off(tmp_path: Path) -> None:
    now = load(tmp_path, changed(early_stopping={"enabled": False}))
    old = without_unused(old_identity(now, enabled=False))
    assert changes(old, now.identity()) == []
    on = load(tmp_path, changed())
    assert changes(old, on.identity())[0] == "early_stopping.enabled was false and is true"


def test_a_search_that_knew_no_background_is_continued(tmp_path: Path) -> None:
    now = load(tmp_path, changed())
    old = now.identity()
    data = old["data"]
    assert isinstance(data, dict)
    old["data"] = {key: value for key, value in data.items() if key != "background"}
    assert changes(old, now.identity()) == ["data.background is new: white"]
    assert changes(current_space(old), now.identity()) == []
    black = load(tmp_path, changed(), ["data.background=black"])
    assert changes(current_space(old), black.identity()) == ["data.background was white and is black"]


def test_a_search_that_knew_no_recipes_is_continued(tmp_path: Path) -> None:
    now = load(tmp_path, changed())
    old = now.identity()
    for section, later in (("train", LATER_TRAIN), ("data", LATER_DATA)):
        content = old[section]
        assert isinstance(content, dict)
        old[section] = {key: value for key, value in content.items() if key not in later}
    assert len(changes(old, now.identity())) == len(LATER_TRAIN) + len(LATER_DATA)
    assert changes(current_space(old), now.identity()) == []
    other = load(tmp_path, changed(), ["train.label_smoothing=0.1", "data.extra=more.parquet"])
    assert changes(current_space(old), other.identity()) == [
        "data.extra was null and is more.parquet",
        "train.label_smoothing was 0.0 and is 0.1",
    ]


def test_a_search_that_knew_no_children_is_continued_with_one(tmp_path: Path) -> None:
    def old(space: Space) -> dict[str, object]:
        identity = space.identity()
        search = identity["search"]
        assert isinstance(search, dict)
        return current_space(
            identity | {"search": {key: value for key, value in search.items() if key != "children"}}
        )

    now = load(tmp_path, changed())
    assert changes(old(now), now.identity()) == ["search.children was 1 and is 64"]
    assert changes(old(now), load(tmp_path, changed(), ["search.children=1"]).identity()) == []
    tpe = load(tmp_path, changed(search={"sampler": "tpe"}))
    assert changes(old(tpe), tpe.identity()) == [], "the sampler has no children"
