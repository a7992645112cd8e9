from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from config_files import changed, faults, least, load, write
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from morel_search.config import load_space
from morel_search.config.faults import Faults
from morel_search.config.reader import MAX_BYTES, read_tree
from morel_search.errors import SpaceError

LEAST = """\
data: {name: digits}
network: {name: small_cnn}
parameters:
  k_robust: {type: float, low: 0, high: 0.8}
"""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("# nothing but a comment\n", "is empty"),
        ("- a\n- b\n", "must be a mapping of sections, got a list"),
        ("just words\n", "must be a mapping of sections, got the text 'just words'"),
        ("3\n", "must be a mapping of sections, got 3"),
        (LEAST + "train:\n\tepochs: 3\n", "line 6: a tab is used where YAML requires spaces"),
        (LEAST + 'train: "\\UFFFFFFFF"\n', "this is not YAML: an escape or a number cannot be read"),
        (LEAST + 'train: "\\U00110000"\n', "this is not YAML: an escape or a number cannot be read"),
        (
            f"%YAML {'9' * 5000}.1\n---\n{LEAST}",
            "the file declares YAML 99999999999999999999; space files are YAML 1.2",
        ),
        (
            "%YAML 2.0\n---\n" + LEAST,
            "the file declares YAML 2.0; space files are YAML 1.2",
        ),
        (LEAST + "train: {epochs: 3\n", "line 6: this is not YAML: a bracket or brace is not closed"),
        (LEAST + "train: 'epochs\n", "line 6: this is not YAML: a quotation mark is not closed"),
        (
            LEAST + "train:\n  epochs: 3\n lr: 1\n",
            "line 7: this is not YAML: the line is not indented like the other lines of its mapping",
        ),
        (
            "  " + LEAST,
            "line 2: this is not YAML: the line is not indented like the other lines of its mapping",
        ),
        (LEAST + "train\n", "line 6: this is not YAML: a key has no colon"),
        (LEAST + "train: epochs: 3\n", "line 5: this is not YAML: a colon stands where no key is allowed"),
        (LEAST + "---\ndata: 1\n", "line 5: a second document starts here"),
        (
            LEAST + "train: !!python/object/apply:os.system ['true']\n",
            "line 5: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed",
        ),
        (LEAST + "train: {lr: !!float 0.1}\n", "line 5: the tag 'tag:yaml.org,2002:float' is not allowed"),
        (LEAST + "train: !mine {lr: 0.1}\n", "line 5: the tag '!mine' is not allowed"),
        (LEAST + "train: *nowhere\n", "line 5: this is not YAML: found undefined alias 'nowhere'"),
        (LEAST + "train:\n  <<: {epochs: 3}\n", "line 6: merge keys (<<) are not allowed"),
        ("%YAML 1.1\n---\n" + LEAST, "the file declares YAML 1.1; space files are YAML 1.2"),
        ("%YAML 1.3\n---\n" + LEAST, "the file declares YAML 1.3; space files are YAML 1.2"),
        ("# first\n%YAML\t1.2.3\n---\n" + LEAST, "the file declares YAML 1.2.3; space files are YAML 1.2"),
        (LEAST + "train: " + "[" * 40 + "]" * 40, "line 5: nested more than 16 levels deep"),
        (LEAST + "train: " + "[" * 20_000, "line 5: nested more than 16 levels deep"),
        (LEAST + "train: &a {ema: *a}\n", "an alias contains itself"),
        (BOMB, "more than 5000 values, with aliases unfolded"),
        (LEAST.replace("digits", "dig\x07its"), "line 1: the character with the code 0x7 is not allowed"),
        (b"\x80\x04\x95\x00 binary", "line 1: byte 0x80 is not UTF-8 text"),
        ((LEAST + "# caf\u00e9\n").encode("latin-1"), "line 5: byte 0xe9 is not UTF-8 text"),
        (LEAST.encode("utf-16"), "line 1: byte 0xff is not UTF-8 text"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "line 1: the character with the code"),
        (b"# " + b"x" * MAX_BYTES, "is larger than 256 KiB"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    (fault,) = faults(tmp_path, content)
    assert sentence in fault
    assert "\n" not in fault


def test_a_bomb_costs_no_time(tmp_path: Path) -> None:
    begin = time.perf_counter()
    faults(tmp_path, BOMB + "j: &j [" + ", ".join(["*i"] * 9) + "]\n")
    assert time.perf_counter() - begin < 2


def test_missing_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path, LEAST, "other.yaml")
    for path, sentence in (
        (tmp_path / "spcae.yaml", "no such file; the folder has other.yaml"),
        (tmp_path, "is a folder; name the space file in it; the folder has other.yaml"),
    ):
        with pytest.raises(SpaceError) as caught:
            load_space(path)
        assert str(caught.value) == f"{path}: {sentence}"
    for name in ("no/such/folder.yaml", "nul\0.yaml", "x" * 5000 + ".yaml"):
        with pytest.raises(SpaceError):
            load_space(tmp_path / name)


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ("train:\n  lr: 0.1\n  lr: 0.2\n", "train.lr: this key is given twice, again in line 7 (line 6)"),
        ("data: {name: cifar10}\n", "data: this key is given twice, again in line 5 (line 1)"),
        ("train: {3: 4}\n", "train: a key must be a text, got '3' in line 5 (line 5)"),
        ("train: {[a]: 4}\n", "train: a key must be a text, got 'a list or a mapping' in line 5 (line 5)"),
        ("train: {lr: .inf}\n", "train.lr: must be a finite number, got the text '.inf' (line 5)"),
        ("train: {lr: -.NaN}\n", "train.lr: must be a number, got the text '-.NaN' (line 5)"),
        ("train: {lr: .nan}\n", "train.lr: must be a finite number, got the text '.nan' (line 5)"),
        ("train: {lr: 1e999}\n", "train.lr: is too large, got the text '1e999' (line 5)"),
        (
            f"search: {{trials: {'9' * 30}}}\n",
            f"search.trials: is too large, got the text '{'9' * 30}' (line 5)",
        ),
        (
            f"search: {{trials: {'9' * 9000}}}\n",
            f"search.trials: must be a number that can be read, got the text {chr(39)}{'9' * 56}... (line 5)",
        ),
        ('data: {folder: "a\\0b"}\n', "data: this key is given twice, again in line 5 (line 1)"),
        (
            'evaluation: {norm: "\\ud800"}\n',
            "evaluation.norm: contains an unprintable character, got the text '\\ud800' (line 5)",
        ),
    ],
)
def test_odd_values_are_faults_with_their_line(tmp_path: Path, extra: str, fault: str) -> None:
    with pytest.raises(SpaceError) as caught:
        load_space(write(tmp_path, LEAST + extra))
    assert caught.value.faults == (fault,)


