"""Pictures as people store them: turned, transparent, with 16 bits, in CMYK, with several frames."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import encoded, pictures
from PIL import Image, ImageOps, PngImagePlugin

from morel_search.errors import DataError
from morel_search.training.datasets.folders import open_folder
from morel_search.training.datasets.loading import Development, check_test, load_development
from morel_search.training.settings import DataSettings

SUFFIX = {
    "PNG": "png",
    "JPEG": "jpg",
    "TIFF": "tif",
    "WEBP": "webp",
    "GIF": "gif",
    "PPM": "ppm",
    "MPO": "jpg",
}


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def load(
    folder: Path, files: list[bytes], kind: str = "PNG", **more: Any
) -> tuple[torch.Tensor, Development]:
    """Load images of two classes; all are returned in the order of the files."""
    for number in range(2 * len(files)):
        name = f"train/{number % 2}/{number:03}.{SUFFIX[kind]}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(files[number // 2])
    count = 2 * len(files)
    settings = DataSettings(name="image_folder", train=str(folder / "train"), validation=count // 2, **more)
    source = open_folder(settings, "development")
    return source.read(torch.arange(len(files))), load_development(settings)


def chw(image: Image.Image) -> torch.Tensor:
    pixels = np.asarray(image)
    return torch.from_numpy((pixels[..., None] if pixels.ndim == 2 else pixels).transpose(2, 0, 1).copy())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("grey", [False, True])
def test_orientation_is_applied(tmp_path: Path, kind: str, orientation: int, grey: bool) -> None:
    image = Image.fromarray(pictures(1, side=16)[0][:, :10])
    image = image.convert("L") if grey else image
    exif = Image.Exif()
    exif[274] = orientation
    options = {"exif": exif} | ({"lossless": True} if kind == "WEBP" else {})
    content = saved(image, kind, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    images, development = load(tmp_path, [content] * 2, kind)
    assert torch.equal(images[0], chw(upright))
    notes = [note for note in development.notes if "upright" in note]
    assert len(notes) == (orientation > 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_data_is_applied(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(pictures(1, side=16)[0][:, :10])
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options: dict[str, Any] = {"xmp": xmp.encode()}
    if kind == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp)
    if kind == "TIFF":
        options = {"tiffinfo": {700: xmp.encode()}}
    if kind == "WEBP":
        options["lossless"] = True
    content = saved(image, kind, **options)
    images, _ = load(tmp_path, [content] * 2, kind)
    decoded = Image.open(io.BytesIO(content))
    turned = ImageOps.exif_transpose(decoded)
    assert turned.size == (16, 10), "otherwise this test shows nothing"
    assert torch.equal(images[0], chw(turned))


def test_pictures_of_both_orientations_must_be_resized(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(pictures(1, side=12)[0][:, :8])
    files = [saved(image, "JPEG"), saved(image, "JPEG", exif=exif)]
    with pytest.raises(DataError, match=r"has 8 x 12 pixels, and the first training image 12 x 8; set"):
        load(tmp_path, files, "JPEG")
    images, development = load(tmp_path, files, "JPEG", image_size=6)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(files[1])))
    assert torch.equal(images[1], chw(ImageOps.fit(turned, (6, 6), Image.Resampling.BILINEAR)))
    assert "2 of 4 images are stored turned" in development.notes[0]


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_does_not_exist_changes_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(pictures(1)[0])
    images, development = load(tmp_path, [saved(image, exif=exif)] * 2)
    assert torch.equal(images[0], chw(image))
    assert development.notes == ()


def test_damaged_exif_data_does_not_matter(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    image = Image.fromarray(pictures(1)[0])
    exif = Image.Exif()
    exif[274] = 6
    content = saved(image, "JPEG", exif=exif)
    start = content.index(b"Exif\0\0") + 6
    for damage in (b"XX", b"MM", b"II*\0\xff\xff\xff\xff"):
        broken = content[:start] + damage + content[start + len(damage) :]
        images, _ = load(tmp_path, [broken] * 2, "JPEG")
        assert images.shape == (2, 3, 6, 6)
    assert not recwarn.list


def test_another_damaged_tag_does_not_matter(tmp_path: Path) -> None:
    """The resolution has the type of a text; Pillow reads this, but cannot write it again."""
    exif = Image.Exif()
    exif[274] = 6
    exif[282] = 72.0
    image = Image.fromarray(pictures(1, side=16)[0][:, :10])
    content = bytearray(saved(image, "JPEG", exif=exif))
    plain = Image.open(io.BytesIO(saved(image, "JPEG")))
    content[content.index(struct.pack(">HH", 282, 5)) + 3] = 2
    images, _ = load(tmp_path, [bytes(content)] * 2, "JPEG")
    assert torch.equal(images[0], chw(plain.rotate(-90, expand=True)))


def glyph(colour: int, hidden: int = 0) -> Image.Image:
    """A filled square of one colour; the pixels around it are transparent."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3] = hidden
    pixels[2:6, 2:6] = (colour, colour, colour, 255)
    return Image.fromarray(pixels)


