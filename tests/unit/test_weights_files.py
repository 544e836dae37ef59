"""Kernels of anybody's weights files: read by content, laid out as torch does, and hostile files refused in a line."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from weights_read import refusal, shapes

from regulens.api import Study
from regulens.errors import UserError
from regulens.interpret.kernels import conv_kernels
from regulens.training.checkpoint import WEIGHTS, load_model
from regulens.weights import from_keras
from regulens.weights.files import read_kernels
from regulens.weights.kernels import EXPANSION, SLACK, ConvKernels

Array = NDArray[Any]


class Torchvision(nn.Module):
    """Named as torchvision's VGG is."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(3 if place == 0 else 4, 4, 3) for place in range(12)]
        self.features = nn.Sequential(*convolutions)
        self.classifier = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Torchvision().state_dict()


SAVERS: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
}
both_formats = pytest.mark.parametrize("save", SAVERS.values(), ids=SAVERS)


class TestTorch:
    @both_formats
    def test_a_torchvision_style_state_dict_is_read_as_it_is(
        self, tmp_path: Path, state: dict[str, torch.Tensor], save: Callable[[Any, Path], None]
    ) -> None:
        save(state, tmp_path / "weights.bin")  # told by content, not by suffix
        found = read_kernels(tmp_path / "weights.bin")
        assert found.kind == "PyTorch"
        assert found.notes == ()
        assert [layer.layer for layer in found.kernels] == [f"features.{place}" for place in range(12)]
        for layer in found.kernels:
            np.testing.assert_array_equal(layer.weight, state[f"{layer.layer}.weight"])
            np.testing.assert_array_equal(layer.bias, state[f"{layer.layer}.bias"])
            assert layer.weight.dtype == layer.bias.dtype == np.float32

    @both_formats
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg.weight": state}}}},
            lambda state: {"model": state, "args": {"lr": 0.1}},
            lambda state: {"model": {"state_dict": state}},
        ],
        ids=["Lightning", "model", "twice"],
    )
    def test_a_checkpoint_is_searched_for_its_state_dict(
        self, tmp_path: Path, state: dict[str, torch.Tensor], save: Callable[[Any, Path], None], wrap: Any
    ) -> None:
        save(wrap(state), tmp_path / "checkpoint.ckpt")
        assert len(read_kernels(tmp_path / "checkpoint.ckpt").kernels) == 12

    def test_grouped_depthwise_transposed_and_biasless_layers_have_torchs_layout(self, tmp_path: Path) -> None:
        layers = {
            "grouped": nn.Conv2d(4, 6, 3, groups=2),
            "depthwise": nn.Conv2d(4, 8, 3, groups=4, bias=False),
            "transposed": nn.ConvTranspose2d(4, 6, (2, 3)),
            "both": nn.ConvTranspose2d(4, 6, 2, groups=2),
        }
        torch.save(nn.ModuleDict(layers).state_dict(), tmp_path / "w.pt")
        assert shapes(tmp_path / "w.pt") == [
            ("grouped", "3x3x2x6", 6),
            ("depthwise", "3x3x1x8", 0),
            ("transposed", "2x3x4x6", 6),
            ("both", "2x2x2x6", 6),
        ]
        both = read_kernels(tmp_path / "w.pt").kernels[3].weight
        stored = layers["both"].weight.detach().numpy()  # (in, out / groups): channels 2 and 3 lead to filters 3 to 5
        np.testing.assert_array_equal(both[4], stored[2:, 1])

    def test_what_is_no_2d_convolution_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        state = {
            "conv.weight": torch.ones(2, 1, 3, 3, dtype=torch.float64),
            "line.weight": torch.ones(2, 1, 3),
            "cube.weight": torch.ones(2, 1, 3, 3, 3),
            "table": torch.ones(1, 2, 3, 4),
            "int8.weight": torch.ones(2, 1, 3, 3, dtype=torch.int8),
            "none.weight": torch.ones(0, 1, 3, 3),
            "sparse.weight": torch.ones(2, 1, 3, 3).to_sparse(),
        }
        torch.save(state, tmp_path / "w.pt")
        found = read_kernels(tmp_path / "w.pt")
        assert [(layer.layer, layer.spatial) for layer in found.kernels] == [("conv", 2), ("line", 1)]
        assert found.notes == (
            "left out, no 1D or 2D convolution (5 dimensions): cube.weight",
            'left out, not named "weight" or "kernel": table',
            "left out, not stored as real numbers (quantized?): int8.weight",
            "left out, empty: none.weight",
            "left out, stored as a sparse tensor: sparse.weight",
        )

    def test_only_the_convolutions_are_taken_into_memory(self, tmp_path: Path) -> None:
        state = {"dense.weight": torch.zeros(50_000_000), "conv.weight": torch.ones(2, 1, 3, 3)}
        torch.save(state, tmp_path / "w.pt")
        script = (
            "import resource, sys; from pathlib import Path; from regulens.weights.files import read_kernels\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "read_kernels(Path(sys.argv[1]))\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "w.pt")], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) * 1024 < 100e6  # of 200 MB

    @both_formats
    def test_code_in_a_pickle_is_named_and_not_run(self, tmp_path: Path, save: Callable[[Any, Path], None]) -> None:
        class Attack:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "ran"),)

        save({"conv.weight": torch.ones(1, 1, 3, 3), "extra": Attack()}, tmp_path / "w.pt")
        found = read_kernels(tmp_path / "w.pt")
        assert [layer.layer for layer in found.kernels] == ["conv"]
        assert [note.partition(".")[0] for note in found.notes] == [
            f"left out, code that its pickle asks for, which was not run: {os.mkdir.__module__}"
        ]
        assert not (tmp_path / "ran").exists()

    def test_a_pickle_without_tensors_says_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "w.pkl").write_bytes(pickle.dumps({"conv.weight": [1.0]}))
        assert "is a Python pickle that holds no tensors by name but dict" in refusal(tmp_path / "w.pkl")

    @pytest.mark.parametrize("content", [[1, 2], torch.ones(1, 1, 3, 3), 5], ids=["list", "tensor", "number"])
    def test_what_is_no_state_dict_is_refused(self, tmp_path: Path, content: Any) -> None:
        torch.save(content, tmp_path / "w.pt")
        assert "holds no state dict" in refusal(tmp_path / "w.pt")

    def test_a_tensor_that_repeats_one_number_without_end_is_refused(self, tmp_path: Path) -> None:
        endless = torch.ones(1).expand(10**6, 10**3, 3, 3)
        torch.save({"conv.weight": endless}, tmp_path / "w.pt")
        assert (tmp_path / "w.pt").stat().st_size < 10_000
        assert "announces 1,000,000 x 1,000 x 3 x 3 numbers for 'conv.weight'" in refusal(tmp_path / "w.pt")

    def test_one_tensor_under_many_names_is_bounded_in_all(self, tmp_path: Path) -> None:
        shared = torch.ones(1000, 1000, 1, 1)  # 4 MB
        times = (EXPANSION * 4_100_000 + SLACK) // 4_000_000 + 2
        torch.save({f"{place}.weight": shared for place in range(times)}, tmp_path / "w.pt")
        assert "far more than its" in refusal(tmp_path / "w.pt")

    def test_a_compressed_archive_is_refused(self, tmp_path: Path) -> None:
        torch.save({"conv.weight": torch.zeros(64, 64, 16, 16)}, tmp_path / "w.pt")
        with (
            zipfile.ZipFile(tmp_path / "w.pt") as source,
            zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
        ):
            for name in source.namelist():
                bomb.writestr(name, source.read(name))
        assert "is compressed within" in refusal(tmp_path / "bomb.pt")

    @both_formats
    @pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
    def test_a_file_that_is_cut_off_is_refused(
        self, tmp_path: Path, state: dict[str, torch.Tensor], save: Callable[[Any, Path], None], share: float
    ) -> None:
        save(state, tmp_path / "w.pt")
        content = (tmp_path / "w.pt").read_bytes()
        (tmp_path / "w.pt").write_bytes(content[: int(share * len(content))])
        assert refusal(tmp_path / "w.pt").startswith(f"{tmp_path / 'w.pt'}: ")


