"""Data sets of the Hugging Face hub by name, read through its own library from a hub on this machine."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from config_files import changed, faults, load
from hub_server import REPOSITORY, Hub, hub_server
from image_files import encoded

from morel_search.cluster.placement import with_absolute_paths
from morel_search.errors import DataError
from morel_search.models.sections import read_section
from morel_search.results.folder import RunFolder
from morel_search.training.data_settings import is_hub_name
from morel_search.training.datasets.hub import pinned
from morel_search.training.datasets.loading import check_test, load_development, load_test
from morel_search.training.settings import DataSettings
from morel_search.workflows.data_paths import used_paths
from morel_search.workflows.request import Request
from morel_search.workflows.run_settings import new_settings
from morel_search.workflows.verify_folder import _with_recorded_data

datasets: Any = pytest.importorskip("datasets")

NAME = f"huggingface/{REPOSITORY}"
CLASSES = ("wombat", "cat")  # in the order of the data set, which is not that of the alphabet


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "hf"
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        monkeypatch.setattr(constants, "HUGGINGFACE_HUB_CACHE", str(cache / "hub"))
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "datasets")
        monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", cache / "datasets/extracted")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", "hf_a_secret")
        yield server


def pixel(split: str, number: int) -> np.ndarray:
    """A grey level that names the image; class 0 and 1 take turns."""
    return np.full((8, 8, 3), {"train": 0, "validation": 100, "test": 200}[split] + number, np.uint8)


def table(split: str, count: int, path: str = "data.parquet", **features: Any) -> bytes:
    rows: dict[str, Any] = {
        "image": [{"bytes": encoded(pixel(split, number)), "path": None} for number in range(count)],
        "label": [number % 2 for number in range(count)],
    }
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES)), **features}
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).to_parquet(buffer)
    return buffer.getvalue()


def parquet(**counts: int) -> dict[str, bytes]:
    return {f"data/{split}-00000-of-00001.parquet": table(split, count) for split, count in counts.items()}


def settings(**more: Any) -> DataSettings:
    return DataSettings(**{"name": NAME, "validation": 4, **more})


def levels(images: Any) -> list[int]:
    assert (images.images == images.images[:, :1, :1, :1]).all()
    return sorted(images.images[:, 0, 0, 0].tolist())


def test_images_labels_and_classes_are_those_of_the_data_set(hub: Hub) -> None:
    commit = hub.commit(parquet(train=20, test=6))
    used = pinned(settings())
    assert (used.commit, used.subset) == (commit, "default")
    development, test = load_development(used), load_test(used)
    assert development.classes == CLASSES
    every = [*levels(development.train), *levels(development.validation)]
    assert sorted(every) == list(range(20))
    assert levels(test) == [200, 201, 202, 203, 204, 205]
    for part in (development.train, development.validation, test):
        assert (part.images[:, 0, 0, 0] % 2 == part.labels).all()


def test_a_pinned_data_set_needs_no_network_and_does_not_change(hub: Hub) -> None:
    old = hub.commit(parquet(train=20, test=6))
    used = pinned(settings())
    new = hub.commit(parquet(train=30, test=6))
    hub.requests.clear()
    assert len(load_development(used).train) == 16
    assert not hub.requests
    later = pinned(settings())
    assert later.commit == new != old
    assert len(load_development(later).train) == 26
    by_revision = pinned(settings(revision=old))
    assert len(load_development(by_revision).train) == 16


@pytest.mark.parametrize("repository", ["someone/MyPictures", "some-one/my-Pictures.v2"])
def test_names_that_the_library_spells_in_another_way(hub: Hub, repository: str) -> None:
    hub.repository = repository
    hub.commit(parquet(train=20, test=6))
    used = pinned(settings(name=f"huggingface/{repository}"))
    hub.requests.clear()
    assert len(load_test(used)) == 6
    assert not hub.requests


def test_a_folder_that_was_made_from_some_files_alone_is_not_read(hub: Hub) -> None:
    files = {"train-a": table("train", 20), "test-a": table("test", 6), "test-b": table("test", 4)}
    commit = hub.commit({f"{name}.parquet": data for name, data in files.items()})
    some = {"train": "train-a.parquet", "test": "test-a.parquet"}
    datasets.load_dataset(f"hf://datasets/{REPOSITORY}", data_files=some, revision=commit)
    assert len(load_test(pinned(settings(commit=commit, subset="default")))) == 10


def test_a_resumed_search_keeps_the_commit(hub: Hub, tmp_path: Path) -> None:
    from morel_search.training.compute_settings import FLOAT32
    from morel_search.workflows.preflight import PreflightResult

    old = hub.commit(parquet(train=20, test=6))
    space = load(tmp_path, changed(data={"name": NAME, "validation": 4}))
    request = Request(space=space, name="a", results=tmp_path / "results").noted()
    assert request.space.data.commit == old
    run = RunFolder(request.results / "a")
    run.path.mkdir(parents=True)
    images = PreflightResult(16, 4, (3, 8, 8), 2, 100, FLOAT32, (), ())
    run.write_settings(new_settings("a", request.space, images))
    assert "hf_a_secret" not in run.settings.read_text()
    recorded = run.read_settings()
    assert read_section(DataSettings, recorded.space["data"]) == request.space.data
    assert _with_recorded_data(space, recorded).data == request.space.data
    new = hub.commit(parquet(train=30, test=6))
    resumed = replace(request, space=space, resume=True).noted()
    assert resumed.space.data == request.space.data
    other = replace(request, space=load(tmp_path, changed(data={"name": NAME, "revision": new})), resume=True)
    assert other.noted().space.data.commit == new  # the identity of the run differs, which is refused


def test_the_test_split_is_named(hub: Hub) -> None:
    hub.commit(parquet(train=20, validation=6))
    assert check_test(settings()) == (
        f"the test images of {NAME} are those of its split validation (data.test)",
    )
    assert levels(load_test(settings())) == [100, 101, 102, 103, 104, 105]
    hub.commit(parquet(train=20, validation=6, test=4))
    assert levels(load_test(settings())) == [200, 201, 202, 203]
    assert levels(load_test(settings(test="validation"))) == [100, 101, 102, 103, 104, 105]
    swapped = settings(train="test", test="train", validation=2)
    assert set(levels(load_development(swapped).train)) < {200, 201, 202, 203}
    assert levels(load_test(swapped)) == list(range(20))
    with pytest.raises(
        DataError, match=r"has no split dev \(data.test\); its splits are train, validation, "
    ):
        check_test(settings(test="dev"))
    with pytest.raises(DataError, match=r"data.train and data.test are both the split train"):
        check_test(settings(test="train"))
    hub.commit(parquet(train=20))
    with pytest.raises(DataError, match=r"has no split test \(data.test\); its splits are train"):
        check_test(settings())


def test_subsets(hub: Hub) -> None:
    files = {
        "README.md": b"---\nconfigs:\n- config_name: small\n  data_files:\n"
        b"  - {split: train, path: small/train.parquet}\n  - {split: test, path: small/test.parquet}\n"
        b"- config_name: large\n  data_files:\n"
        b"  - {split: train, path: large/train.parquet}\n  - {split: test, path: large/test.parquet}\n---\n",
        **{f"small/{split}.parquet": table(split, 10) for split in ("train", "test")},
        **{f"large/{split}.parquet": table(split, 30) for split in ("train", "test")},
    }
    hub.commit(files)
    with pytest.raises(DataError, match=r"could not be read .*small.*large"):
        pinned(settings())
    assert len(load_test(pinned(settings(subset="small")))) == 10
    assert len(load_test(pinned(settings(subset="large")))) == 30
    with pytest.raises(DataError, match="could not be read"):
        pinned(settings(subset="middle"))


def test_folders_of_pictures_are_read_with_what_the_decoder_does(hub: Hub) -> None:
    from PIL import Image

    turned = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:, :4] = 255  # white on the left; upright, it is at the top
    Image.fromarray(halves).save(turned, "PNG", exif=exif)
    clear = encoded(np.zeros((8, 8, 4), np.uint8))
    hub.commit(
        {
            **{f"train/{name}/{n}.png": turned.getvalue() for name in ("b", "a") for n in range(10)},
            **{f"test/{name}/{n}.png": clear for name in ("b", "a") for n in range(3)},
        }
    )
    development = load_development(settings())
    assert development.classes == ("a", "b")
    assert (development.train.images[:, :, :4] == 255).all()
    assert (development.train.images[:, :, 4:] == 0).all()
    assert "set upright" in " ".join(development.notes)
    assert (load_test(settings(background="grey")).images == 128).all()


def test_a_path_outside_of_the_folders_of_the_library_is_not_read(hub: Hub, tmp_path: Path) -> None:
    secret = tmp_path / "private.png"
    secret.write_bytes(encoded(pixel("train", 1)))
    rows = {"image": [{"bytes": None, "path": str(secret)}] * 8, "label": [0, 1] * 4}
    features = datasets.Features(
        image={"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        label=datasets.ClassLabel(names=list(CLASSES)),
    )
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(buffer)
    hub.commit({f"data/{split}-0.parquet": buffer.getvalue() for split in ("train", "test")})
    with pytest.raises(DataError, match=r"private.png, which is not in"):
        load_development(settings())


def test_arrays_texts_and_own_columns(hub: Hub) -> None:
    rows = {
        "pixels": [pixel("train", number).tolist() for number in range(12)],
        "kind": [["zebra", "ape"][number % 2] for number in range(12)],
    }
    features = datasets.Features(pixels=datasets.Array3D((8, 8, 3), "uint8"), kind=datasets.Value("string"))
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(buffer)
    hub.commit({f"data/{split}-0.parquet": buffer.getvalue() for split in ("train", "test")})
    with pytest.raises(DataError, match="has no column img or image"):
        load_development(settings())
    test = load_test(settings(image_column="pixels", label_column="kind"))
    assert levels(test) == list(range(12))
    assert (test.labels == 1 - test.images[:, 0, 0, 0] % 2).all()  # sorted: ape, zebra


def test_the_working_directory_is_not_taken_for_the_data_set(hub: Hub) -> None:
    Path(REPOSITORY).mkdir(parents=True)
    (Path(REPOSITORY) / "train.csv").write_text("a,b\n1,2\n")
    hub.commit(parquet(train=20, test=6))
    assert len(load_test(settings())) == 6


def test_code_of_a_data_set_is_not_run(hub: Hub, tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n".encode()
    hub.commit({"pictures.py": code, **parquet(train=20, test=6)})
    with pytest.raises(DataError, match="scripts are no longer supported"):
        pinned(settings())
    assert not (tmp_path / "ran").exists()


def test_what_does_not_exist_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.commit(parquet(train=20, test=6))
    wrong = [
        settings(name="huggingface/someone/else"),
        settings(revision="v9"),
        settings(commit="0" * 40),
        settings(commit="main"),
    ]
    for given in wrong:
        with pytest.raises(DataError) as raised:
            pinned(given)
        assert "\n" not in str(raised.value)
    used = pinned(settings())
    (folder,) = Path("hf/datasets").glob(f"someone___pictures/*/*/{commit}")
    next(folder.glob("pictures-train*.arrow")).unlink()
    with pytest.raises(DataError, match="lacks files of the split train"):
        load_development(used)


def test_no_network_and_no_library(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from huggingface_hub import constants

    hub.commit(parquet(train=20, test=6))
    used = pinned(settings())
    other = hub.commit(parquet(train=30, test=6))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"could not be read from the Hugging Face hub .* without a network"):
        pinned(settings())
    with pytest.raises(DataError, match=f"the commit {other} is not on this machine"):
        pinned(settings(commit=other))  # the library would take the other commit, without a word
    assert pinned(used) == used
    assert len(load_test(used)) == 6

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("morel_search.training.datasets.hub.version", missing)
    with pytest.raises(DataError, match=r"pip install 'morel-search\[huggingface\]'"):
        load_test(used)
    monkeypatch.setattr("morel_search.training.datasets.hub.version", lambda _: "2.21.0")
    with pytest.raises(DataError, match=r"need datasets 5 or newer, got 2.21.0"):
        load_test(used)


def test_names(tmp_path: Path) -> None:
    for name in ("ylecun/mnist", "a/b.c-d_e", "uoft-cs/cifar10"):
        assert is_hub_name(f"huggingface/{name}")
        assert (
            load(tmp_path, changed(data={"name": f"huggingface/{name}"})).data.name == f"huggingface/{name}"
        )
    for name in (
        "huggingface",
        "huggingface/",
        "huggingface/mnist",
        "huggingface/a/b/c",
        "huggingface/../b",
        "hub/a/b",
        "huggingface/a\n",
    ):
        assert not is_hub_name(name)
        (fault,) = faults(tmp_path, changed(data={"name": name}))
        assert "huggingface/OWNER/NAME" in fault


def test_names_in_a_settings_file() -> None:
    assert read_section(DataSettings, {"name": NAME}).name == NAME
    for name in ("package.module:name", "timm/resnet18", "huggingface/../x", "other"):
        with pytest.raises(ValueError, match="name must be one of digits, "):
            read_section(DataSettings, {"name": name})


def test_names_of_splits_are_no_paths() -> None:
    used = settings(train="train", test="test")
    assert with_absolute_paths(used).train == "train"
    assert used_paths(used) == {}


def test_settings_without_effect(tmp_path: Path) -> None:
    given = {"name": "digits", "subset": "a", "revision": "b"}
    space = load(tmp_path, changed(data=given))
    assert {"data.subset has no effect with digits", "data.revision has no effect with digits"} <= set(
        space.warnings
    )
    names = {"train": "a", "test": "b", "subset": "c", "image_size": 32, "image_column": "d"}
    space = load(tmp_path, changed(data={"name": NAME, **names}))
    assert not [warning for warning in space.warnings if "no effect" in warning]


def test_the_schema_of_editors_knows_the_names() -> None:
    import jsonschema

    from morel_search.config.json_schema import json_schema

    names = json.loads(json.dumps(json_schema()))["properties"]["data"]["properties"]["name"]
    for name, is_right in ((NAME, True), ("huggingface/mnist", False), ("digits", True), ("digit", False)):
        assert jsonschema.Draft7Validator(names).is_valid(name) is is_right
