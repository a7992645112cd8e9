"""The report's section of attacked images: what it shows is in the file, and a hostile file does no harm."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from verified_runs import HONEST, SETUP, verified_run

from morel_search.analysis.report.page import report_text
from morel_search.analysis.report.sections.pictures import difference, pictures_section
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification_reader import read_verification
from morel_search.errors import RunFolderError
from morel_search.results.attack_names import STAGES
from morel_search.results.attack_records import BROKEN, COLUMNS, ROBUST, read_record
from morel_search.results.folder import RunFolder
from morel_search.results.pictures import (
    LONGEST_NAME,
    CleanImage,
    NetworkPictures,
    Picture,
    Pictures,
    Prediction,
)
from morel_search.results.pictures_file import read_pictures, write_pictures

SHAPE = (3, 5, 4)


def pixels_of(seed: int, shape: tuple[int, ...] = SHAPE) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def made_pictures(*names: str, count: int = 2, shape: tuple[int, ...] = SHAPE) -> Pictures:
    """Pictures that fit the made records: the second image of each network is misclassified."""
    images = tuple(CleanImage(7 * index, 3, "cat", pixels_of(index, shape)) for index in range(count))
    networks = tuple(
        NetworkPictures(
            name,
            SETUP.weights,
            tuple(
                Picture(
                    pixels_of(100 + index, shape),
                    Prediction(3, "cat", 0.875),
                    Prediction(5, "dog", 0.625) if index else Prediction(3, "cat", 0.5),
                )
                for index in range(count)
            ),
        )
        for name in names
    )
    return Pictures("linf", "0.2", 20, 9, SETUP.data, 4, 1, images, networks)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verified run, made once and copied for each test."""
    run, _ = verified_run(tmp_path_factory.mktemp("made"))
    return run.path


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(made, tmp_path / "run"))


def section_html(run: RunFolder) -> str:
    run_data = read_run_data(run)
    part = pictures_section(run_data, read_verification(run_data))
    return "" if part is None else part.html


def members(run: RunFolder) -> list[str]:
    return [entry.name for entry in read_run_data(run).networks if entry.member]


def test_without_a_file_there_is_no_section(run: RunFolder) -> None:
    assert read_pictures(run) is None
    assert 'id="pictures"' not in report_text(run)


def test_the_file_is_read_as_it_was_written(run: RunFolder) -> None:
    written = made_pictures("1", "2")
    write_pictures(run, written)
    read = read_pictures(run)
    assert read is not None
    for field in ("norm", "epsilon", "steps", "targets", "data", "passed_over", "reduction"):
        assert getattr(read, field) == getattr(written, field)
    for one, other in zip(read.images, written.images, strict=True):
        assert (one.index, one.label, one.name) == (other.index, other.label, other.name)
        assert (one.pixels == other.pixels).all()
    for network, same in zip(read.networks, written.networks, strict=True):
        assert (network.name, network.weights) == (same.name, same.weights)
        for picture, twin in zip(network.pictures, same.pictures, strict=True):
            assert (picture.before, picture.after) == (twin.before, twin.after)
            assert (picture.pixels == twin.pixels).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_images_of_the_page_are_those_of_the_file(run: RunFolder, channels: int) -> None:
    shape = (channels, 5, 4)
    write_pictures(run, made_pictures(members(run)[0], shape=shape))
    shown = []
    for uri in re.findall(r'src="data:image/png;base64,([^"]+)"', section_html(run)):
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))
        shown.append(image[None] if channels == 1 else image.transpose(2, 0, 1))
    assert len(shown) == 6
    clean, attacked, enlarged = shown[:3]
    assert (clean == pixels_of(0, shape)).all()
    assert (attacked == pixels_of(100, shape)).all()
    change = attacked.astype(int) - clean
    assert ((enlarged.astype(int) > 128) == (change > 0)).all()
    assert ((enlarged.astype(int) == 128) == (change == 0)).all()


