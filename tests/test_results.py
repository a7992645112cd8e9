"""The run folder: atomic writes, an error of one sentence for each failure, one writing process at a time."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morel_search.errors import RunFolderError
from morel_search.results.files import hold_lock
from morel_search.results.folder import RunFolder, open_run_folder
from morel_search.results.new_run import create_run_folder
from morel_search.results.settings import FORMAT, RunSettings
from morel_search.results.tables import (
    EPOCH_COLUMNS,
    FRONT_COLUMNS,
    TEXT_COLUMNS,
    TRIAL_COLUMNS,
    front_columns,
    trial_columns,
)

TEXT = st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)), max_size=30)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = create_run_folder(tmp_path / "results", "one")
    made.write_json(made.settings, {"format": FORMAT})
    return made


def python(code: str, *words: object) -> subprocess.Popen[str]:
    """A real second process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def one_sentence(error: pytest.ExceptionInfo[RunFolderError]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# names and making


def test_the_names_are_those_of_the_design(run: RunFolder) -> None:
    names = {
        path.relative_to(run.path).as_posix()
        for path in (run.space, run.settings, run.study, run.trials, run.epochs, run.front)
    }
    assert names == {"space.yaml", "settings.json", "study.db", "trials.csv", "epochs.csv", "front.csv"}
    folders = [
        path.relative_to(run.path).as_posix()
        for path in (run.front_models, run.report, run.figures, run.ray, run.checkpoints)
    ]
    assert folders == ["front", "report.html", "figures", "ray", "ray/checkpoints"]
    assert run.name == "one"
    assert run.path.is_absolute()


def test_the_columns_stand_in_their_order() -> None:
    assert trial_columns(["epsilon"]) == [
        *TRIAL_COLUMNS[:12],
        "param_epsilon",
        "rung",
        "spared",
        "violation",
        "seconds",
        "seed",
        "failure",
    ]
    assert front_columns(["epsilon"]) == [*FRONT_COLUMNS, "param_epsilon"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc", "-x", ".hidden", "a b", "a\n", "ä", "a\\b", "x" * 101, "a\0b"],
)
def test_a_bad_name_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunFolderError, match="not a valid name of a run") as error:
        create_run_folder(tmp_path / "results", name)
    one_sentence(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "digits-2026.03_01+x", "0", "x" * 100])
def test_a_good_name_makes_an_empty_folder(tmp_path: Path, name: str) -> None:
    made = create_run_folder(tmp_path / "new" / "results", name)
    assert list(made.path.iterdir()) == []


def test_an_existing_run_is_left_alone(run: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=r"exists already.*--resume") as error:
        create_run_folder(run.path.parent, "one")
    assert str(run.path) in one_sentence(error)
    assert run.read_settings() == RunSettings()


@pytest.mark.parametrize("content", [None, "file", "space.yaml"])
def test_what_exists_and_is_no_run_is_not_said_to_be_resumed(tmp_path: Path, content: str | None) -> None:
    """A file, a folder of the user, or what a start that was killed at once has left."""
    if content == "file":
        (tmp_path / "one").write_text("x")
    else:
        (tmp_path / "one").mkdir()
        if content is not None:
            (tmp_path / "one" / content).write_text("x")
    with pytest.raises(RunFolderError, match="exists already: it is not a run: move it away") as error:
        create_run_folder(tmp_path, "one")
    assert "--resume" not in one_sentence(error)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("I am a file")
    for results in (tmp_path / "results", tmp_path / "results" / "below"):
        with pytest.raises(RunFolderError, match="is a file, not a folder") as error:
            create_run_folder(results, "one")
        assert str(tmp_path / "results") in one_sentence(error)


def test_opening_what_is_not_a_run_says_so(run: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=r"does not exist; runs in .*: one") as error:
        open_run_folder(run.path.parent / "two")
    one_sentence(error)
    with pytest.raises(RunFolderError, match=r"not a run folder: it has no settings\.json"):
        open_run_folder(run.path.parent)
    with pytest.raises(RunFolderError, match="is a file, not a run folder"):
        open_run_folder(run.settings)
    assert open_run_folder(run.path) == run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1', "damaged"),
        ("[1]", "no whole number 'format'"),
        ('{"format": "1"}', "no whole number 'format'"),
        (
            f'{{"format": {FORMAT + 1}}}',
            f"newer morel_search: it has format {FORMAT + 1}, and this version reads",
        ),
        ("\udcff", "damaged"),
    ],
)
def test_settings_that_cannot_be_read_are_explained(run: RunFolder, text: str, message: str) -> None:
    run.settings.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunFolderError, match=message) as error:
        open_run_folder(run.path)
    one_sentence(error)