def transparent_files(image: Image.Image) -> dict[str, tuple[bytes, str]]:
    """The same glyph in each way of storing transparency."""
    grey = image.convert("LA")
    colour = int(np.asarray(grey)[4, 4, 0])
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([colour, colour, colour] * 2)
    palette.paste(1, (2, 2, 6, 6))
    key = 255 - colour
    keyed = np.full((8, 8), key, np.uint8)
    keyed[2:6, 2:6] = colour
    one_bit = Image.fromarray(keyed).convert("1")
    return {
        "RGBA": (saved(image), "PNG"),
        "RGBA webp": (saved(image, "WEBP", lossless=True), "WEBP"),
        "RGBA tiff": (saved(image, "TIFF"), "TIFF"),
        "LA": (saved(grey), "PNG"),
        "LA tiff": (saved(grey, "TIFF"), "TIFF"),
        "P index": (saved(palette, transparency=0), "PNG"),
        "P table": (saved(palette, transparency=bytes([0, 255])), "PNG"),
        "P gif": (saved(palette, "GIF", transparency=0), "GIF"),
        "L key": (saved(Image.fromarray(keyed), transparency=key), "PNG"),
        "RGB key": (saved(Image.fromarray(keyed).convert("RGB"), transparency=(key,) * 3), "PNG"),
        "1 key": (saved(one_bit, transparency=key // 255), "PNG"),
    }


WAYS = tuple(transparent_files(glyph(0)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("colour", "background"), [(0, "white"), (255, "black"), (0, "grey"), (255, "grey")])
def test_a_glyph_on_a_transparent_ground_is_visible(
    tmp_path: Path, way: str, colour: int, background: Any
) -> None:
    content, kind = transparent_files(glyph(colour, hidden=colour))[way]
    images, development = load(tmp_path, [content] * 2, kind, background=background)
    expected = torch.full((8, 8), {"white": 255, "black": 0, "grey": 128}[background], dtype=torch.uint8)
    expected[2:6, 2:6] = colour
    assert torch.equal(images[0], expected.expand_as(images[0]))
    notes = [note for note in development.notes if "transparent" in note]
    assert len(notes) == 1
    assert f"4 of 4 images are transparent; they are composed on {background} (data.background)" in notes[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("colour", "background"), [(255, "white"), (0, "black")])
def test_a_glyph_that_the_background_would_hide_is_refused(
    tmp_path: Path, way: str, colour: int, background: Any
) -> None:
    content, kind = transparent_files(glyph(colour))[way]
    with pytest.raises(
        DataError, match=rf"0/000\.\w+ is transparent, and on a {background} background it is"
    ) as caught:
        load(tmp_path, [content] * 2, kind, background=background)
    assert "\n" not in str(caught.value)
    others = [other for other in ("white", "black", "grey") if other != background]
    assert f"set data.background to {' or '.join(others)}" in str(caught.value)


def test_white_is_the_default_and_partial_opacity_is_mixed(tmp_path: Path) -> None:
    pixels = pictures(1, side=8, channels=4)[0]
    images, _ = load(tmp_path, [saved(Image.fromarray(pixels))] * 2)
    share = pixels[..., 3:].astype(float) / 255
    mixed = share * pixels[..., :3] + (1 - share) * 255
    assert np.abs(images[0].numpy().transpose(1, 2, 0) - mixed).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_images_that_are_opaque_everywhere_get_no_note(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pictures(1)[0])
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    options = {"transparency": bytes([255] * 16)} if mode == "P" else {}
    images, development = load(tmp_path, [saved(image, **options)] * 2)
    assert torch.equal(images[0], chw(image.convert("L" if mode == "LA" else "RGB")))
    assert development.notes == ()


def png16(kind: int, channels: int, before: bytes = b"") -> bytes:
    """A PNG with 16 bits for each channel, which Pillow cannot write in colour.

    The name of a chunk before the header, which must come first, is one that Pillow skips.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(6 * 2 * channels) for _ in range(6))
    head = struct.pack(">IIBBBBB", 6, 6, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + (chunk(before, b"") if before else b"")
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff16(channels: int) -> bytes:
    """An uncompressed TIFF with 16 bits for each channel."""
    pixels = bytes(6 * 6 * 2 * channels)
    bits = struct.pack("<HHI", 258, 3, channels)
    tags = 9
    after = 8 + 2 + 12 * tags + 4
    bits += struct.pack("<I", after) if channels > 2 else struct.pack("<HH", 16, 0)
    entries = [
        struct.pack("<HHIHH", 256, 3, 1, 6, 0),
        struct.pack("<HHIHH", 257, 3, 1, 6, 0),
        bits,
        struct.pack("<HHIHH", 259, 3, 1, 1, 0),
        struct.pack("<HHIHH", 262, 3, 1, 2 if channels == 3 else 1, 0),
        struct.pack("<HHII", 273, 4, 1, after + 2 * channels),
        struct.pack("<HHIHH", 277, 3, 1, channels, 0),
        struct.pack("<HHIHH", 278, 3, 1, 6, 0),
        struct.pack("<HHII", 279, 4, 1, len(pixels)),
    ]
    return (
        b"II*\0"
        + struct.pack("<IH", 8, tags)
        + b"".join(entries)
        + bytes(4)
        + struct.pack("<H", 16) * channels
        + pixels
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (png16(0, 1), "PNG"),
        (png16(2, 3), "PNG"),
        (png16(4, 2), "PNG"),
        (png16(6, 4), "PNG"),
        (png16(2, 3, before=b"CgBI"), "PNG"),
        (png16(6, 4, before=b"teSt"), "PNG"),
        (tiff16(1), "TIFF"),
        (tiff16(3), "TIFF"),
        (b"P5 6 6 65535\n" + bytes(72), "PPM"),
        (b"P6 6 6 65535\n" + bytes(216), "PPM"),
        (b"P6 6 6 1023\n" + bytes(216), "PPM"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_sixteen_bits_are_refused_and_never_cut(
    tmp_path: Path, content: bytes, kind: str, first: bool
) -> None:
    assert Image.open(io.BytesIO(content)).size == (6, 6), "otherwise this test shows nothing"
    files = [content, encoded(pictures(1)[0])]
    with pytest.raises(DataError, match=r"00\d\.\w+ has 16 bits for each channel; images must .* 8 bits"):
        load(tmp_path, files if first else files[::-1], kind)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_other_depths_are_refused(tmp_path: Path, mode: str) -> None:
    content = saved(Image.new(mode, (6, 6)), "TIFF")
    with pytest.raises(DataError, match=r"has 32 bits for each channel"):
        load(tmp_path, [content] * 2, "TIFF")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_with_a_note(tmp_path: Path, kind: str) -> None:
    content = saved(Image.fromarray(pictures(1, side=8)[0]).convert("CMYK"), kind)
    images, development = load(tmp_path, [content] * 2, kind)
    assert torch.equal(images[0], chw(Image.open(io.BytesIO(content)).convert("RGB")))
    assert "4 of 4 images are CMYK" in development.notes[0]


def test_grey_images_among_colour_images_are_a_note(tmp_path: Path) -> None:
    grey, colour = pictures(1, channels=1)[0], pictures(1, seed=1)[0]
    images, development = load(tmp_path, [encoded(grey), encoded(colour), encoded(colour)])
    assert torch.equal(images[0], torch.from_numpy(grey.transpose(2, 0, 1)).expand(3, 6, 6))
    assert torch.equal(images[1], torch.from_numpy(colour.transpose(2, 0, 1)))
    assert "2 of 6 images are grey; they are read in colour" in development.notes[0]


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_the_first_frame_is_used_with_a_note(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(image).quantize(64).convert("RGB") for image in pictures(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    single = saved(frames[1], kind, **options)
    images, development = load(tmp_path, [content, single, content], kind)
    assert torch.equal(images[0], chw(Image.open(io.BytesIO(content)).convert("RGB")))
    if kind != "GIF":  # a GIF's palette may change colours
        assert torch.equal(images[0], chw(frames[0]))
    assert "4 of 6 images have more than one frame or page; only the first is used" in development.notes[0]


def test_a_turned_animation_is_both(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    frames = [Image.fromarray(image) for image in pictures(2)]
    content = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], exif=exif, lossless=True)
    images, development = load(tmp_path, [content] * 2, "WEBP")
    assert torch.equal(images[0], chw(frames[0].rotate(180)))
    assert [note.split(" images ")[1][:10] for note in development.notes] == ["are stored", "have more "]


def test_the_second_picture_of_a_camera_is_no_note(tmp_path: Path) -> None:
    frames = [Image.fromarray(image) for image in pictures(2)]
    content = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    _, development = load(tmp_path, [content] * 2, "MPO")
    assert development.notes == ()


@pytest.mark.parametrize(("kind", "channels"), [("PNG", 1), ("PNG", 3), ("JPEG", 1), ("JPEG", 3)])
def test_ordinary_images_are_what_pillow_decodes(tmp_path: Path, kind: str, channels: int) -> None:
    files = [encoded(image, kind) for image in pictures(4, side=16, channels=channels)]
    images, development = load(tmp_path, files, kind)
    assert torch.equal(images, torch.stack([chw(Image.open(io.BytesIO(content))) for content in files]))
    assert development.notes == ()


def split(folder: Path, name: str, contents: list[bytes]) -> str:
    for number, content in enumerate(contents):
        path = folder / name / str(number % 2) / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(folder / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png16(2, 3), "has 16 bits for each channel"),
        (saved(glyph(255)), "is transparent, and on a white background it is an empty image"),
        (encoded(pictures(1, side=7)[0]), "has 7 x 7 pixels, and the first training image 8 x 8"),
        (encoded(pictures(1, side=8)[0])[:-60], "is a damaged image"),
    ],
)
def test_a_test_image_that_cannot_be_used_is_found_at_the_start(
    tmp_path: Path, content: bytes, words: str
) -> None:
    train = split(tmp_path, "train", [encoded(image) for image in pictures(4, side=8)])
    test = split(tmp_path, "test", [encoded(pictures(1, side=8)[0]), content])
    with pytest.raises(DataError, match=rf"test/1/001\.png {words}"):
        check_test(DataSettings(name="image_folder", train=train, test=test))


def test_what_is_done_with_test_images_is_a_note(tmp_path: Path) -> None:
    train = split(tmp_path, "train", [encoded(image) for image in pictures(4, side=8, channels=1)])
    test = split(tmp_path, "test", [encoded(pictures(1, side=8)[0]), saved(glyph(0))])
    transparent, colour = check_test(DataSettings(name="image_folder", train=train, test=test))
    assert "1 of 2 images are transparent" in transparent
    assert "test/1/001.png" in transparent
    assert "2 of 2 images are in colour; they are read in grey, as the training images are" in colour