def test_the_difference_is_white_and_black_at_the_radius() -> None:
    clean = np.full((1, 1, 3), 100, dtype=np.uint8)
    adversarial = np.array([[[151, 49, 100]]], dtype=np.uint8)
    assert difference(adversarial, clean, 51).tolist() == [[[255, 1, 128]]]
    assert difference(adversarial, clean, None).tolist() == [[[255, 1, 128]]]
    assert difference(clean, clean, None).tolist() == [[[128, 128, 128]]]


def test_the_words_are_those_of_file_and_record(run: RunFolder) -> None:
    name = members(run)[0]
    record = read_record(run, name)
    assert record is not None
    record.table[0] = ROBUST
    record.table[7, COLUMNS.index("clean") : COLUMNS.index("apgd-t")] = ROBUST
    record.table[7, COLUMNS.index("apgd-t")] = BROKEN
    record.write(run)
    write_pictures(run, made_pictures(name))
    run_data = read_run_data(run)
    part = pictures_section(run_data, read_verification(run_data))
    assert part is not None
    assert "first 2 test images" in part.html
    assert "4 other images before the last were passed over" in part.html
    assert "targeted PGD-20 (9 classes), L∞, ε = 0.2" in part.html
    assert f"Network {name}<span>1 of 2 images still correct after this attack" in part.html
    assert "before cat (87.5%)" in part.html
    assert 'after cat (50.0%) <span class="kept">✓ still correct' in part.html
    assert 'after dog (62.5%) <span class="lost">✗ wrong' in part.html
    assert "verification: correct after every attack" in part.html
    assert "verification: misclassified by APGD-T" in part.html
    assert part.html.count("<img ") == part.html.count(' alt="test image') == 6
    assert part.html in report_text(run)


def test_a_flagged_network_is_marked(run: RunFolder) -> None:
    first, second, *_ = members(run)
    record = read_record(run, first)
    assert record is not None
    record.diagnostics = replace(HONEST, zero_gradients=0.9)
    record.write(run)
    write_pictures(run, made_pictures(first, second))
    html = section_html(run)
    assert html.count("flagged for gradient masking") == 1
    assert f"Network {first} (flagged for gradient masking" in html


@pytest.mark.parametrize(
    "change",
    [
        {"data": "another split"},
        {"epsilon": "0.1"},
        {"norm": "l2"},
        {"weights": "c"},
        {"name": "../settings"},
    ],
)
def test_pictures_of_something_else_are_not_shown(run: RunFolder, change: dict[str, str]) -> None:
    """Of other images, of another radius, of earlier weights, or of a network that the run has not."""
    pictures = made_pictures(members(run)[0])
    if set(change) & {"weights", "name"}:
        changed = replace(pictures, networks=(replace(pictures.networks[0], **change),))  # type: ignore[arg-type]
    else:
        changed = replace(pictures, **change)  # type: ignore[arg-type]
    write_pictures(run, pictures)
    assert section_html(run)
    write_pictures(run, changed)
    assert section_html(run) == ""


@pytest.mark.parametrize("epsilon", ["1e308", "1/0", "-1", "0", "<b>", "9" * 400])
def test_any_radius_of_a_foreign_folder_is_drawn_or_left_out(run: RunFolder, epsilon: str) -> None:
    name = members(run)[0]
    record = read_record(run, name)
    assert record is not None
    record.setup = replace(record.setup, evaluation={**record.setup.evaluation, "epsilon": epsilon})
    record.write(run)
    pictures = replace(made_pictures(name), epsilon=epsilon)
    write_pictures(run, pictures)
    part = pictures_section(read_run_data(run), None)
    assert part is None or "<b>" not in part.html.replace("<b>Image", "")


@pytest.mark.parametrize(
    ("count", "passed", "words"),
    [
        (
            1,
            0,
            "the first test image, in the order of the verification, that this network classifies correctly "
            "without an attack. The attack",
        ),
        (1, 1, "without an attack; 1 other image before it was passed over. The attack"),
        (2, 5, "without an attack; 5 other images before the last were passed over. The attack"),
    ],
)
def test_the_rule_is_stated(run: RunFolder, count: int, passed: int, words: str) -> None:
    write_pictures(run, replace(made_pictures(members(run)[0], count=count), passed_over=passed))
    assert words in section_html(run)