# tables and JSON


@given(
    name=TEXT,
    failure=TEXT,
    clean=st.floats(0, 1) | st.just(math.nan),
    epsilon=st.floats(1e-300, 1e300),
    loss=TEXT.filter(lambda text: text != "" and not any(letter.isdigit() for letter in text)),
    seed=st.none() | st.integers(0, 2**31 - 1),
)
def test_a_table_comes_back_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    failure: str,
    clean: float,
    epsilon: float,
    loss: str,
    seed: int | None,
) -> None:
    run = RunFolder(tmp_path_factory.mktemp("run"))
    row = dict.fromkeys(trial_columns(["epsilon", "loss"]))
    row |= {
        "number": 3,
        "state": "FAIL",
        "origin": "search",
        "name": name,
        "clean_accuracy": clean,
        "seconds": 1.5,
        "seed": seed,
    }
    row |= {"failure": failure, "param_epsilon": epsilon, "param_loss": f"x{loss}"}
    run.write_table(run.trials, pd.DataFrame([row, row | {"number": 4, "seed": None, "param_epsilon": None}]))
    back = run.read_trials()
    assert list(back.columns) == trial_columns(["epsilon", "loss"])
    assert back["name"].tolist() == [name] * 2
    assert back["failure"].tolist() == [failure] * 2
    assert back["param_loss"].tolist() == [f"x{loss}"] * 2
    np.testing.assert_array_equal(back["clean_accuracy"], [clean] * 2)
    np.testing.assert_array_equal(back["param_epsilon"], [epsilon, math.nan])
    assert back["number"].tolist() == [3, 4]
    assert pd.isna(back["seed"][1])
    assert pd.isna(back["seed"][0]) if seed is None else back["seed"][0] == seed


def test_words_that_pandas_takes_for_nothing_stay_words(run: RunFolder) -> None:
    words = ["NA", "None", "null", "nan", "", "N/A"]
    rows = [
        dict.fromkeys(trial_columns(["loss"])) | {"number": i, "name": word, "failure": word}
        for i, word in enumerate(words)
    ]
    run.write_table(run.trials, pd.DataFrame(rows))
    assert run.read_trials()["name"].tolist() == words
    assert run.read_trials()["failure"].tolist() == words


def test_long_and_odd_texts_are_written_so_that_they_can_be_read(run: RunFolder) -> None:
    texts = ["x" * 300_000, "one\r\ntwo\rthree\0", '"quoted", and so on\n', "=1+1"]
    run.write_table(
        run.trials,
        pd.DataFrame(
            [dict.fromkeys(TRIAL_COLUMNS) | {"number": i, "failure": text} for i, text in enumerate(texts)]
        ),
    )
    assert run.read_trials()["failure"].tolist() == ["x" * 20_000, "one\ntwo\nthree", *texts[2:4]]


def test_whole_numbers_stay_whole_beside_empty_cells(run: RunFolder) -> None:
    run.write_table(
        run.epochs,
        pd.DataFrame([{"number": 1, "epoch": 2.0, "loss": 3.0}, {"number": 2}], columns=list(EPOCH_COLUMNS)),
    )
    assert run.epochs.read_text().splitlines()[1].startswith("1,2,3.0,")


def test_missing_tables_have_their_columns_and_no_row(run: RunFolder) -> None:
    for table, columns in (
        (run.read_trials(), TRIAL_COLUMNS),
        (run.read_epochs(), EPOCH_COLUMNS),
        (run.read_front(), FRONT_COLUMNS),
    ):
        assert tuple(table.columns) == columns
        assert table.empty


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        ",".join(TRIAL_COLUMNS) + "\nx" + "," * 14 + "\n",
        "\x00\x01",
        '"',
        "number\n1,2,3,4\n",
    ],
)
def test_a_damaged_table_is_explained(run: RunFolder, text: str) -> None:
    run.trials.write_text(text)
    with pytest.raises(RunFolderError, match=r"trials\.csv is damaged") as error:
        run.read_trials()
    one_sentence(error)


