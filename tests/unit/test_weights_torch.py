"""PyTorch's files as people have them: whatever lies beside the networks, and whatever the networks are saved as."""

from __future__ import annotations

import argparse
import datetime
import enum
import functools
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from regulens.errors import DataError
from regulens.weights.files import read_kernels
from regulens.weights.kernels import WeightsFile


class Net(nn.Module):
    """With a convolution of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2, groups=2, bias=False))
        self.line = nn.Conv1d(2, 5, 7)
        self.classifier = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


class Config:
    """A class of the user's own."""

    def __init__(self) -> None:
        self.rate = 0.1
        self.parent = self


class Stage(enum.Enum):
    TRAIN = "train"


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 3, 3), bn=nn.BatchNorm2d(3), fc=nn.Linear(3, 2))).state_dict()


def read(content: Any, path: Path, save: Callable[[Any, Path], None] = torch.save) -> WeightsFile:
    save(content, path)
    return read_kernels(path)


def names(found: WeightsFile) -> list[str]:
    return [layer.layer for layer in found.kernels]


def legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def pickled(protocol: int) -> Callable[[Any, Path], None]:
    return lambda content, path: [path.write_bytes(pickle.dumps(content, protocol)), None][1]


class Optimizer:
    """With the attributes of torch's."""

    def __init__(self) -> None:
        self.__dict__ = optimizer_state()


def optimizer_state() -> dict[str, Any]:
    moments = {"step": torch.ones(()), "exp_avg": torch.ones(3, 2, 3, 3), "weight": torch.ones(3, 2, 3, 3)}
    return {"state": {0: moments}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.pt"


class TestNesting:
    @pytest.mark.parametrize(
        "keys",
        [
            *(("params_ema",), ("model_state",), ("generator",), ("state_dict_ema",), ("net_g",), ("encoder_q",)),
            *(("module", "student"), ("a", "b", "c", "d", "e", "f", "g", "h")),
        ],
    )
    @pytest.mark.parametrize("save", [torch.save, legacy], ids=["zip", "legacy"])
    def test_a_lone_network_has_its_own_names_whatever_leads_to_it(
        self, path: Path, keys: tuple[str, ...], save: Callable[[Any, Path], None]
    ) -> None:
        content = functools.reduce(lambda inner, key: {"epoch": 3, key: inner}, reversed(keys), state())
        found = read(content, path, save)
        assert (names(found), found.notes) == (["conv"], ())
        np.testing.assert_array_equal(found.kernels[0].weight, state()["conv.weight"])

    def test_two_networks_are_both_shown_each_with_its_key_in_the_order_of_the_file(self, path: Path) -> None:
        found = read({"best": {"params_ema": state(1), "params": state(0), "iter": 5}}, path)
        assert names(found) == ["params_ema.conv", "params.conv"]
        np.testing.assert_array_equal(found.kernels[0].weight, state(1)["conv.weight"])
        np.testing.assert_array_equal(found.kernels[1].weight, state(0)["conv.weight"])

    @pytest.mark.parametrize("content", [[state(0), state(1)], (state(0), 3, state(1))], ids=["list", "tuple"])
    def test_networks_in_a_sequence_have_their_places(self, path: Path, content: Any) -> None:
        assert names(read(content, path)) == ["0.conv", f"{len(content) - 1}.conv"]

    def test_a_dictionary_for_each_layer_is_one_network(self, path: Path) -> None:
        content = {"params": {"conv": {"weight": torch.ones(2, 1, 3, 3)}, "fc": {"weight": torch.ones(2, 2)}}}
        assert names(read(content, path)) == ["conv"]

    @pytest.mark.parametrize("same", [state(), None], ids=["one object", "the same tensors"])
    def test_tensors_under_two_keys_are_drawn_once_and_named(self, path: Path, same: Any) -> None:
        own = state()
        found = read({"model": own, "state_dict": own if same is None else dict(own)}, path)
        assert names(found) == ["conv"]
        assert found.notes == ('left out, the same tensors as "model": state_dict',)

    def test_the_state_of_the_training_is_no_network(self, path: Path) -> None:
        model = nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 3, 3)))
        moments = {"conv.weight": torch.ones(3, 2, 3, 3)}
        content = {
            "optimizer": optimizer_state(),
            "optimizer_states": [optimizer_state()],
            "trainer": Optimizer(),
            "lr_schedulers": [{"base_lrs": [0.1]}],
            "scaler": {"scale": torch.ones(1)},
            "net": model.state_dict(),
            "exp_avg": moments,
            "grads": moments,
            "momentum_buffer": moments,
        }
        found = read(content, path)
        assert names(found) == ["conv"]
        assert found.notes == (
            "left out, of the training by its name, not of a network: exp_avg, grads, momentum_buffer",
        )

    def test_networks_whose_names_only_sound_like_training_are_networks(self, path: Path) -> None:
        keys = ("encoder", "momentum_encoder", "upscaler", "optimal", "upgraded", "adopted")
        found = read({key: state(place) for place, key in enumerate(keys)}, path)
        assert names(found) == [f"{key}.conv" for key in keys]

    def test_a_weight_that_is_an_object_is_named(self, path: Path) -> None:
        content = {**state(), "packed.weight": Config()}
        assert read(content, path).notes == (
            f"left out, an object of another class ({__name__}.Config): packed.weight",
        )

    def test_harmless_objects_beside_the_tensors_do_not_matter(self, path: Path) -> None:
        factory: defaultdict[str, list[int]] = defaultdict(list, a=[1])
        content = {
            "args": argparse.Namespace(lr=np.float64(0.1), out=Path("runs")),
            "config": Config(),
            "stage": Stage.TRAIN,
            "when": datetime.datetime(2024, 1, 1),
            "function": functools.partial(state, 3),
            "numbers": {"loss": np.arange(3), "top": {1, 2}, "names": frozenset("ab"), "rng": np.random.default_rng()},
            "factory": factory,
            "state_dict": state(),
        }
        found = read(content, path)
        assert (found.kind, names(found), found.notes) == ("PyTorch", ["conv"], ())


