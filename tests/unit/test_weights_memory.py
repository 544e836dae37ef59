"""Weights stay in their file: reading and counting a layer takes a part of its size, and gives the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from regulens.errors import DataError
from regulens.interpret.kernel_summary import summarize
from regulens.weights import hdf5, lazy
from regulens.weights.files import read_kernels
from regulens.weights.kernels import ConvKernels
from regulens.weights.lazy import Spill, blocks, chosen
from regulens.weights.onnx_aside import Aside

LARGE = (640, 4096, 3, 3)
MEBIBYTES = 90
_PEAK = """
import sys
from regulens.figures.kernels import kernels_info
from regulens.interpret.kernel_summary import summarize
from regulens.weights.files import read_kernels

def peak():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024

before = peak()
for path in sys.argv[1:]:
    [layer] = read_kernels(path).kernels
    summarize(layer), kernels_info(layer, "signed", "")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="tells a process' peak on Linux alone")
def test_reading_counting_and_tiling_a_large_layer_takes_less_than_its_size(tmp_path: Path) -> None:
    layer = {"c.weight": torch.zeros(LARGE)}
    torch.save(layer, tmp_path / "zip.pt")
    save_file(layer, tmp_path / "c.safetensors")
    np.savez(tmp_path / "c.npz", **{"c.weight": layer["c.weight"].numpy()})
    with h5py.File(tmp_path / "c.weights.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", data=np.zeros(LARGE[::-1], np.float32))
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", _PEAK, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 0.8 * MEBIBYTES