def test_yaml_1_2_and_not_1_1(tmp_path: Path) -> None:
    """``no`` is a word, ``1e-4`` a number and ``010`` ten: YAML 1.2.2, chapter 10.3."""
    text = LEAST.replace(
        "{name: small_cnn}",
        "{name: small_cnn, options: {a: no, b: 1e-4, c: 010, d: 0x1F, e: 0o17, f: ~, g: True, h: "
        "2001-01-01, i: 12:30}}",
    )
    options = load(tmp_path, text).network.options
    assert options == {
        "a": "no",
        "b": 1e-4,
        "c": 10,
        "d": 31,
        "e": 15,
        "f": None,
        "g": True,
        "h": "2001-01-01",
        "i": "12:30",
    }


def test_anchors_are_read(tmp_path: Path) -> None:
    space = load(tmp_path, LEAST + "train: {epochs: &n 7}\nsearch: {trials: *n, population: 2}\n")
    assert (space.train.epochs, space.search.trials) == (7, 7)


def test_text_is_kept_exactly(tmp_path: Path) -> None:
    content = "\ufeff# caf\u00e9\r\n".encode() + LEAST.replace("\n", "\r\n").encode()
    assert load(tmp_path, content).text.encode("utf-8") == content


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc \u00e9:#-'\"\\{}[],&*!", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc \u00e9:#-'{}", min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(plain)
def test_json_is_read_as_json_reads_it(value: Any) -> None:
    """JSON is YAML 1.2, so Python's json is an independent reader; merge keys alone are refused here."""
    own = Faults()
    assert read_tree(json.dumps(value), own) == value
    assert not own


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), plain, max_size=5))
def test_block_style_is_read_as_ruamel_reads_it(value: dict[str, Any]) -> None:
    stream = io.StringIO()
    yaml = YAML()
    yaml.dump(value, stream)
    assert read_tree(stream.getvalue(), Faults()) == YAML(typ="safe", pure=True).load(stream.getvalue())


def test_a_section_without_content_is_its_default(tmp_path: Path) -> None:
    assert (
        load(tmp_path, LEAST + "train:\nsearch: null\ncontrols:\n").describe()
        == load(tmp_path, LEAST).describe()
    )
    assert (
        load(tmp_path, least()).describe()
        == load(
            tmp_path, changed(controls=["trades", "mart", "pgd", "none", "morel", "morel_alpha0"])
        ).describe()
    )