def test_json_holds_plain_values(run: RunFolder) -> None:
    run.write_json(
        "x.json",
        {
            "eps": Fraction(8, 255),
            "path": Path("a/b"),
            "n": np.float32(0.5),
            "names": {"b", "a"},
            "ü": "☃",
        },
    )
    assert json.loads((run.path / "x.json").read_text(encoding="utf-8")) == {
        "eps": "8/255", "path": "a/b", "n": 0.5, "names": ["a", "b"], "ü": "☃",
    }  # fmt: skip
    with pytest.raises(ValueError, match="JSON"):
        run.write_json("x.json", {"x": math.nan})
    with pytest.raises(TypeError, match="JSON cannot hold a value of type object"):
        run.write_json("x.json", {"x": object()})


def test_a_name_below_a_missing_folder_is_written(run: RunFolder) -> None:
    run.write_bytes("figures/front.png", b"x")
    run.write_text(run.front_models / "3" / "settings.json", "lone \udc80")
    assert (run.figures / "front.png").read_bytes() == b"x"
    assert (run.front_models / "3" / "settings.json").read_text() == "lone \\udc80"


# whole files or none


def test_a_reader_never_sees_half_a_file(run: RunFolder) -> None:
    code = """
import sys, time
from pathlib import Path
from morel_search.results.folder import RunFolder
run, count = RunFolder(Path(sys.argv[1])), 0
end = time.monotonic() + 2.0
while time.monotonic() < end:
    run.write_text(run.trials, str(count % 10) * (200_000 + 50_000 * (count % 3)))
    count += 1
print(count)
"""
    run.write_text(run.trials, "0" * 200_000)
    writer, contents = python(code, run.path), set()
    reads = 0
    while writer.poll() is None:
        text = run.trials.read_text()
        assert len(set(text)) == 1
        assert len(text) in (200_000, 250_000, 300_000)
        contents.add((text[0], len(text)))
        reads += 1
    assert writer.returncode == 0, writer.stderr.read() if writer.stderr else ""
    assert reads > 20
    assert len(contents) > 3


def test_a_killed_writer_leaves_the_old_or_the_new_file(run: RunFolder) -> None:
    code = """
import sys
from pathlib import Path
from morel_search.results.folder import RunFolder
run = RunFolder(Path(sys.argv[1]))
print("go", flush=True)
while True:
    for letter in "ab":
        run.write_text(run.trials, letter * 3_000_000)
"""
    run.write_text(run.trials, "a" * 3_000_000)
    for turn in range(4):
        writer = python(code, run.path)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "go\n"
        time.sleep(0.02 + 0.013 * turn)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert run.trials.read_text() in ("a" * 3_000_000, "b" * 3_000_000)
        writer.communicate()


def test_a_file_size_limit_is_explained_and_the_old_file_stays(run: RunFolder) -> None:
    code = """
import resource, sys
from pathlib import Path
from morel_search.errors import RunFolderError
from morel_search.results.folder import RunFolder
run = RunFolder(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    run.write_text(run.trials, "x" * 5000)
except RunFolderError as error:
    print(error)
"""
    run.write_text(run.trials, "old")
    message, _ = python(code, run.path).communicate()
    assert message == f"cannot write {run.trials}: the file is larger than this system or its limits allow\n"
    assert run.trials.read_text() == "old"
    assert sorted(path.name for path in run.path.iterdir()) == ["settings.json", "trials.csv"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_explained_and_the_old_file_stays(small_disk: Path) -> None:
    run = create_run_folder(small_disk, "one")
    run.write_text(run.trials, "old")
    with pytest.raises(RunFolderError, match=r"cannot write .*trials\.csv: the disk is full") as error:
        run.write_text(run.trials, "x" * 200_000)
    one_sentence(error)
    assert run.trials.read_text() == "old"
    assert [path.name for path in run.path.iterdir()] == ["trials.csv"]
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={small_disk / 'filler'}", "bs=4096"], capture_output=True, check=False
    )
    with pytest.raises(RunFolderError, match="disk is full"):
        create_run_folder(small_disk, "two")
    assert not (small_disk / "two").exists()