CHANGES: dict[str, Callable[[Path], None]] = {
    "vanished": Path.unlink,
    "cut off": lambda path: os.truncate(path, 100),
    "other": lambda path: path.write_bytes(bytes(path.stat().st_size + 1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_changes_before_a_layer_is_read_is_refused_in_a_line(
    tmp_path: Path, suffix: str, change: Callable[[Path], None]
) -> None:
    path = tmp_path / f"w.{suffix}"
    (torch.save if suffix == "pt" else save_file)({"c.weight": torch.ones(2, 1, 3, 3)}, path)
    [layer] = read_kernels(path).kernels
    change(path)
    with pytest.raises(DataError, match=r"w\.\w+: has changed or vanished while it was read; read it again$"):
        _ = layer.weight
    with pytest.raises(DataError, match="has changed or vanished"):
        summarize(layer)


@pytest.mark.parametrize("suffix", ["npz", "weights.h5"])
def test_what_was_unpacked_does_not_need_its_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"c.{suffix}"
    kernel = np.arange(54, dtype=np.float32).reshape(3, 3, 2, 3)
    if suffix == "npz":
        np.savez_compressed(path, **{"c/kernel": kernel})
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/conv2d/vars/0", data=kernel, chunks=(2, 2, 1, 2), compression="gzip")
    [layer] = read_kernels(path).kernels
    path.unlink()
    np.testing.assert_array_equal(layer.weight, kernel.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64, np.int8])
@pytest.mark.parametrize("constant", [False, True])
def test_large_tensors_of_onnx_are_read_where_they_lie(tmp_path: Path, kind: type, constant: bool) -> None:
    values = np.arange(-40, 40).repeat(72).astype(kind).reshape(80, 8, 3, 3)
    tensor = numpy_helper.from_array(values, "w")
    nodes = [helper.make_node("Conv", ["x", "real"], ["y"], name="c")]
    nodes[:0] = (
        [helper.make_node("Cast", ["w"], ["real"], to=TensorProto.FLOAT)]
        if kind != np.int8
        else [helper.make_node("DequantizeLinear", ["w", "s"], ["real"])]
    )
    nodes[:0] = [helper.make_node("Constant", [], ["w"], value=tensor)] if constant else []
    scale = numpy_helper.from_array(np.float32(0.5), "s")
    graph = helper.make_graph(nodes, "g", [], [], [scale] if constant else [tensor, scale])
    onnx.save(helper.make_model(graph), tmp_path / "w.onnx")
    assert values.tobytes() not in Aside(tmp_path / "w.onnx").model()
    [layer] = read_kernels(tmp_path / "w.onnx").kernels
    np.testing.assert_array_equal(layer.weight, values.astype(np.float32) * (0.5 if kind == np.int8 else 1))


def test_a_model_that_is_cut_off_is_left_as_it_is(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.ones((80, 8, 3, 3), np.float32), "w")
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [], [], [tensor])
    content = helper.make_model(graph).SerializeToString()
    for length in (1, 10, 100, 5000):
        (tmp_path / "w.onnx").write_bytes(content[:length])
        assert Aside(tmp_path / "w.onnx").model() == content[:length]


def _computed() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    layers = {
        "weight": parametrizations.weight_norm(nn.Conv2d(6, 8, 3)),
        "norm1": parametrizations.weight_norm(nn.ConvTranspose2d(6, 8, 3), dim=1),
        "spectral": parametrizations.spectral_norm(nn.Conv2d(6, 8, 3)),
        "spectral1": parametrizations.spectral_norm(nn.ConvTranspose2d(6, 8, 3)),
        "pruned": prune.random_unstructured(nn.Conv2d(6, 8, 3), "weight", 0.5),
        "grouped": nn.ConvTranspose2d(6, 8, 3, groups=2),
    }
    return dict(nn.ModuleDict(layers).state_dict())


def test_numbers_read_in_small_blocks_are_those_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(_computed(), tmp_path / "w.pt")
    whole = [(layer.layer, layer.weight, summarize(layer)) for layer in read_kernels(tmp_path / "w.pt").kernels]
    assert len(whole) == 6
    for size in (1, 100, 1000):
        monkeypatch.setattr(lazy, "BLOCK", size)
        for (name, weight, summary), layer in zip(whole, read_kernels(tmp_path / "w.pt").kernels, strict=True):
            assert layer.layer == name
            np.testing.assert_allclose(layer.weight, weight, rtol=1e-5)
            other = summarize(layer)
            assert (other.zero_filters, other.not_finite) == (summary.zero_filters, summary.not_finite)
            assert (other.mean, other.sd, other.greatest) == pytest.approx(
                (summary.mean, summary.sd, summary.greatest), rel=1e-5
            )


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 0, 1), (1, 0, 2, 3)])
@pytest.mark.parametrize("size", [1, 50, 10**6])
def test_blocks_hold_each_weight_once_and_in_its_place(
    order: tuple[int, ...], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "BLOCK", size)
    weight = np.arange(5 * 4 * 3 * 2, dtype=np.float32).reshape(5, 4, 3, 2).transpose(order)
    kept = Spill().keep(np.ascontiguousarray(weight))
    for numbers in (weight, kept):
        found = np.full(weight.shape, np.nan, np.float32)
        for where, part in blocks(numbers):
            assert np.isnan(found[where]).all()
            found[where] = part
        np.testing.assert_array_equal(found, weight)
    picked = np.array([1, 0])
    np.testing.assert_array_equal(chosen(kept, picked, picked[:1]), weight[np.ix_(picked, picked[:1])])


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1), (2, 2, 3, 1), (5, 4, 3, 2)])
def test_the_parts_of_an_hdf5_array_hold_each_number_once_and_whole_chunks(
    chunks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "BLOCK", 4 * 6)
    counts = np.zeros((5, 4, 3, 2), int)
    for part in hdf5._parts(counts.shape, chunks):
        assert all(cut.start % chunk == 0 for cut, chunk in zip(part, chunks, strict=True))
        counts[part] += 1
    assert (counts == 1).all()


def test_a_layer_in_memory_is_not_copied() -> None:
    weight = np.ones((2, 1, 3, 3), np.float32)
    assert ConvKernels("c", weight, np.zeros(0, np.float32)).weight is weight


def test_a_disk_without_room_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(DataError, match=r"no room for 72 bytes of weights \(No space left on device\); set TMPDIR"):
        Spill().keep(np.ones((2, 1, 3, 3), np.float32))
