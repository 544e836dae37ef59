"""Saved runs open again, here and in plain torch; what is damaged is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from regulens.data.dataset import Dataset
from regulens.errors import DataError
from regulens.spec import RunSpec
from regulens.training.checkpoint import WEIGHTS, load_model, save_run
from regulens.training.loop import train
from regulens.training.predictions import load_predictions

Make = Callable[..., RunSpec]


@pytest.mark.parametrize("regularizer", ["none", "batchnorm + dropout(0.1)"])
def test_a_saved_run_gives_the_same_predictions(
    regularizer: str, tiny_spec: Make, digits: Dataset, tmp_path: Path
) -> None:
    trained = train(tiny_spec(regularizer, depth=2), digits)
    save_run(tmp_path, trained, digits)
    images = torch.tensor(digits.images[:30]).float()
    assert torch.equal(load_model(tmp_path)(images), trained.model(images))
    predictions = load_predictions(tmp_path / "predictions.npz")
    assert np.array_equal(predictions.probabilities, trained.probabilities)
    assert np.array_equal(predictions.labels, digits.labels[predictions.indices])
    accuracy = (predictions.probabilities.argmax(1) == predictions.labels).mean()
    assert accuracy == pytest.approx(trained.result.val_accuracy)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.npz", WEIGHTS]


def test_a_saved_run_says_how_its_pixels_were_standardized(tiny_spec: Make, digits: Dataset, tmp_path: Path) -> None:
    plain = tiny_spec()
    spec = plain.model_copy(update={"data": plain.data.model_copy(update={"standardize": True})})
    trained = train(spec, digits)
    save_run(tmp_path, trained, digits)
    with safe_open(tmp_path / WEIGHTS, framework="pt") as archive:
        pixels = json.loads(archive.metadata()["pixels"])
    images = (digits.images[trained.val_indices] * pixels["scale"] - pixels["mean"]) / pixels["sd"]
    with torch.no_grad():
        probabilities = load_model(tmp_path)(torch.from_numpy(images).float()).softmax(1)
    np.testing.assert_allclose(probabilities, trained.probabilities, atol=1e-5)


def test_a_saved_run_opens_in_plain_torch(tiny_spec: Make, digits: Dataset, tmp_path: Path) -> None:
    trained = train(tiny_spec(depth=1), digits)
    save_run(tmp_path, trained, digits)
    saved = load_file(tmp_path / WEIGHTS)
    conv, dense, output = nn.Conv2d(1, 4, 3), nn.Linear(13 * 13 * 4, 8), nn.Linear(8, 10)
    conv.load_state_dict({"weight": saved["blocks.0.conv.weight"], "bias": saved["blocks.0.conv.bias"]})
    dense.load_state_dict({"weight": saved["dense.weight"], "bias": saved["dense.bias"]})
    output.load_state_dict({"weight": saved["output.weight"], "bias": saved["output.bias"]})
    images = torch.tensor(digits.images[:30]).float()
    maps = nn.functional.max_pool2d(conv(images.permute(0, 3, 1, 2)).relu(), 2)
    logits = output(dense(maps.permute(0, 2, 3, 1).flatten(1)).relu())
    torch.testing.assert_close(logits, trained.model(images))


def test_a_refit_saves_no_validation_predictions(tiny_spec: Make, digits: Dataset, tmp_path: Path) -> None:
    save_run(tmp_path, train(tiny_spec(stage="refit"), digits), digits)
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_damaged_weights_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(DataError) as raised:
        load_model(tmp_path)
    assert str(tmp_path / WEIGHTS) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_truncated_weights_are_refused(tiny_spec: Make, digits: Dataset, tmp_path: Path) -> None:
    save_run(tmp_path, train(tiny_spec(), digits), digits)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:-10])
    with pytest.raises(DataError, match="cannot be read"):
        load_model(tmp_path)


def test_absent_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"weights\.safetensors"):
        load_model(tmp_path)


def test_weights_of_others_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / WEIGHTS)
    with pytest.raises(DataError, match="was not written by Regulens"):
        load_model(tmp_path)


def test_damaged_predictions_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "predictions.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match=r"predictions\.npz"):
        load_predictions(tmp_path / "predictions.npz")


def test_predictions_that_announce_more_than_they_hold_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (("probabilities", (2**22, 10)), ("indices", (4,)), ("labels", (4,))):
            with archive.open(f"{name}.npy", "w") as stream:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for _ in range(max(1, 4 * shape[0] // 2**20)):
                    stream.write(bytes(4 * shape[-1] * min(shape[0], 2**18) if len(shape) > 1 else 16))
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="its arrays are far larger than it can hold"):
        load_predictions(path)


@pytest.mark.parametrize("cut", [0, 10, 200, -30])
def test_predictions_that_are_cut_off_are_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez_compressed(path, probabilities=np.random.default_rng(0).random((50, 10)), indices=[0], labels=[0])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="cannot be read"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("classes", "1000000000", "it has 9,000,005,456 weights"),
        ("image_shape", "[1, 2]", ""),
        ("regulens", "{}", ""),
        ("classes", "x", ""),
    ],
)
def test_weights_that_describe_another_network_are_refused_before_it_is_built(
    key: str, value: str, reason: str, tiny_spec: Make, digits: Dataset, tmp_path: Path
) -> None:
    save_run(tmp_path, train(tiny_spec(), digits), digits)
    with safe_open(tmp_path / WEIGHTS, framework="pt") as archive:
        metadata = archive.metadata()
    save_file(load_file(tmp_path / WEIGHTS), tmp_path / WEIGHTS, {**metadata, key: value})
    with pytest.raises(DataError, match=f"does not hold the network that it describes.*{reason}"):
        load_model(tmp_path)
