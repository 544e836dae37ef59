import bz2
import gzip
import hashlib
import itertools
import lzma
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from regulens.data.formats import MAX_BYTES, read_bounded, read_idx
from regulens.errors import DataError

Pixels = NDArray[np.uint8]
Compress = Callable[[bytes], bytes]

COMPRESSIONS: dict[str, Compress] = {
    "plain": bytes,
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
IMAGES = arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
every_compression = pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
every_real_compression = pytest.mark.parametrize(
    "compress", [COMPRESSIONS[name] for name in ("gzip", "xz", "bzip2")], ids=["gzip", "xz", "bzip2"]
)


def idx(pixels: Pixels) -> bytes:
    header = struct.pack(">HBB", 0, 8, pixels.ndim) + struct.pack(f">{pixels.ndim}I", *pixels.shape)
    return header + pixels.tobytes()


def header_length(pixels: Pixels) -> int:
    return 4 + 4 * pixels.ndim


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, written anew by every example."""
    return tmp_path_factory.mktemp("idx") / "images"


def refusal(path: Path, content: bytes, shape: tuple[int, ...], sha256: str | None = None) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path, shape, sha256)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@every_compression
@given(pixels=IMAGES)
@settings(deadline=None, max_examples=25)
def test_a_valid_file_comes_back_as_its_pixels(path: Path, compress: Compress, pixels: Pixels) -> None:
    path.write_bytes(compress(idx(pixels)))
    for sha256 in (None, hashlib.sha256(idx(pixels)).hexdigest()):
        found = read_idx(path, pixels.shape, sha256)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels, strict=True)
        assert not found.flags.writeable


@every_compression
@given(pixels=IMAGES, data=st.data())
@settings(deadline=None, max_examples=25)
def test_every_change_of_a_header_byte_is_refused(
    path: Path, compress: Compress, pixels: Pixels, data: st.DataObject
) -> None:
    content = bytearray(idx(pixels))
    place = data.draw(st.integers(0, header_length(pixels) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    refusal(path, compress(bytes(content)), pixels.shape)


Change = Callable[[bytes, st.DataObject], bytes]


def flip(content: bytes, data: st.DataObject) -> bytes:
    place = data.draw(st.integers(0, len(content) - 1))
    return content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]


def cut_out(content: bytes, data: st.DataObject) -> bytes:
    start = data.draw(st.integers(0, len(content) - 1))
    return content[:start] + content[data.draw(st.integers(start + 1, len(content))) :]


def insert(content: bytes, data: st.DataObject) -> bytes:
    place = data.draw(st.integers(0, len(content) - 1))
    return content[:place] + data.draw(st.binary(min_size=1, max_size=20)) + content[place:]


def behead(content: bytes, data: st.DataObject) -> bytes:
    return content[data.draw(st.integers(1, len(content))) :]


def truncate(content: bytes, data: st.DataObject) -> bytes:
    return content[: data.draw(st.integers(0, len(content) - 1))]


def append(content: bytes, data: st.DataObject) -> bytes:
    return content + data.draw(st.binary(min_size=1, max_size=20))


def append_other_than_padding(content: bytes, data: st.DataObject) -> bytes:
    return content + data.draw(st.binary(min_size=1, max_size=20).filter(any))


@pytest.mark.parametrize("change", [cut_out, insert, append])
@every_compression
@given(pixels=IMAGES, data=st.data())
@settings(deadline=None, max_examples=25)
def test_every_change_of_length_is_refused(
    path: Path, compress: Compress, change: Change, pixels: Pixels, data: st.DataObject
) -> None:
    refusal(path, compress(change(idx(pixels), data)), pixels.shape)


@pytest.mark.parametrize("change", [behead, truncate, append_other_than_padding])
@every_real_compression
@given(pixels=IMAGES, data=st.data())
@settings(deadline=None, max_examples=40)
def test_a_compressed_stream_cut_off_or_extended_is_refused(
    path: Path, compress: Compress, change: Change, pixels: Pixels, data: st.DataObject
) -> None:
    refusal(path, change(compress(idx(pixels)), data), pixels.shape)


@pytest.mark.parametrize("change", [flip, cut_out, insert])
@every_real_compression
@given(pixels=IMAGES, data=st.data())
@settings(deadline=None, max_examples=40)
def test_damage_within_a_compressed_stream_never_changes_pixels_unnoticed(
    path: Path, compress: Compress, change: Change, pixels: Pixels, data: st.DataObject
) -> None:
    path.write_bytes(change(compress(idx(pixels)), data))
    try:
        found = read_idx(path, pixels.shape)
    except DataError:
        return
    np.testing.assert_array_equal(found, pixels, strict=True)  # a time stamp or a redundant code was hit


@every_compression
@given(pixels=IMAGES, data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_changed_pixel_is_caught_by_the_checksum(
    path: Path, compress: Compress, pixels: Pixels, data: st.DataObject
) -> None:
    sha256 = hashlib.sha256(idx(pixels)).hexdigest()
    changed = pixels.copy()
    changed.flat[data.draw(st.integers(0, pixels.size - 1))] ^= data.draw(st.integers(1, 255))
    assert "checksum differs" in refusal(path, compress(idx(changed)), pixels.shape, sha256)


def test_different_mistakes_have_different_messages(path: Path) -> None:
    good = idx(np.zeros((2, 3), np.uint8))
    mistakes = {
        "not an IDX file": b"\x01" + good[1:],
        "IDX type 0x0d": good[:2] + b"\x0d" + good[3:],
        "has 3 dimensions, expected 2": good[:3] + b"\x03" + good[4:],
        "announces shape (2, 4), expected (2, 3)": good[:11] + b"\x04" + good[12:],
        "is cut off within its header: 7 of 12 bytes": good[:7],
        "is cut off: 15 of 18 bytes": good[:15],
        "holds more than the 18 bytes expected": good + b"\x00",
        "cannot be decompressed": gzip.compress(good)[:-3],
        "checksum differs": good[:-1] + b"\x01",
    }
    messages = {
        kind: refusal(path, content, (2, 3), hashlib.sha256(good).hexdigest()) for kind, content in mistakes.items()
    }
    for kind, other in itertools.product(mistakes, mistakes):
        assert (kind in messages[other]) == (kind == other)


def test_the_compression_is_told_from_the_content_not_the_name(tmp_path: Path) -> None:
    pixels = np.arange(6, dtype=np.uint8)
    misnamed = tmp_path / "labels.gz"
    misnamed.write_bytes(lzma.compress(idx(pixels)))
    np.testing.assert_array_equal(read_idx(misnamed, (6,)), pixels)


@every_real_compression
@given(pixels=IMAGES, data=st.data())
@settings(deadline=None, max_examples=25)
def test_several_streams_and_padding_are_read_as_one_content(
    path: Path, compress: Compress, pixels: Pixels, data: st.DataObject
) -> None:
    content = idx(pixels)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    parts = [content[start:end] for start, end in itertools.pairwise([0, *cuts, len(content)])]
    zeros = data.draw(st.sampled_from([b"", bytes(1), bytes(4), bytes(70_000)]))
    path.write_bytes(zeros.join(map(compress, parts)) + zeros)
    sha256 = hashlib.sha256(content).hexdigest()
    np.testing.assert_array_equal(read_idx(path, pixels.shape, sha256), pixels, strict=True)


@every_real_compression
def test_what_follows_the_last_stream_is_refused_unless_it_is_one_more(path: Path, compress: Compress) -> None:
    pixels = np.arange(200, dtype=np.uint8)
    good = compress(idx(pixels))
    for behind in (b"#", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", bytes(9) + b"#"):
        message = refusal(path, good + behind, pixels.shape)
        assert "goes on after the end" in message or "cut off" in message or "cannot be decompressed" in message
    assert "holds more than the 208 bytes" in refusal(path, good + compress(b"1"), pixels.shape)
    assert "goes on after the end" in refusal(path, good + b"#", pixels.shape)
    assert "cut off" in refusal(path, good + compress(b"")[:-3], pixels.shape)


def test_streams_that_hold_nothing_do_not_take_long(path: Path) -> None:
    pixels = np.arange(6, dtype=np.uint8)
    path.write_bytes(gzip.compress(idx(pixels)) + gzip.compress(b"") * 10_000)
    np.testing.assert_array_equal(read_idx(path, (6,)), pixels)


BOMB_BYTES = 50_000_000


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        lambda content: lzma.compress(content, preset=0),
        lambda content: bz2.compress(content, compresslevel=1),
    ],
    ids=["gzip", "xz", "bzip2"],
)
def test_a_decompression_bomb_is_refused_before_it_unfolds(tmp_path: Path, compress: Compress) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(compress(idx(np.zeros((2, 3), np.uint8)) + bytes(BOMB_BYTES)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="holds more than the 18 bytes expected"):
            read_idx(bomb, (2, 3))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < BOMB_BYTES / 10


def test_a_shape_beyond_the_limit_is_refused_without_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"beyond the {MAX_BYTES:,} that are ever read"):
        read_idx(tmp_path / "never opened", (2**20, 2**20))


@every_compression
def test_read_bounded_returns_up_to_its_limit_and_no_more(path: Path, compress: Compress) -> None:
    path.write_bytes(compress(b"12345"))
    assert read_bounded(path, 5) == read_bounded(path, 6) == b"12345"
    with pytest.raises(DataError, match="holds more than the 4 bytes expected"):
        read_bounded(path, 4)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "labels"
    with pytest.raises(DataError) as caught:
        read_idx(missing, (1,))
    assert str(caught.value) == f"{missing}: cannot be read (No such file or directory)"


def test_a_directory_is_not_read_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_idx(tmp_path, (1,))
    assert str(caught.value) == f"{tmp_path}: cannot be read (Is a directory)"


def test_an_empty_file_is_cut_off(path: Path) -> None:
    assert "is cut off within its header: 0 of 8 bytes" in refusal(path, b"", (1,))
