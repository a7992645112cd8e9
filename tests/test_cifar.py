"""CIFAR archives in their true format, from a folder, from a server on this machine, and damaged."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from image_files import every_row, pictures

from morel_search.errors import DataError
from morel_search.training.datasets import downloads
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.settings import DataSettings


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small archive in CIFAR-10's own format, which torchvision is told to take for the original.

    No server serves it.
    """
    dataset = torchvision.datasets.CIFAR10
    files = {}
    for number, (name, _) in enumerate([*dataset.train_list, *dataset.test_list]):
        rows = pictures(20, side=32, seed=number).transpose(0, 3, 1, 2).reshape(20, 3072)
        files[name] = pickle.dumps({"data": rows, "labels": [n % 10 for n in range(20)]})
    files["batches.meta"] = pickle.dumps({"label_names": list("abcdefghij")})
    path = tmp_path / "served" / dataset.filename
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{dataset.base_folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(dataset, "train_list", [[name, md5(files[name])] for name, _ in dataset.train_list])
    monkeypatch.setattr(dataset, "test_list", [[name, md5(files[name])] for name, _ in dataset.test_list])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(files["batches.meta"])})
    monkeypatch.setattr(dataset, "tgz_md5", md5(path.read_bytes()))
    monkeypatch.setattr(dataset, "url", f"http://127.0.0.1:9/{dataset.filename}")
    return path


@pytest.fixture
def server(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A web server on this machine with the archive, where torchvision looks for it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent))) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        monkeypatch.setattr(
            torchvision.datasets.CIFAR10, "url", f"http://127.0.0.1:{web.server_port}/{archive.name}"
        )
        yield
        web.shutdown()
        thread.join()


def cifar(folder: Path, **more: Any) -> DataSettings:
    return DataSettings(name="cifar10", folder=str(folder), **more)


def check_cifar(folder: Path, **more: Any) -> None:
    development, test = load_development(cifar(folder, **more)), load_test(cifar(folder, **more))
    assert (len(development.train), len(development.validation), len(test)) == (90, 10, 20)
    assert development.classes == tuple("abcdefghij")
    expected = {
        i.transpose(2, 0, 1).tobytes() for number in range(5) for i in pictures(20, side=32, seed=number)
    }
    assert every_row(development.train.images) | every_row(development.validation.images) == expected
    assert torch.equal(test.images, torch.from_numpy(pictures(20, side=32, seed=5).transpose(0, 3, 1, 2)))
    assert torch.equal(test.labels, torch.arange(20) % 10)


@pytest.mark.usefixtures("server")
def test_cifar_is_downloaded_verified_and_read(tmp_path: Path) -> None:
    check_cifar(tmp_path / "data")
    check_cifar(tmp_path / "data", download=False)


def test_an_archive_in_the_data_folder_needs_no_network(tmp_path: Path, archive: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / archive.name).write_bytes(archive.read_bytes())
    check_cifar(folder, download=False)


def ways_out(error: DataError, folder: Path) -> str:
    text = str(error)
    assert "\n" not in text
    assert "morel-search init digits" in text
    assert f"{folder}/cifar-10-python.tar.gz" in text
    assert torchvision.datasets.CIFAR10.url in text
    return text


@pytest.mark.usefixtures("archive")
def test_without_a_network_the_sentence_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        load_development(cifar(tmp_path))
    assert "refused" in ways_out(caught.value, tmp_path)
    assert not (tmp_path / "cifar-10-python.tar.gz").exists()
    with pytest.raises(DataError, match=r"is missing, and data\.download is off") as caught:
        load_development(cifar(tmp_path / "absent", download=False))
    ways_out(caught.value, tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("download", [True, False])
def test_a_corrupt_archive_is_named_and_left_alone(tmp_path: Path, archive: Path, download: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    half = archive.read_bytes()[:5000]
    (folder / archive.name).write_bytes(half)
    with pytest.raises(DataError, match="is damaged or not the original") as caught:
        load_development(cifar(folder, download=download))
    assert md5(half) in ways_out(caught.value, folder)
    assert (folder / archive.name).read_bytes() == half


@pytest.mark.usefixtures("server")
def test_a_download_that_is_not_the_original_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match="could not be downloaded and unpacked") as caught:
        load_development(cifar(tmp_path))
    ways_out(caught.value, tmp_path)
    assert not (tmp_path / "cifar-10-python.tar.gz").exists()


@pytest.mark.usefixtures("server")
def test_a_damaged_unpacked_file_is_unpacked_again(tmp_path: Path) -> None:
    check_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"")
    check_cifar(tmp_path, download=False)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("archived", [True, False])
def test_images_of_the_user_in_the_format_of_cifar_are_not_overwritten(
    tmp_path: Path, archived: bool
) -> None:
    check_cifar(tmp_path)
    if not archived:
        (tmp_path / torchvision.datasets.CIFAR10.filename).unlink()
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    original = batch.read_bytes()
    mine = original[:-1] + b"?"
    batch.write_bytes(mine)
    with pytest.raises(DataError, match=r"data_batch_3 is not the file of CIFAR10, and would be overwritten"):
        load_development(cifar(tmp_path))
    assert batch.read_bytes() == mine
    batch.write_bytes(original[:100])  # an unpacking that was interrupted
    if archived:
        check_cifar(tmp_path)


def test_a_download_does_not_wait_for_a_stopped_process_for_ever(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / archive.name).write_bytes(archive.read_bytes())
    monkeypatch.setattr(downloads, "NOTE_SECONDS", 0.0)
    with downloads.download_lock(folder / ".cifar-10-batches-py.lock"):
        with monkeypatch.context() as patch:
            patch.setattr(downloads, "LONGEST_DOWNLOAD", 0.3)
            with pytest.raises(DataError, match=r"another process has held .* and may be stopped; end it"):
                load_development(cifar(folder))
        assert capsys.readouterr().err.count("waiting for another process that downloads images") == 1
        assert not (folder / "cifar-10-batches-py").exists()
    check_cifar(folder)
    assert not capsys.readouterr().err


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataError, match="could not be downloaded"):
        load_development(cifar(tmp_path / "data"))


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("name", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_nothing_is_written_through_a_link_in_the_data_folder(tmp_path: Path, name: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "data"
    folder.mkdir()
    (folder / name).symlink_to(outside)
    with pytest.raises(
        DataError, match=rf"data/{name} is a link to {outside}, which does not have the files"
    ):
        load_development(cifar(folder))
    assert not outside.exists()


@pytest.mark.usefixtures("server")
def test_the_lock_of_a_download_is_not_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / ".cifar-10-batches-py.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match="symbolic links"):
        load_development(cifar(folder))
    assert (tmp_path / "mine").read_text() == "precious"


def test_links_to_images_elsewhere_are_read(tmp_path: Path, archive: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / archive.name).symlink_to(archive)
    check_cifar(tmp_path / "one", download=False)
    (tmp_path / "two" / "cifar-10-batches-py").symlink_to(tmp_path / "one" / "cifar-10-batches-py")
    check_cifar(tmp_path / "two", download=False)