def switched(layer: Any, apply: Callable[[Any], Any]) -> Any:
    """Return a layer reparametrized, its parameters moved since, in eval mode."""
    torch.manual_seed(0)
    layer = apply(layer)
    x = torch.randn(1, layer.in_channels, *[9] * len(layer.kernel_size))
    layer(x)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    layer.eval()
    for _ in range(2):  # pruning comes after the normalization of what was pruned in the pass before
        layer(x)
    return layer


def pruned(layer: Any) -> Any:
    for name in ("weight", "bias"):
        prune.l1_unstructured(layer, name, amount=0.4)
    return layer


def pruned_direction(layer: Any) -> Any:
    return prune.l1_unstructured(nn.utils.weight_norm(layer), "weight_v", amount=0.4)


WAYS: dict[str, Callable[[Any], Any]] = {
    "weight_norm": nn.utils.weight_norm,
    "weight_norm in all": functools.partial(nn.utils.weight_norm, dim=None),
    "parametrized weight_norm": parametrizations.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
    "pruned": pruned,
    "pruned weight_norm": pruned_direction,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
class TestParametrized:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        "layer",
        [
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(1, 9, 3),
            nn.ConvTranspose2d(3, 4, 2),
            nn.ConvTranspose2d(4, 4, 3),
            nn.Conv1d(3, 4, 5),
        ],
        ids=["2D", "flat", "transposed", "square", "1D"],
    )
    def test_a_computed_weight_is_what_the_network_computes(self, path: Path, layer: Any, way: str) -> None:
        layer = switched(pickle.loads(pickle.dumps(layer)), WAYS[way])
        [found] = read({"net": {f"up.{key}": value for key, value in layer.state_dict().items()}}, path).kernels
        weight = layer.weight.detach()
        if layer.transposed and layer.in_channels != layer.out_channels:
            weight = weight.swapaxes(0, 1)
        assert found.layer == "up"
        np.testing.assert_allclose(found.weight.reshape(weight.shape), weight, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.bias, layer.bias.detach(), rtol=1e-6)

    def test_what_is_computed_in_another_way_is_left_out_and_says_so(self, path: Path) -> None:
        class Doubled(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return 2 * x

        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), parametrizations.orthogonal(nn.Conv2d(4, 4, 3)))
        parametrize.register_parametrization(model[0], "weight", Doubled())
        content = {**model.state_dict(), "equalized.weight_orig": torch.ones(2, 1, 3, 3)}
        found = read(content, path)
        assert names(found) == ["1"]
        assert [note.rpartition(": ")[2] for note in found.notes] == ["0.weight", "2.weight", "equalized.weight"]
        assert all("computed from others in a way not known" in note for note in found.notes)

    def test_names_that_only_look_like_parts_are_what_they_are(self, path: Path) -> None:
        found = read({"conv.weight": torch.ones(2, 1, 3, 3), "attn.bias_v": torch.ones(1, 1, 4)}, path)
        assert names(found) == ["conv"]
        assert found.notes == ('left out, not named "weight" or "kernel": attn.bias_v',)


