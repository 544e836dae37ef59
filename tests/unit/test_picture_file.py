"""Pictures as people have them: every kind is read with a note of what was done, or refused in one line."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps, features

from regulens.data.picture_file import FORMATS, read_picture
from regulens.errors import DataError, UserError

SHAPE = (8, 8, 1)


def ramp(mode: str = "L") -> Image.Image:
    """Return an 8x8 picture that no turn leaves as it is."""
    return Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).convert(mode)


def read(path: Path, shape: tuple[int, int, int] = SHAPE) -> tuple[Any, tuple[str, ...]]:
    pixels, notes = read_picture(path, shape)
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8
    return pixels[..., 0] if shape[2] == 1 else pixels, notes


def refusal(path: Path) -> str:
    """Return why a file is refused; nothing if it is read."""
    try:
        read(path)
    except DataError as error:
        return str(error)
    return ""


def refused(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_picture(path, SHAPE)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png(color: int, values: int) -> bytes:
    """Return a 4x4 PNG of 16 bits per value, each the same byte twice."""
    rows = np.arange(16 * values, dtype=np.uint8).reshape(4, 4 * values).repeat(2, axis=1)
    header = struct.pack(">IIBBBBB", 4, 4, 16, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def odd_tag(orientation: int) -> bytes:
    """Return EXIF data with an orientation and a negative resolution, which Pillow reads and cannot write again."""
    resolution = struct.pack("<HHII", 0x011A, 10, 1, 38)
    turning = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 2) + turning + resolution + struct.pack("<Iii", 0, -72, 1)


def with_exif(path: Path, exif: bytes) -> None:
    ramp().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + chunk(b"eXIf", exif) + whole[33:])  # behind the header


# what is read, and what is said of it


def test_a_picture_of_the_right_shape_is_read_as_it_is(tmp_path: Path) -> None:
    ramp().save(tmp_path / "a.png")
    pixels, notes = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.asarray(ramp()))
    assert notes == ()


def test_size_and_colors_are_changed_with_a_note(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "a.png")
    pixels, notes = read(tmp_path / "a.png", (8, 6, 1))
    assert set(pixels.ravel().tolist()) == {76}  # 0.299 of 255, ITU-R 601
    assert notes == ("converted from 10x20 to 8x6 (height x width), RGB to gray",)
    colored, _ = read(tmp_path / "a.png", (4, 4, 3))
    assert colored[0, 0].tolist() == [255, 0, 0]


ENDINGS = ["a.png", "a.jpg", "a.gif", "a.bmp", "a.tif", "a.webp", "a.ppm", "a.jp2"]


@pytest.mark.parametrize("name", [*ENDINGS, *(["a.avif"] if features.check("avif") else [])])
def test_every_listed_format_is_read_whatever_the_name(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (90, 90, 90)).save(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "picture")
    pixels, _ = read(tmp_path / "picture")
    np.testing.assert_allclose(pixels, 90, atol=2)


@pytest.mark.parametrize(
    ("mode", "note"),
    [
        ("1", "1 (1 bit per pixel) to gray"),
        ("P", "P (palette) to gray"),
        ("CMYK", "CMYK to gray"),
        ("LA", "LA (gray with alpha) to gray"),
        ("RGBA", "RGBA to gray"),
    ],
)
def test_every_mode_is_named(mode: str, note: str, tmp_path: Path) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.new("L", (8, 8), 255).convert(mode).save(tmp_path / name)
    pixels, notes = read(tmp_path / name)
    assert pixels.min() >= 254
    assert notes == (f"converted from {note}",)


@pytest.mark.parametrize(("name", "frames"), [("a.gif", 3), ("a.png", 3), ("a.tif", 3), ("a.webp", 3), ("a.mpo", 3)])
def test_the_first_of_several_frames_is_read_and_counted(name: str, frames: int, tmp_path: Path) -> None:
    first, *others = [Image.new("RGB", (8, 8), (level,) * 3) for level in (40, 120, 200)]
    first.save(tmp_path / name, save_all=True, append_images=others)
    pixels, notes = read(tmp_path / name)
    np.testing.assert_allclose(pixels, 40, atol=3)
    assert notes[0] == f"frame 1 of {frames}"


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.gif"])
def test_what_is_transparent_is_put_on_black_and_counted(name: str, tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[:2, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / name)
    found, notes = read(tmp_path / name)
    assert not found[:2].any()
    assert found[2:].min() >= 250
    assert "put on black where it is transparent (25.0 % of its pixels)" in notes


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize(
    ("orientation", "upright", "words"),
    [
        (2, np.fliplr, "mirrored, as"),
        (3, lambda each: np.rot90(each, 2), "turned by 180°"),
        (4, np.flipud, "flipped upside down"),
        (5, np.transpose, "mirrored and turned by 90° to the left"),
        (6, lambda each: np.rot90(each, -1), "turned by 90° to the right"),
        (7, lambda each: np.rot90(each, 2).T, "mirrored and turned by 90° to the right"),
        (8, np.rot90, "turned by 90° to the left"),
    ],
)
def test_a_picture_is_turned_as_its_camera_says(
    orientation: int, upright: Callable[[Any], Any], words: str, name: str, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"tiffinfo": {274: orientation}} if name == "a.tif" else {"exif": exif}
    ramp().save(tmp_path / name, quality=100, **options)
    pixels, notes = read(tmp_path / name)
    np.testing.assert_allclose(pixels, upright(np.asarray(ramp())), atol=12)
    assert notes[0].startswith(words)
    assert notes[0].endswith(f"as its EXIF orientation {orientation} says")


@pytest.mark.parametrize("orientation", [0, 1, 9, 77])
def test_an_orientation_that_is_none_turns_nothing(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp().save(tmp_path / "a.png", exif=exif)
    pixels, notes = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.asarray(ramp()))
    assert notes == ()


def test_a_tag_that_cannot_be_written_again_does_not_matter(tmp_path: Path) -> None:
    with_exif(tmp_path / "a.png", odd_tag(6))
    with Image.open(tmp_path / "a.png") as picture, pytest.raises(struct.error):
        ImageOps.exif_transpose(picture)
    pixels, notes = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.rot90(np.asarray(ramp()), -1))
    assert notes == ("turned by 90° to the right, as its EXIF orientation 6 says",)


@pytest.mark.parametrize("exif", [b"", b"nonsense", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_tags_that_cannot_be_read_do_not_matter(exif: bytes, tmp_path: Path) -> None:
    with_exif(tmp_path / "a.png", exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0], np.asarray(ramp()))


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), None),
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes(), "its color profile (XYZ "),
        (b"nonsense", "its color profile (one that cannot be read) not applied"),
    ],
)
def test_a_color_profile_that_is_not_applied_is_named(profile: bytes, note: str | None, tmp_path: Path) -> None:
    ramp("RGB").save(tmp_path / "a.png", icc_profile=profile)
    _, notes = read(tmp_path / "a.png", (8, 8, 3))
    assert [each.startswith(note or "-") for each in notes] == ([True] if note else [])


@pytest.mark.parametrize(("color", "values"), [(2, 3), (6, 4), (4, 2)])
def test_colors_of_16_bits_are_cut_to_8_and_that_is_said(color: int, values: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(deep_png(color, values))
    assert read(tmp_path / "a.png")[1][0] == "its values of more than 8 bits cut to 8"
    (tmp_path / "a.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(range(24)))
    assert read(tmp_path / "a.ppm")[1][0] == "its values of more than 8 bits cut to 8"


# what is refused


def test_gray_of_more_than_8_bits_is_refused(tmp_path: Path) -> None:
    for name, pixels in {"a.png": np.uint16, "a.tif": np.float32, "b.tif": np.int32}.items():
        Image.fromarray(np.zeros((4, 4), pixels)).save(tmp_path / name)
        refused(tmp_path / name, "more than 8 bits")


@pytest.mark.parametrize("name", ["a.eps", "a.pdf", "a.ico", "a.tga", "a.pcx", "a.sgi", "a.dds"])
def test_other_formats_are_not_opened_whatever_their_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / name)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)  # nothing is decoded, no program is started
    (tmp_path / name).rename(tmp_path / "a.png")
    refused(tmp_path / "a.png", "is not a picture that can be read", "save it as PNG", "TIFF, WEBP")


def test_the_formats_hold_pixels_alone() -> None:
    Image.init()
    assert set(FORMATS) <= {*Image.OPEN, "AVIF", "MPO"}  # an MPO is opened as a JPEG
    assert not {"EPS", "PDF", "WMF", "FITS", "HDF5", "GRIB", "BUFR", "PSD", "FPX", "MIC"} & set(FORMATS)


@pytest.mark.parametrize(
    "error",
    [
        struct.error("argument out of range"),
        RuntimeError("two\nlines"),
        TypeError(""),
        NotImplementedError("not yet"),
        zlib.error("Error -3"),
        EOFError(),
        KeyError("mode"),
        AttributeError("x"),
        IndexError("y"),
        ZeroDivisionError("z"),
        OverflowError("w"),
        RecursionError("deep"),
        AssertionError(),
        SyntaxError("broken PNG file"),
        OSError(5, "Input/output error"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        MemoryError(),
        Image.DecompressionBombError("Image size exceeds limit"),
    ],
)
def test_every_error_of_pillow_is_one_line(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise error

    ramp().save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fails)
    refused(tmp_path / "a.png")


def test_ctrl_c_is_no_error_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    ramp().save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", stopped)
    with pytest.raises(KeyboardInterrupt):
        read_picture(tmp_path / "a.png", SHAPE)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.tif", "a.webp", "a.ppm", "a.jp2"])
def test_damaged_files_are_read_or_refused_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    ramp("RGB").save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(40):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if number % 4 == 0 else whole)
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        if words := refusal(path):
            assert words.startswith(f"{path}: ")
            assert "\n" not in words
    assert capfd.readouterr() == ("", "")


def test_what_libtiff_says_of_a_file_is_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ramp("1").save(tmp_path / "a.tif", compression="group4")
    damaged = bytearray((tmp_path / "a.tif").read_bytes())
    damaged[8:12] = b"\xff\x00\xff\x01"
    (tmp_path / "a.tif").write_bytes(damaged)
    refusal(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in {
        "text.png": "is not a picture",
        "empty.png": "is empty",
        "folder.png": "is a folder",
        "pipe.png": "is not a regular file",
        "none.png": "there is no such file",
    }.items():
        refused(tmp_path / name, words)
    with pytest.raises(UserError, match="2 channels"):
        read_picture(tmp_path / "text.png", (8, 8, 2))


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    ramp().save(tmp_path / "a.png")
    sound = (tmp_path / "a.png").read_bytes()
    first = sound.index(b"IDAT") + 4
    for place in range(first, sound.index(b"IEND") - 4):
        (tmp_path / "a.png").write_bytes(sound[:place] + bytes([sound[place] ^ 16]) + sound[place + 1 :])
        refused(tmp_path / "a.png", "checksum")


@pytest.mark.parametrize("limit", [50, 10])
def test_a_picture_that_would_take_all_memory_is_refused(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    ramp().save(tmp_path / "large.png")
    refused(tmp_path / "large.png", "too large a picture")