def test_names_with_markup_are_text(run: RunFolder) -> None:
    hostile = '"><script>alert(1)</script>' + 1000 * "x"
    pictures = made_pictures(members(run)[0], count=1)
    bad = Prediction(5, hostile, 0.5)
    network = pictures.networks[0]
    image = replace(pictures.images[0], name=hostile)
    shown = (replace(network.pictures[0], before=bad, after=bad),)
    write_pictures(run, replace(pictures, images=(image,), networks=(replace(network, pictures=shown),)))
    html = section_html(run)
    assert "<script" not in html
    assert "&quot;&gt;&lt;script&gt;" in html
    assert LONGEST_NAME * "x" not in html


def set_value(*path: str | int, value: object) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        for key in path[:-1]:
            root = root[key]
        root[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_value("shape", value=[3, 5000, 5000]),
        set_value("shape", value=[3, 5, True]),
        set_value("shape", value=[4, 5, 3]),
        set_value("shape", value="5"),
        set_value("norm", value="<b>"),
        set_value("epsilon", value=[]),
        set_value("steps", value=-1),
        set_value("reduction", value=0),
        set_value("images", value=[]),
        set_value("images", 0, value="image"),
        set_value("images", 0, "pixels", value="AAAA"),
        set_value("images", 0, "pixels", value="javascript:alert(1)"),
        set_value("images", 0, "index", value=-1),
        set_value("images", 0, "name", value={"a": 1}),
        set_value("networks", value={}),
        set_value("networks", 0, "pictures", value=[]),
        set_value("networks", 0, "pictures", 0, "pixels", value=None),
        set_value("networks", 0, "pictures", 0, "after", value=[1]),
        set_value("networks", 0, "pictures", 0, "after", "probability", value=1.5),
        set_value("networks", 0, "pictures", 0, "after", "probability", value=True),
        set_value("networks", 0, "pictures", 0, "after", "label", value="5"),
    ],
)
def test_a_damaged_file_is_one_sentence(run: RunFolder, change: Callable[[Any], None]) -> None:
    write_pictures(run, made_pictures(members(run)[0]))
    file = run.verification / "pictures.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match=r"pictures\.json is damaged: '\w+' must be"):
        read_pictures(run)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"\xff", b'{"format": 1}', b"[" * 100_000, b'{"a": 1e999}', b" " * 10**6]
)
def test_a_file_that_is_none_is_one_sentence(run: RunFolder, content: bytes) -> None:
    (run.verification / "pictures.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"pictures\.json"):
        read_pictures(run)


def test_the_page_says_that_the_file_is_damaged(run: RunFolder) -> None:
    (run.verification / "pictures.json").write_text("[]")
    html = section_html(run)
    assert "verification/pictures.json is damaged" in html
    assert "<img" not in html


@pytest.mark.parametrize("index", [-1, 400, 10**9])
def test_an_image_outside_the_split_is_not_shown(run: RunFolder, index: int) -> None:
    pictures = made_pictures(members(run)[0])
    images = (replace(pictures.images[0], index=index), *pictures.images[1:])
    write_pictures(run, replace(pictures, images=images))
    assert "<img" not in section_html(run)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_is_not_waited_for(run: RunFolder) -> None:
    os.mkfifo(run.verification / "pictures.json")
    assert "verification/pictures.json is damaged" in section_html(run)


def test_a_newer_format_has_no_section(run: RunFolder) -> None:
    (run.verification / "pictures.json").write_text('{"format": 2, "images": "in another way"}')
    assert section_html(run) == ""


def test_the_records_are_read_as_before(run: RunFolder) -> None:
    verification = read_verification(read_run_data(run))
    assert verification is not None
    write_pictures(run, made_pictures(members(run)[0]))
    again = read_verification(read_run_data(run))
    assert again is not None
    assert again.table().equals(verification.table())
    assert again.images == verification.images
    assert set(STAGES) >= set(again.attacked)