class TestSafetensors:
    def test_a_run_of_this_package_gives_the_kernels_of_its_network(self, finished: Study) -> None:
        path = next((finished.folder / "runs").glob(f"*/{WEIGHTS}"))
        ours = conv_kernels(load_model(path.parent))
        for layer, reference in zip(read_kernels(path).kernels, ours, strict=True):
            np.testing.assert_array_equal(layer.weight, reference.weight)
            np.testing.assert_array_equal(layer.bias, reference.bias)

    def test_layers_come_in_the_natural_order_of_their_names(
        self, tmp_path: Path, state: dict[str, torch.Tensor]
    ) -> None:
        save_file(state, tmp_path / "w.safetensors")
        assert [name for name, *_ in shapes(tmp_path / "w.safetensors")] == [f"features.{n}" for n in range(12)]

    def test_bfloat16_and_float16_are_widened(self, tmp_path: Path) -> None:
        values = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        save_file({"a.weight": values.bfloat16(), "b.weight": values.half()}, tmp_path / "w.safetensors")
        first, second = read_kernels(tmp_path / "w.safetensors").kernels
        np.testing.assert_array_equal(first.weight, values.bfloat16().float())
        np.testing.assert_array_equal(second.weight, values.half().float())

    def test_a_flax_kernel_is_turned(self, tmp_path: Path) -> None:
        kernel = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).float()
        save_file({"params/conv/kernel": kernel, "params/conv/bias": torch.ones(5)}, tmp_path / "w.safetensors")
        [layer] = read_kernels(tmp_path / "w.safetensors").kernels
        assert (layer.layer, layer.shape, len(layer.bias)) == ("params/conv", "2x3x4x5", 5)
        assert layer.weight[4, 3, 1, 2] == kernel[1, 2, 3, 4]

    @pytest.mark.parametrize(
        "header",
        [
            b'{"conv.weight":{"dtype":"F32","shape":[99999999,99999999,3,3],"data_offsets":[0,36]}}',
            b'{"conv.weight":{"dtype":"F32","shape":[1,1,3,3],"data_offsets":[0,36000000]}}',
            b'{"conv.weight":{"dtype":"F32","shape":[1,1,3,3],"data_offsets":[36,0]}}',
            b"{" * 5000,
            b'{"a": ' * 5000,
        ],
        ids=["shape", "offset", "backwards", "braces", "deep"],
    )
    def test_a_header_that_lies_is_refused(self, tmp_path: Path, header: bytes) -> None:
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(36))
        assert "cannot be read as safetensors" in refusal(tmp_path / "w.safetensors")


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    """A file of the form in which Keras 1 and 2 stored weights, as those of VGG16 still are."""
    path = tmp_path / "vgg16.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"input", b"block1_conv10", b"block1_conv2", b"dense"])
        for name, shape in (("block1_conv2", (3, 3, 4, 4)), ("block1_conv10", (3, 3, 3, 4))):
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()])
            group[f"{name}_W_1:0"] = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            group[f"{name}_b_1:0"] = np.zeros(4, np.float32)
        file.create_group("input").attrs["weight_names"] = np.array([], "S1")
        file.create_group("dense")["kernel:0"] = np.zeros((4, 2), np.float32)
        file.create_group("optimizer_weights")["momentum"] = np.zeros((3, 3, 3, 4), np.float32)
    return path