def test_a_read_only_disk_is_explained(small_disk: Path) -> None:
    run = create_run_folder(small_disk, "one")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(RunFolderError, match="file system is read-only"):
        create_run_folder(small_disk, "two")
    with pytest.raises(RunFolderError, match="file system is read-only"):
        run.write_text(run.trials, "x")
    with pytest.raises(RunFolderError, match="file system is read-only"), run.lock():
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RunFolderError, match="permission denied"):
            create_run_folder(tmp_path, "one")
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_that_is_gone_is_explained(run: RunFolder) -> None:
    run.settings.unlink()
    run.path.rmdir()
    with pytest.raises(RunFolderError, match="no such folder"):
        run.write_text(run.trials, "x")


# one driver at a time

HOLD = """
import sys
from pathlib import Path
from morel_search.results.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_kept_out_and_told_who_holds_the_run(run: RunFolder) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunFolderError, match=f"in use by process {holder.pid};") as error, run.lock():
        pass
    one_sentence(error)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert holder.stdin is not None
    holder.stdin.close()
    with run.lock():
        assert (run.path / ".lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_let_go_after_an_error_too(run: RunFolder) -> None:
    with pytest.raises(KeyError), run.lock():
        raise KeyError
    with run.lock(), pytest.raises(RunFolderError, match=f"process {os.getpid()}"), run.lock():
        pass


def test_a_lock_file_that_is_deleted_does_not_let_a_second_process_in(run: RunFolder) -> None:
    with run.lock():
        (run.path / ".lock").unlink()
        with pytest.raises(RunFolderError, match=r"is in use by another process, .* was deleted"), run.lock():
            pass
        with hold_lock(run.path / "other.lock"), hold_lock(run.path / "third.lock"):
            pass  # two files in one folder
    with run.lock():
        pass


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys; import morel_search.results.folder; "
    code += "print(sorted({'pandas', 'torch', 'ray', 'optuna', 'numpy'} & set(sys.modules)))"
    assert python(code).communicate()[0] == "[]\n"


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("number", "1e300"),
        ("number", "9" * 30),
        ("number", "inf"),
        ("number", "1.5"),
        ("seconds", "inf"),
        ("seconds", "1e400"),
        ("robust_accuracy", "-0.1"),
        ("test_clean_accuracy", "97.5"),
        ("number", "x" * 10_000),
    ],
)
def test_a_cell_that_no_run_has_is_damage(run: RunFolder, column: str, cell: str) -> None:
    cells = ["" if name in TEXT_COLUMNS or name != column else cell for name in TRIAL_COLUMNS]
    run.trials.write_text(",".join(TRIAL_COLUMNS) + "\n" + ",".join(cells) + "\n")
    with pytest.raises(
        RunFolderError, match=rf"trials\.csv is damaged: (?:{column} must be .*, got|could not convert)"
    ) as error:
        run.read_trials()
    one_sentence(error)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            {"controls": [{"name": "a", "overrides": [5]}]},
            r"space\.controls\[0\]\.overrides' must be an object",
        ),
        ({"controls": [5]}, r"space\.controls\[0\]' must be an object with the text 'name'"),
        ({"parameters": [{"name": "a", "choices": 5}]}, r"space\.parameters\[0\]\.choices' must be a list"),
        ({"parameters": [{"name": "a", "low": [5]}]}, r"space\.parameters\[0\]\.low' must be a number"),
        ({"parameters": [{"name": "a", "log": "x"}]}, r"space\.parameters\[0\]\.log' must be true or false"),
        (
            {"parameters": [{"name": "a", "when": {"b": 1}}]},
            r"space\.parameters\[0\]\.when\.b' must be a list",
        ),
        ({"train": {"epochs": "12"}}, r"space\.train\.epochs' must be a number"),
    ],
)
def test_a_space_of_another_shape_is_damage(run: RunFolder, space: dict[str, Any], words: str) -> None:
    run.settings.write_text(json.dumps({"format": 1, "space": space}))
    with pytest.raises(RunFolderError, match=rf"settings\.json is damaged: '{words}") as error:
        run.read_settings()
    one_sentence(error)
