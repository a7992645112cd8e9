"""Labels of several Parquet files: brought together by the names of their classes, or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from config_files import changed, load
from image_files import encoded, pictures

from morel_search.errors import DataError
from morel_search.training.datasets.loading import check_test, load_development, load_test
from morel_search.training.settings import DataSettings
from morel_search.workflows import preflight
from morel_search.workflows.plan import plan_text

NAMES = ("cat", "dog", "eel")


def coded(names: tuple[str, ...], kinds: list[str]) -> tuple[pa.Array, tuple[str, ...]]:
    """Labels as the hub stores them: positions in names that the metadata lists."""
    return pa.array([names.index(kind) for kind in kinds]), names


def texts(kinds: Sequence[str | None], kind: pa.DataType | None = None) -> tuple[pa.Array, None]:
    return pa.array(kinds, kind), None


def plain(numbers: list[int]) -> tuple[pa.Array, None]:
    return pa.array(numbers), None


def write(path: Path, labels: tuple[pa.Array, Any], seed: int = 0) -> None:
    column, names = labels
    images = pictures(len(column), seed=seed)
    table = pa.table({"image": pa.array([encoded(image) for image in images], pa.binary()), "label": column})
    if names is not None:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def settings_of(folder: Path, train: list[Any], test: list[Any]) -> DataSettings:
    for split, shards, seed in (("train", train, 0), ("test", test, 50)):
        for number, labels in enumerate(shards):
            write(folder / split / f"{number}.parquet", labels, seed + number)
    return DataSettings(
        name="parquet", train=str(folder / "train"), test=str(folder / "test"), validation=0.34
    )


def named_images(settings: DataSettings) -> tuple[list[set[tuple[bytes, str]]], tuple[str, ...]]:
    """The images of both splits, each with the name of its class."""
    development = load_development(settings)
    test = load_test(settings)
    found: list[set[tuple[bytes, str]]] = [set(), set()]
    for split, part in ((0, development.train), (0, development.validation), (1, test)):
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            found[split].add((image.numpy().transpose(1, 2, 0).tobytes(), development.classes[label]))
    return found, development.classes


def expected(shards: list[list[str]], seed: int) -> set[tuple[bytes, str]]:
    return {
        (image.tobytes(), kind)
        for number, kinds in enumerate(shards)
        for image, kind in zip(pictures(len(kinds), seed=seed + number), kinds, strict=True)
    }


KINDS = ["dog", "cat", "eel", "cat", "eel", "dog"] * 2
SHORT = ["eel", "cat", "dog", "cat"]
BACKWARDS = ("eel", "dog", "cat")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([coded(NAMES, KINDS)], [coded(NAMES, SHORT)]),
        ([coded(NAMES, KINDS)], [coded(BACKWARDS, SHORT)]),
        ([coded(NAMES, KINDS)], [coded(("dog", "ant", "eel", "cat"), SHORT)]),
        ([coded(NAMES, KINDS)], [plain([2, 0, 1, 0])]),
        ([coded(BACKWARDS, KINDS)], [plain([0, 2, 1, 2])]),
        ([coded(BACKWARDS, KINDS)], [texts(SHORT)]),
        ([coded(NAMES, KINDS), coded(BACKWARDS, KINDS)], [coded(("dog", "cat", "eel"), SHORT)]),
        ([plain([1, 0, 2, 0, 2, 1] * 2), coded(NAMES, KINDS)], [coded(BACKWARDS, SHORT)]),
        ([coded(BACKWARDS, KINDS), texts(KINDS)], [texts(SHORT), coded(NAMES, SHORT)]),
        ([texts(KINDS)], [coded(BACKWARDS, SHORT)]),
        ([texts(KINDS)], [coded(BACKWARDS, SHORT), plain([0, 2, 1, 2])]),
        ([texts(KINDS), coded(("dog", "cat"), ["cat", "dog"] * 3)], [texts(SHORT)]),
    ],
)
def test_labels_are_mapped_by_the_names_of_the_classes(tmp_path: Path, train: Any, test: Any) -> None:
    settings = settings_of(tmp_path, train, test)
    check_test(settings)
    (development, tested), classes = named_images(settings)
    lengths = [len(labels) for labels, _ in train]
    kinds = [KINDS if length == len(KINDS) else ["cat", "dog"] * 3 for length in lengths]
    assert development == expected(kinds, 0)
    assert tested == expected([SHORT] * len(test), 50)
    assert set(classes) == set(NAMES)


def test_another_order_of_the_classes_is_a_note(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, [coded(NAMES, KINDS)], [coded(BACKWARDS, SHORT)])
    (note,) = check_test(settings)
    assert "test/0.parquet" in note
    assert "eel, dog, cat" in note
    assert "cat, dog, eel" in note
    assert load_development(settings).notes == ()
    more = settings_of(tmp_path / "more", [coded(NAMES, KINDS), coded(BACKWARDS, KINDS)], [texts(SHORT)])
    assert "train/1.parquet" in load_development(more).notes[0]
    assert check_test(more) == ()


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
)
def test_text_labels_are_classes_sorted_by_name(tmp_path: Path, kind: pa.DataType) -> None:
    settings = settings_of(tmp_path, [texts(KINDS, kind)], [texts(SHORT, kind)])
    (development, tested), classes = named_images(settings)
    assert classes == NAMES
    assert (development, tested) == (expected([KINDS], 0), expected([SHORT], 50))


@pytest.mark.parametrize("train", [texts, lambda kinds: coded(("caf\u00e9", "tea"), kinds)])
@pytest.mark.parametrize("test", [texts, lambda kinds: coded(("tea", "cafe\u0301"), kinds)])
def test_accents_of_macos_and_of_linux_are_one_name(tmp_path: Path, train: Any, test: Any) -> None:
    shards = [train(["caf\u00e9", "tea"] * 6), texts(["cafe\u0301", "tea", "caf\u00e9"])]
    settings = settings_of(tmp_path, shards, [test(["tea", "cafe\u0301"])])
    assert load_development(settings).classes == ("caf\u00e9", "tea")
    assert load_test(settings).labels.tolist() == [1, 0]


def test_text_labels_are_sorted_as_the_names_of_folders(tmp_path: Path) -> None:
    kinds = ["b", "B", "10", "9", "\u00e9", "a b"] * 2
    settings = settings_of(tmp_path, [texts(kinds)], [texts(["9"])])
    assert load_development(settings).classes == tuple(sorted(set(kinds)))
    assert "'b' and 'B' are two classes" in load_development(settings).notes[0] or (
        "'B' and 'b' are two classes" in load_development(settings).notes[0]
    )


@pytest.mark.parametrize("test", [plain([1, 0]), texts(["true", "false"]), (pa.array([True, False]), None)])
def test_booleans_are_the_classes_false_and_true(tmp_path: Path, test: Any) -> None:
    settings = settings_of(tmp_path, [(pa.array([True, False, True] * 4), None)], [test])
    (development, tested), classes = named_images(settings)
    assert classes == ("false", "true")
    assert development == expected([["true", "false", "true"] * 4], 0)
    assert tested == expected([["true", "false"]], 50)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([plain([0, 1, 2] * 4)], [texts(["2", "0"])]),
        ([plain([0, 1, 2] * 4)], [coded(("a", "b", "c"), ["c", "a"])]),
        ([plain([0, 1, 2] * 4)], [coded(("2", "1", "0"), ["2", "0"])]),
        ([texts(["0", "1", "2"] * 4)], [plain([2, 0])]),
        ([(pa.array([0, 1, 2] * 4, pa.uint8()), None)], [plain([2, 0])]),
        ([(pa.array([0, 1, 2] * 4).dictionary_encode(), None)], [plain([2, 0])]),
    ],
)
def test_numbers_without_names_are_their_own_names(tmp_path: Path, train: Any, test: Any) -> None:
    (development, tested), classes = named_images(settings_of(tmp_path, train, test))
    assert classes == ("0", "1", "2")
    assert development == expected([["0", "1", "2"] * 4], 0)
    assert tested == expected([["2", "0"]], 50)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (
            [texts(["cat", "ant"])],
            r"test/0\.parquet, row 1 has the class ant, which data\.train lacks; its .*cat",
        ),
        ([texts(["dog", "Cat"])], "row 1 has the class Cat, which data.train lacks; it has 'cat'"),
        ([texts(["dog", "cat "])], "row 1 has the class cat , which data.train lacks; it has 'cat'"),
        ([coded(("dog", "ant"), ["dog", "ant"])], r"row 1 has the class ant, which data\.train lacks"),
        ([plain([0, 3])], "row 1 has the label 3; labels must be 0 to 2"),
        (
            [plain([0, -1])],
            r"row 1 has the label -1; labels must be 0 to 2 \(-1 usually stands for an image without",
        ),
        ([texts(["0", "1"])], "row 0 has the class 0, which data.train lacks; its classes are cat, dog, eel"),
        (
            [coded(BACKWARDS, SHORT), plain([0])],
            r"test/1\.parquet has numbers .*cat, dog, eel.*eel, dog, cat",
        ),
        ([(pa.array([True, False]), None)], "row 0 has the class true, which data.train lacks"),
        ([(pa.array([0, None]), None)], "row 1 has no label"),
        ([texts(["cat", None])], "row 1 has no label"),
        ([(pa.array([None, None]), None)], "row 0 has no label"),
        ([texts(["cat", ""])], "row 1 has an empty label"),
        ([(pa.array([0.0, 1.0]), None)], "holds double, not whole numbers, names or booleans"),
        ([(pa.array([[0, 1]]), None)], "holds list.* not whole numbers, names or booleans"),
        ([(pa.array([b"\xff"]), None)], "column label cannot be read as labels: .*UTF"),
        ([(pa.array([2**64 - 1], pa.uint64()), None)], "column label cannot be read as labels"),
    ],
)
def test_a_test_label_that_is_no_class_of_the_training_images(tmp_path: Path, test: Any, words: str) -> None:
    settings = settings_of(tmp_path, [coded(NAMES, KINDS)], test)
    for look in (check_test, load_test):
        with pytest.raises(DataError, match=words) as caught:
            look(settings)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (
            [coded(NAMES, KINDS), coded(BACKWARDS, KINDS), plain([0])],
            r"2\.parquet has .*cat, dog, eel.*eel, dog",
        ),
        ([texts(KINDS), plain([0, 1])], r"1\.parquet, row 0 has the number 0 .* names cat, dog, eel"),
        ([texts(["cat", "dog"]), texts(["Cat", "dog"])], "'cat' and 'Cat', which differ only"),
        ([texts(["true", "false"]), (pa.array([True]), None)], None),
        ([texts(["True", "False"]), (pa.array([True]), None)], "which differ only in upper and lower case"),
        ([coded(("1", "0"), ["0", "1"]), plain([0])], "a number can be a name or a position"),
        ([coded(("a", "a"), ["a"])], "names the class a twice"),
        ([plain([1, 2, 3])], r"row 0 has the label 1, but no image has 0"),
        ([plain([0, 1]), plain([3])], r"1\.parquet, row 0 has the label 3, but no image has 2"),
        ([plain([0, 1]), plain([-1])], r"1\.parquet, row 0 has the label -1"),
        ([coded(NAMES, KINDS), plain([3])], r"1\.parquet, row 0 has the label 3; labels must be 0 to 2"),
        ([texts(["cat", "cat"])], "images of at least two classes; all .* have the label cat"),
        ([(pa.array([True, True]), None)], "images of at least two classes; all .* have the label true"),
    ],
)
def test_training_files_that_do_not_name_their_classes_in_one_way(
    tmp_path: Path, train: Any, words: str | None
) -> None:
    settings = settings_of(tmp_path, train, [])
    if words is None:
        assert set(load_development(settings).classes) == {"false", "true"}
        return
    with pytest.raises(DataError, match=words) as caught:
        load_development(settings)
    assert "\n" not in str(caught.value)


def test_the_plan_of_a_search_says_what_is_done_with_the_data(tmp_path: Path) -> None:
    data = settings_of(tmp_path, [coded(NAMES, KINDS * 4)], [coded(BACKWARDS, SHORT)])
    given = {"name": "parquet", "train": data.train, "test": data.test, "validation": 0.34}
    content = changed(data=given, network={"name": "small_cnn", "options": {"width": 4}})
    space = load(tmp_path, content)
    result = preflight.inspect(space)
    plan = plan_text(space, result, epoch_seconds=1.0, concurrent=1)
    assert plan.splitlines()[-1] == f"note: {result.notes[0]}"
    assert "labels are mapped by name" in result.notes[0]