class TestWholeModels:
    @pytest.mark.parametrize("save", [torch.save, legacy, pickled(2), pickled(5)], ids=["zip", "legacy", "2", "5"])
    def test_a_whole_model_is_read_by_its_tree_of_modules(self, path: Path, save: Callable[[Any, Path], None]) -> None:
        model = Net()
        found = read({"model": model, "ema": None, "epoch": 1}, path, save)
        assert [(layer.layer, layer.shape, layer.spatial) for layer in found.kernels] == [
            ("features.0", "3x3x3x4", 2),
            ("features.2", "2x2x2x4", 2),  # its class says that it is transposed, in two groups
            ("line", "7x2x5", 1),
        ]
        np.testing.assert_array_equal(found.kernels[0].weight, model.features[0].weight.detach())

    def test_two_whole_models_are_both_shown(self, path: Path) -> None:
        found = read([Net(), nn.Conv2d(1, 2, 3)], path)
        assert names(found) == ["0.features.0", "0.features.2", "0.line", "1"]

    @pytest.mark.filterwarnings("ignore")
    def test_torchscript_is_read_for_its_tensors(self, path: Path) -> None:
        model = Net().eval()
        for program in (torch.jit.script(model), torch.jit.trace(model, torch.ones(1, 3, 8, 8))):
            found = read(program, path, lambda content, path: content.save(str(path)))
            assert (found.kind, names(found)) == ("TorchScript", ["features.0", "features.2", "line"])
            np.testing.assert_array_equal(found.kernels[0].bias, model.features[0].bias.detach())

    @pytest.mark.filterwarnings("ignore")
    def test_a_frozen_programs_constants_are_told_by_its_text(self, path: Path) -> None:
        model = Net().eval()
        found = read(torch.jit.freeze(torch.jit.script(model)), path, lambda program, path: program.save(str(path)))
        assert [layer.shape for layer in found.kernels] == ["3x3x3x4", "2x2x2x4"]
        np.testing.assert_array_equal(found.kernels[0].weight, model.features[0].weight.detach())

    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("kind", ["torch", "numpy"])
    def test_a_plain_pickle_of_tensors_or_arrays_is_read(self, path: Path, protocol: int, kind: str) -> None:
        content = state() if kind == "torch" else {name: tensor.numpy() for name, tensor in state().items()}
        found = read(content, path, pickled(protocol))
        assert (found.kind, names(found)) == ("Python pickle", ["conv"])
        np.testing.assert_array_equal(found.kernels[0].weight, state()["conv.weight"])