class TestHdf5:
    def test_the_older_format_is_read_in_the_order_that_it_states(self, h5: Path) -> None:
        assert shapes(h5) == [("block1_conv10", "3x3x3x4", 4), ("block1_conv2", "3x3x4x4", 4)]
        first = read_kernels(h5).kernels[0].weight
        assert first[3, 2, 1, 0] == np.ravel_multi_index((1, 0, 2, 3), (3, 3, 3, 4))

    def test_what_lies_outside_of_the_file_is_not_followed(self, h5: Path, tmp_path: Path) -> None:
        secret = np.ones((3, 3, 1, 2), np.float32)
        with h5py.File(tmp_path / "secret.h5", "w") as other:
            other["kernel"] = secret
        (tmp_path / "secret.bin").write_bytes(secret.tobytes())
        with h5py.File(h5, "a") as file:
            file["linked"] = h5py.ExternalLink("secret.h5", "/")
            file["soft"] = h5py.SoftLink("/block1_conv2")
            raw = [(str(tmp_path / "secret.bin"), 0, secret.nbytes)]
            file.create_group("stored").create_dataset("kernel", secret.shape, "f4", external=raw)
            layout = h5py.VirtualLayout(secret.shape, "f4")
            layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "kernel", secret.shape)
            file.create_group("virtual").create_virtual_dataset("kernel", layout)
        found = read_kernels(h5)
        assert len(found.kernels) == 2
        assert len(found.notes) == 2
        assert {name for note in found.notes for name in note.rpartition(": ")[2].split(", ")} == {
            *("linked", "soft"),
            *("stored", "virtual"),
        }

    def test_a_group_that_holds_itself_is_walked_once(self, h5: Path) -> None:
        with h5py.File(h5, "a") as file:
            file["block1_conv2/again"] = file["block1_conv2"]
        assert len(read_kernels(h5).kernels) == 2

    def test_groups_without_end_are_refused(self, h5: Path) -> None:
        with h5py.File(h5, "a") as file:
            file.create_group("/".join(["deep"] * 500))
        assert "groups lie more than 64 deep" in refusal(h5)

    def test_an_array_that_is_announced_and_not_stored_is_refused(self, h5: Path) -> None:
        with h5py.File(h5, "a") as file:
            file.create_group("huge").create_dataset("kernel", (1000, 1000, 1000, 1000), "f4", chunks=(1, 1, 100, 100))
        assert "announces 1,000 x 1,000 x 1,000 x 1,000 numbers" in refusal(h5)

    def test_a_compressed_bomb_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.h5"
        with h5py.File(path, "w") as file:
            zeros = np.zeros((30, 30, 200, 200), np.float32)
            file.create_group("conv").create_dataset("kernel", data=zeros, compression="gzip", compression_opts=9)
        assert path.stat().st_size < 1e6
        assert "announces 30 x 30 x 200 x 200 numbers" in refusal(path)

    def test_a_file_that_hangs_or_breaks_the_library_is_refused(
        self, h5: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(from_keras, "SECONDS", 0.001)
        assert "was not read within" in refusal(h5)
        monkeypatch.undo()
        monkeypatch.syspath_prepend(str(h5.parent))
        (h5.parent / "h5py.py").write_text("import os; os.abort()")
        assert "broke its reader" in refusal(h5)

    def test_a_module_beside_the_weights_is_not_run(self, h5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (h5.parent / "h5py.py").write_text("raise SystemExit('ran')")
        monkeypatch.chdir(h5.parent)
        assert len(read_kernels(h5).kernels) == 2

    @pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
    def test_a_file_that_is_cut_off_is_refused(self, h5: Path, share: float) -> None:
        content = h5.read_bytes()
        h5.write_bytes(content[: int(share * len(content))])
        refusal(h5)

    def test_an_archive_that_expands_without_end_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", "{}")
            with archive.open("model.weights.h5", "w") as packed:
                for _ in range(100):
                    packed.write(bytes(2**20))
        assert "announces far more than it can hold" in refusal(path)

    def test_a_configuration_that_nests_without_end_is_refused(self, h5: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "deep.keras", "w") as archive:
            archive.write(h5, "model.weights.h5")
            archive.writestr("config.json", '{"config":' * 100_000)
        assert "cannot be read as a Keras file" in refusal(tmp_path / "deep.keras")

    def test_an_archive_whose_weights_are_a_link_is_refused(self, h5: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "link.keras", "w") as archive:
            link = zipfile.ZipInfo("model.weights.h5")
            link.external_attr = 0o120777 << 16  # a symbolic link, as zip stores it
            archive.writestr(link, str(h5))
            archive.writestr("config.json", json.dumps({}))
        assert "cannot be read as a Keras file" in refusal(tmp_path / "link.keras")


class TestAnyFile:
    def test_a_file_without_a_2d_convolution_says_so(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
        assert refusal(tmp_path / "w.pt").endswith("holds no 1D or 2D convolution; there are no kernels to show")
        torch.save(nn.Conv3d(2, 3, 3).state_dict(), tmp_path / "w.pt")
        assert "holds no 1D or 2D convolution (left out, no 1D or 2D convolution (5 dimensions): weight)" in refusal(
            tmp_path / "w.pt"
        )

    def test_a_lone_layer_is_named_after_its_weight(self, tmp_path: Path) -> None:
        torch.save(nn.Conv2d(2, 3, 3).state_dict(), tmp_path / "w.pt")
        assert shapes(tmp_path / "w.pt") == [("weight", "3x3x2x3", 3)]

    @pytest.mark.parametrize(
        "content", [b"", b"PK\x03\x04", b"hello" * 10, b"\x89HDF\r\n\x1a\n", b"\x08", b"cos\nsystem\n"]
    )
    def test_what_is_no_weights_file_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "w").write_bytes(content)
        assert refusal(tmp_path / "w").startswith(f"{tmp_path / 'w'}: ")

    def test_absent_files_and_folders_are_refused(self, tmp_path: Path) -> None:
        assert "there is no such file" in refusal(tmp_path / "absent")
        assert "is a folder" in refusal(tmp_path)

    def test_other_archives_are_refused(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
            archive.writestr("weights.txt", "1 2 3")
        assert "is a zip archive without weights that can be read" in refusal(tmp_path / "w.zip")

    @pytest.mark.parametrize(("library", "name"), [("h5py", "w.h5"), ("onnx", "w.onnx")])
    def test_a_missing_library_names_the_extra(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str
    ) -> None:
        (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" if library == "h5py" else b"\x08")
        monkeypatch.setitem(sys.modules, library, None)
        message = refusal(tmp_path / name, UserError)
        assert f"needs {library}, which is not installed: pip install 'regulens[weights]'" in message

    def test_a_name_that_cannot_be_printed_is_made_readable(self, tmp_path: Path) -> None:
        name = "a\n\x1b[31m" + "b" * 500
        torch.save({f"{name}.weight": torch.ones(1, 1, 3, 3)}, tmp_path / "w.pt")
        [layer] = read_kernels(tmp_path / "w.pt").kernels
        assert layer.layer.isprintable()
        assert len(layer.layer) == 120

    def test_numbers_that_float32_cannot_hold_are_infinite(self, tmp_path: Path) -> None:
        torch.save({"a.weight": torch.full((1, 1, 1, 1), 1e300, dtype=torch.float64)}, tmp_path / "w.pt")
        assert np.isinf(read_kernels(tmp_path / "w.pt").kernels[0].weight).all()


def test_shape_is_printed_as_keras_does() -> None:
    assert ConvKernels("c", np.zeros((16, 3, 5, 7), np.float32), np.zeros(0, np.float32)).shape == "5x7x3x16"
