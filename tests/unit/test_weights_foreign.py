"""Files and folders of kinds that are not read are named for what they are, with the way to one that is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from weights_read import refusal

from regulens.weights.files import read_kernels


def field(number: int, content: bytes | int) -> bytes:
    """Write a field of a protobuf."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)

    if isinstance(content, int):
        return varint(8 * number) + varint(content)
    return varint(8 * number + 2) + varint(len(content)) + content


NODE = field(1, field(1, b"conv1") + field(2, b"Conv2D"))
FILES: dict[str, tuple[str, bytes, str]] = {
    "SavedModel": ("saved_model.pb", field(1, 1) + field(2, field(1, b"meta")), "a TensorFlow SavedModel"),
    "frozen": ("frozen.pb", 300 * NODE + field(4, field(1, 27)), "a TensorFlow graph"),
    "index": ("m.index", bytes(90) + bytes.fromhex("57fb808b247547db"), "a TensorFlow checkpoint"),
    "data": ("m.data-00000-of-00001", bytes(90), "a TensorFlow checkpoint"),
    "checkpoint": ("checkpoint", b'model_checkpoint_path: "m"\n', "a TensorFlow checkpoint"),
    "js": ("model.json", b'{"format": "layers-model", "modelTopology": {}}', "a TensorFlow.js model"),
    "shard": ("group1-shard1of2.bin", bytes(90), "a TensorFlow.js model"),
    "coreml": ("net.mlmodel", field(1, 4) + field(2, b"description") + field(500, b"layers"), "a Core ML model"),
    "paddle": ("net.pdmodel", field(1, field(1, 0) + field(2, 0)) + field(4, b""), "a PaddlePaddle model"),
    "paddle parameters": ("net.pdiparams", bytes(90), "a PaddlePaddle model"),
    "mxnet": ("net-0000.params", (0x112).to_bytes(8, "little") + bytes(90), "an MXNet model"),
    "mxnet symbol": ("net-symbol.json", b'{"nodes": [], "arg_nodes": []}', "a network's description without its"),
    "caffe": ("net", field(1, b"VGG") + field(100, b"layer"), "a Caffe model"),
    "caffe 1": ("net.caffemodel", field(1, b"VGG") + field(2, b"layer"), "a Caffe model"),
    "darknet": ("yolo.weights", bytes([0, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0]) + bytes(90), "Darknet weights"),
    "openvino": ("net.xml", b'<?xml version="1.0"?>\n<net name="vgg" version="11">', "an OpenVINO model"),
    "gguf": ("net.gguf", b"GGUF" + bytes(90), "a GGUF or GGML file"),
    "tensorrt": ("net.engine", b"ptrt" + bytes(90), "a TensorRT engine"),
    "ncnn": ("net.param", b"7767517\n75 83\nInput data", "an ncnn model"),
    "ort": ("net.ort", bytes(4) + b"ORTM" + bytes(90), "an ONNX Runtime .ort model"),
    "executorch": ("net.pte", bytes(4) + b"ET12" + bytes(90), "an ExecuTorch program"),
    "sharded": (
        "model.safetensors.index.json",
        b'{"metadata": {}, "weight_map": {}}',
        "an index of weights in several",
    ),
    "lfs": ("net.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
    "html": ("net.pth", b"\n<!DOCTYPE html><html>", "a web page"),
    "lz4": ("net.lz4", b"\x04\x22\x4d\x18" + bytes(90), "compressed or an archive"),
    "gzip": ("net.pt.gz", b"\x1f\x8b\x08" + bytes(90), "compressed or an archive"),
    "configuration": ("config.json", json.dumps({"class_name": "Sequential"}).encode(), "a network's description"),
}


@pytest.mark.parametrize(("name", "content", "what"), FILES.values(), ids=FILES)
def test_a_file_is_named_for_what_it_is(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert f"is {what}" in message
    assert ", which is not read; " in message


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["saved_model.pb", "variables/variables.index"], "a TensorFlow SavedModel"),
        (["variables.index", "variables.data-00000-of-00001"], "a TensorFlow checkpoint"),
        (["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"], "a Core ML model"),
        (["coremldata.bin", "model.mil"], "a Core ML model"),
        (["model.json", "group1-shard1of1.bin"], "a TensorFlow.js model"),
        (["__model__", "conv1_weights"], "a PaddlePaddle model"),
        ([".metadata", "__0_0.distcp"], "a distributed PyTorch checkpoint"),
        (["_METADATA", "d/0"], "an Orbax or Flax checkpoint"),
    ],
)
def test_a_folder_or_an_archive_of_it_is_named_for_what_it_is(tmp_path: Path, names: list[str], what: str) -> None:
    for name in names:
        (tmp_path / "net" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "net" / name).touch()
    assert f"is {what}, which is not read; " in refusal(tmp_path / "net")
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    assert f"is {what}, which is not read; " in refusal(tmp_path / "net.zip")


def test_an_archive_without_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.zip").write_bytes(b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18))
    assert "is a zip archive without weights" in refusal(tmp_path / "w.zip")


def test_an_empty_file_and_an_archive_of_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "net.pt").touch()
    assert refusal(tmp_path / "net.pt").endswith("net.pt: is empty; fetch or save it again")
    with zipfile.ZipFile(tmp_path / "nets.zip", "w") as archive:
        archive.writestr("nets/first.PTH", b"x")
    assert "unpack it and give the weights file in it" in refusal(tmp_path / "nets.zip")


def test_weights_that_lie_beside_their_description_are_named(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(bytes(90))
    assert "is not a weights file that can be read" in refusal(tmp_path / "net.bin")
    (tmp_path / "net.xml").touch()
    assert "is an OpenVINO model" in refusal(tmp_path / "net.bin")


def test_the_command_names_a_folder_too(tmp_path: Path) -> None:
    from regulens.cli.commands import app

    def said() -> str:
        done: Any = typer.testing.CliRunner().invoke(app, ["kernels", str(tmp_path)])
        return str(done.exception)

    assert said().endswith("or a weights file in this one")
    (tmp_path / "saved_model.pb").touch()
    assert "is a TensorFlow SavedModel" in said()


def test_an_onnx_file_of_any_name_is_told_from_other_protobufs(tmp_path: Path) -> None:
    import onnx

    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, (1, 1, 1, 1), [2.0])
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="c")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [], [weight]))
    (tmp_path / "net.weights").write_bytes(model.SerializeToString())
    assert read_kernels(tmp_path / "net.weights").kernels[0].layer == "c"
    model.ClearField("ir_version")  # another library may leave it out: the file then begins with another field
    (tmp_path / "net.pb").write_bytes(model.SerializeToString())
    assert read_kernels(tmp_path / "net.pb").kernels[0].layer == "c"