class TestTensors:
    values = torch.arange(36.0).reshape(2, 2, 3, 3)

    @pytest.mark.parametrize(
        ("dtype", "save"),
        [
            *((each, torch.save) for each in (torch.float8_e4m3fn, torch.float8_e5m2)),  # which the older format lacks
            *((each, save) for each in (torch.float64, torch.float16, torch.bfloat16) for save in (torch.save, legacy)),
        ],
    )
    def test_every_type_of_real_number_is_widened(
        self, path: Path, dtype: torch.dtype, save: Callable[[Any, Path], None]
    ) -> None:
        stored = self.values.to(dtype)
        np.testing.assert_array_equal(
            read({"c.weight": stored}, path, save).kernels[0].weight, stored.to(torch.float32)
        )

    @pytest.mark.parametrize(
        "stored",
        [
            torch.arange(72.0)[36:].reshape(2, 2, 3, 3),
            torch.arange(36.0).reshape(2, 2, 3, 3).to(memory_format=torch.channels_last),
            torch.arange(72.0).reshape(2, 2, 3, 6)[..., ::2],
            torch.arange(36.0).reshape(3, 3, 2, 2).permute(3, 2, 0, 1),
            nn.Parameter(torch.ones(2, 2, 3, 3)),
            torch.ones(1).expand(2, 2, 3, 3),
        ],
        ids=["offset", "channels last", "strided", "permuted", "parameter", "expanded"],
    )
    @pytest.mark.parametrize("save", [torch.save, legacy, pickled(4)], ids=["zip", "legacy", "pickle"])
    def test_views_are_read_as_they_are(
        self, path: Path, stored: torch.Tensor, save: Callable[[Any, Path], None]
    ) -> None:
        np.testing.assert_array_equal(read({"c.weight": stored}, path, save).kernels[0].weight, stored.detach())

    @pytest.mark.filterwarnings("ignore")
    def test_tensors_that_are_no_plain_real_numbers_are_named(self, path: Path) -> None:
        attributed = nn.Parameter(torch.ones(2, 2, 3, 3))
        attributed.tag = "mine"
        content = {
            "quantized.weight": torch.quantize_per_tensor(self.values, 0.1, 0, torch.qint8),
            "sparse.weight": self.values.to_sparse(),
            "meta.weight": torch.ones(2, 2, 3, 3, device="meta"),
            "complex.weight": self.values.to(torch.complex64),
            "whole.weight": self.values.int(),
            "attributed.weight": attributed,
        }
        found = read(content, path)
        assert names(found) == ["attributed"]
        assert found.notes == (
            "left out, quantized: quantized.weight",
            "left out, stored as a sparse tensor: sparse.weight",
            "left out, without numbers, on the meta device: meta.weight",
            "left out, complex numbers: complex.weight",
            "left out, not stored as real numbers (quantized?): whole.weight",
        )

    @pytest.mark.parametrize(
        "array",
        [
            np.asfortranarray(values.numpy()),
            values.numpy().astype(">f8"),
            values.numpy().astype(np.float16)[:, :, ::2],
            values.numpy().astype(ml_dtypes.bfloat16),
        ],
        ids=["Fortran", "big-endian", "strided", "bfloat16"],
    )
    @pytest.mark.parametrize("protocol", [2, 5])
    def test_arrays_of_every_layout_are_read(self, path: Path, array: Any, protocol: int) -> None:
        content = {"c.weight": array, "names": np.array(["a"]), "things": np.array([{}], object)}
        np.testing.assert_array_equal(
            read(content, path, pickled(protocol)).kernels[0].weight, array.astype(np.float32)
        )

    def test_a_big_endian_archive_is_turned(self, path: Path, tmp_path: Path) -> None:
        torch.save({"c.weight": self.values}, tmp_path / "little.pt")
        with zipfile.ZipFile(tmp_path / "little.pt") as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                stored = source.read(name)
                if name.endswith("data/0"):
                    stored = self.values.numpy().astype(">f4").tobytes()
                target.writestr(name, b"big" if name.endswith("byteorder") else stored)
        np.testing.assert_array_equal(read_kernels(path).kernels[0].weight, self.values)

    def test_a_normalization_over_maps_and_an_attention_are_no_convolutions(self, path: Path) -> None:
        content = {
            "norm.weight": torch.ones(2, 3, 3),
            "norm.bias": torch.ones(2, 3, 3),
            **{f"attn.{name}.kernel": torch.ones(4, 2, 2) for name in ("query", "out")},
            "line.weight": torch.ones(5, 2, 7),
        }
        found = read(content, path)
        assert [(layer.layer, layer.weight.shape, layer.spatial) for layer in found.kernels] == [
            ("line", (5, 2, 1, 7), 1)
        ]
        assert "left out, a normalization (its bias has the shape of its weight): norm.weight" in found.notes
        assert "left out, an attention's projection: attn.query.kernel, attn.out.kernel" in found.notes


def test_a_checksum_that_differs_is_damage_and_one_that_was_not_written_is_none(path: Path) -> None:
    torch.save({"c.weight": TestTensors.values}, path)
    content = bytearray(path.read_bytes())
    content[content.index(TestTensors.values.numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="the checksum of its entry data/0 differs"):
        read_kernels(path)
    torch.serialization.set_crc32_options(False)
    try:
        assert len(read({"c.weight": TestTensors.values}, path).kernels) == 1
    finally:
        torch.serialization.set_crc32_options(True)


def test_a_whole_model_tells_torchs_other_classes_from_convolutions(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Bilinear(3, 4, 5)), tmp_path / "w.pt")
    found = read_kernels(tmp_path / "w.pt")
    assert [layer.layer for layer in found.kernels] == ["0"]
    assert found.notes == ("left out, not a convolution (class Bilinear): 1.weight",)
