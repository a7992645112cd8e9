"""Images from anywhere: only the formats that are meant are read, and no image is larger than the memory."""

from __future__ import annotations

import dataclasses
import io
import os
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import encoded, pictures
from PIL import EpsImagePlugin, Image

from morel_search.errors import DataError
from morel_search.training.datasets import image_file
from morel_search.training.datasets import images as reader
from morel_search.training.datasets.loading import load_development
from morel_search.training.settings import DataSettings

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\n(ran) (w) file closefile\nshowpage\n"
KINDS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "BMP": "bmp", "GIF": "gif", "TIFF": "tif", "WEBP": "webp"}


def claimed(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with the pixels of less than one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def folder_of(tmp_path: Path, third: bytes, name: str = "3.png") -> DataSettings:
    for kind in ("cat", "dog"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for number, image in enumerate(pictures(5)):
            (tmp_path / "train" / kind / f"{number}.png").write_bytes(encoded(image))
    (tmp_path / "train" / "cat" / "3.png").unlink()
    (tmp_path / "train" / "cat" / name).write_bytes(third)
    return DataSettings(name="image_folder", train=str(tmp_path / "train"), validation=0.2)


def parquet_of(tmp_path: Path, third: bytes) -> DataSettings:
    files = [encoded(image) for image in pictures(10)]
    files[3] = third
    pq.write_table(pa.table({"image": files, "label": [0, 1] * 5}), tmp_path / "train.parquet")
    return DataSettings(name="parquet", train=str(tmp_path / "train.parquet"), validation=0.2)


@pytest.mark.parametrize("settings_of", [folder_of, parquet_of])
def test_postscript_among_the_images_starts_no_program(
    tmp_path: Path, settings_of: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []

    def ghostscript(*arguments: object, **_: object) -> Image.core.ImagingCore:  # type: ignore[name-defined]
        started.append(arguments)
        return Image.new("RGB", (6, 6)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    Image.open(io.BytesIO(EPS)).load()
    assert started, "Pillow's own reader starts it: otherwise this test shows nothing"
    started.clear()
    with pytest.raises(
        DataError, match=r"3.* is not an image that can be read \(\d+ bytes\); the formats are"
    ):
        load_development(settings_of(tmp_path, EPS))  # type: ignore[operator]
    assert not started


@pytest.mark.parametrize("kind", KINDS)
def test_the_formats_that_are_meant_are_read(tmp_path: Path, kind: str) -> None:
    settings = folder_of(tmp_path, encoded(pictures(1)[0], kind), f"3.{KINDS[kind]}")
    assert len(load_development(settings).train) == 8


@pytest.mark.parametrize("kind", ["PCX", "SGI", "TGA", "ICO", "JPEG2000", "MSP", "SPIDER", "DDS"])
def test_other_formats_are_refused_under_any_name(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(pictures(1)[0]).convert({"MSP": "1", "SPIDER": "F"}.get(kind, "RGB"))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    assert Image.open(io.BytesIO(buffer.getvalue())).size
    with pytest.raises(DataError, match="is not an image that can be read"):
        load_development(folder_of(tmp_path, buffer.getvalue()))


@pytest.mark.parametrize("settings_of", [folder_of, parquet_of])
@pytest.mark.parametrize("size", [(8193, 8192), (60_000, 2_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_that_claims_too_many_pixels_is_not_decoded(
    tmp_path: Path, settings_of: object, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Image.Image.load

    def decode(image: Image.Image) -> object:
        assert image.width * image.height <= image_file.MOST_PIXELS, "the pixels were decoded"
        return real(image)

    monkeypatch.setattr(Image.Image, "load", decode)
    settings = settings_of(tmp_path, claimed(*size))  # type: ignore[operator]
    for resized in (None, 6):
        with pytest.raises(DataError, match=r"3.*images may have 67,108,864 pixels"):
            load_development(dataclasses.replace(settings, image_size=resized))


def test_a_large_image_gives_no_warning_of_pillow(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(DataError):
        reader.common_shape(1, lambda _: (claimed(10_000, 10_000), "3"), None)
    assert not recwarn.list


def test_a_pipe_among_the_images_is_named(tmp_path: Path) -> None:
    settings = folder_of(tmp_path, b"")
    path = tmp_path / "train" / "cat" / "3.png"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"3\.png is not a file"):
        load_development(settings)
