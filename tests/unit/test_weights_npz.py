"""Kernels of NumPy's archives: told by name, read one by one, never larger than the file can hold."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import joblib
import ml_dtypes
import numpy as np
import pytest

from regulens.errors import DataError
from regulens.npz import packed_arrays
from regulens.weights.files import read_kernels

CHANCE = np.random.default_rng(0)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_kernels(path)
    return str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_layouts_are_told_by_name_and_the_order_is_the_files(tmp_path: Path, save: Any) -> None:
    arrays = {
        "params/Conv_1/kernel": CHANCE.normal(size=(3, 2, 4, 5)).astype(np.float32),
        "params/Conv_1/bias": np.arange(5.0),
        "features.0.weight": CHANCE.normal(size=(4, 3, 2, 2)).astype(np.float16),
        "line/kernel:0": CHANCE.normal(size=(7, 2, 5)),
        "half/kernel": CHANCE.normal(size=(1, 1, 2, 3)).astype(ml_dtypes.bfloat16),
        "dense/kernel": np.ones((4, 4)),
    }
    save(tmp_path / "w.npz", **arrays)
    found = read_kernels(tmp_path / "w.npz")
    assert (found.kind, found.notes) == ("NumPy", ())
    assert [(layer.layer, layer.shape, layer.spatial, len(layer.bias)) for layer in found.kernels] == [
        ("params/Conv_1", "3x2x4x5", 2, 5),
        ("features.0", "2x2x3x4", 2, 0),
        ("line", "7x2x5", 1, 0),
        ("half", "1x1x2x3", 2, 0),
    ]
    turned = [arrays["params/Conv_1/kernel"].transpose(3, 2, 0, 1), arrays["features.0.weight"]]
    turned += [arrays["line/kernel:0"].transpose(2, 1, 0)[:, :, None], arrays["half/kernel"].transpose(3, 2, 0, 1)]
    for layer, weight in zip(found.kernels, turned, strict=True):
        np.testing.assert_array_equal(layer.weight, weight.astype(np.float32))


def test_arrays_in_fortrans_order_and_big_endian_ones_are_turned(tmp_path: Path) -> None:
    weight = CHANCE.normal(size=(2, 3, 4, 5))
    np.savez(tmp_path / "w.npz", **{"a.weight": np.asfortranarray(weight), "b.weight": weight.astype(">f8")})
    for layer in read_kernels(tmp_path / "w.npz").kernels:
        np.testing.assert_array_equal(layer.weight, weight.astype(np.float32))


def test_a_normalized_weight_is_resolved(tmp_path: Path) -> None:
    direction, length = CHANCE.normal(size=(2, 3, 4, 4)), np.array([2.0, 3.0]).reshape(2, 1, 1, 1)
    np.savez(tmp_path / "w.npz", **{"c.weight_g": length, "c.weight_v": direction})
    [layer] = read_kernels(tmp_path / "w.npz").kernels
    np.testing.assert_allclose(np.linalg.norm(layer.weight.reshape(2, -1), axis=1), [2, 3], rtol=1e-6)


def test_what_is_left_out_is_named_with_its_shape(tmp_path: Path) -> None:
    stored = {
        "arr_0": np.ones((3, 3, 1, 2)),
        "c.weight": np.ones((1, 1, 2, 2)),
        "i.weight": np.ones((1, 1, 2, 2), int),
        "things.weight": np.full((1, 1, 2, 2), {}, object),
    }
    np.savez(tmp_path / "w.npz", **stored)
    assert read_kernels(tmp_path / "w.npz").notes == (
        'left out, not named "weight" or "kernel": arr_0 (3 x 3 x 1 x 2)',
        "left out, not stored as real numbers (quantized?): i.weight",
        "left out, an array of objects: things.weight",
    )


def archive_of(path: Path, header: dict[str, Any], content: bytes = b"", magic: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive, archive.open("c.weight.npy", "w") as stream:
        if magic:
            stream.write(magic)
        else:
            np.lib.format.write_array_header_1_0(stream, header)
        stream.write(content)
    return path


@pytest.mark.parametrize("shape", [(2**40, 1, 3, 3), (1, 1, 2, 3), (-1, 1, -4, 1), (1, 1, 1, 1)])
def test_a_header_that_announces_another_size_than_is_stored_is_refused(tmp_path: Path, shape: Any) -> None:
    archive_of(tmp_path / "w.npz", {"descr": "<f4", "fortran_order": False, "shape": shape}, bytes(16))
    refusal(tmp_path / "w.npz")


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    archive_of(tmp_path / "w.npz", {}, b" " * 1000, magic=b"\x93NUMPY\x02\x00\xff\xff\xff\x7f")
    assert "'c.weight.npy' has a header of a version that is not read" in refusal(tmp_path / "w.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_archive_is_refused(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "w.npz", "w", compression) as archive, archive.open("c.weight.npy", "w") as stream:
        np.save(stream, CHANCE.normal(size=(8, 8, 3, 3)))
    content = (tmp_path / "w.npz").read_bytes()
    for place in range(40, len(content) - 200, 97):
        (tmp_path / "w.npz").write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        refusal(tmp_path / "w.npz")


def test_arrays_come_back_as_they_were_saved(tmp_path: Path) -> None:
    saved = {"a": np.arange(6).reshape(2, 3), "none": np.ones((0, 2)), "one": np.array(3.5), "text": np.array(["ab"])}
    np.savez_compressed(tmp_path / "w.npz", **saved)
    with packed_arrays(tmp_path / "w.npz") as arrays:
        for name, array in arrays.items():
            np.testing.assert_array_equal(array.read(), saved[name])
            assert array.read().flags.writeable
            assert array.bytes == saved[name].nbytes


def test_a_lone_array_a_tar_and_joblibs_arrays_are_named_for_what_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.ones((3, 3, 1, 2)))
    assert "is one NumPy array without a name" in refusal(tmp_path / "w.npy")
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        archive.add(tmp_path / "w.npy", "storages")
    assert "is a tar archive" in refusal(tmp_path / "w.tar")
    joblib.dump({"c.weight": np.ones((1, 1, 3, 3))}, tmp_path / "w.joblib")
    assert "has joblib's arrays between its pickles" in refusal(tmp_path / "w.joblib")


def test_a_dictionary_in_one_array_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", {"conv.weight": np.zeros((1, 1, 3, 3))}, allow_pickle=True)
    assert "holds Python objects, as numpy.save writes of a dictionary" in refusal(tmp_path / "w.npy")
