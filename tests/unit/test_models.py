"""The networks: the lab's parameter table, initialisation, the expanded form, kernels as pictures."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor, nn

from regulens.errors import UserError
from regulens.interpret.kernels import Scaling, conv_kernels, lay_out, scale_kernels
from regulens.models.cnn import CNN, LayerRow, Permute, build_model, layer_table, parameter_counts
from regulens.models.regularizers import build_regularizer
from regulens.spec import ModelSpec
from regulens.training.environment import pinned_torch

FASHION = (28, 28, 1)
REGULARIZERS = ["none", "l2(0.01)", "dropout(0.1)", "batchnorm", "batchnorm + dropout(0.1)"]

# The lab report's printed tables: kind, output shape, parameters.
LAB_TABLE = {
    1: [
        ("conv 3x3x1x16", (26, 26, 16), 160),
        ("max pool 2", (13, 13, 16), 0),
        ("flatten", (2704,), 0),
        ("dense 80", (80,), 216_400),
        ("dense 10", (10,), 810),
    ],
    2: [
        ("conv 3x3x1x16", (26, 26, 16), 160),
        ("max pool 2", (13, 13, 16), 0),
        ("conv 3x3x16x16", (11, 11, 16), 2_320),
        ("max pool 2", (5, 5, 16), 0),
        ("flatten", (400,), 0),
        ("dense 80", (80,), 32_080),
        ("dense 10", (10,), 810),
    ],
}
LAB_COUNTS = [
    (1, "none", 217_370, 217_370),
    (1, "l2(0.01)", 217_370, 217_370),
    (1, "dropout(0.1)", 217_370, 217_370),
    (1, "batchnorm", 217_754, 217_562),
    (2, "none", 35_370, 35_370),
    (2, "l2(0.01)", 35_370, 35_370),
    (2, "dropout(0.1)", 35_370, 35_370),
    (2, "batchnorm", 35_818, 35_594),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with pinned_torch():
        yield


def lab_model(depth: int = 1, regularizer: str = "none", seed: int = 0) -> CNN:
    return build_model(ModelSpec(depth=depth), FASHION, 10, build_regularizer(regularizer), seed)


def images(shape: tuple[int, int, int] = FASHION, number: int = 4) -> Tensor:
    return torch.rand(number, *shape, generator=torch.Generator().manual_seed(3))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


class TestLayerTable:
    @pytest.mark.parametrize("depth", [1, 2])
    @pytest.mark.parametrize("regularizer", ["none", "l2(0.01)"])
    def test_table_is_the_labs(self, depth: int, regularizer: str) -> None:
        rows = layer_table(lab_model(depth, regularizer))
        assert [(row.kind, row.output_shape, row.parameters) for row in rows] == LAB_TABLE[depth]
        assert all(row.trainable == row.parameters for row in rows)

    @pytest.mark.parametrize("depth", [1, 2])
    @pytest.mark.parametrize(
        ("regularizer", "kind", "per_block", "behind_dense"),
        [("batchnorm", "batch norm", (64, 32), (320, 160)), ("dropout(0.1)", "dropout", (0, 0), (0, 0))],
    )
    def test_regularizer_stands_after_each_pooling_and_the_dense_layer(
        self, depth: int, regularizer: str, kind: str, per_block: tuple[int, int], behind_dense: tuple[int, int]
    ) -> None:
        expected = []
        for row in LAB_TABLE[depth]:
            expected.append((*row, row[2]))
            if row[0] == "max pool 2":
                expected.append((kind, row[1], *per_block))
            if row[0] == "dense 80":
                expected.append((kind, (80,), *behind_dense))
        rows = layer_table(lab_model(depth, regularizer))
        assert [(row.kind, row.output_shape, row.parameters, row.trainable) for row in rows] == expected

    def test_names_number_the_blocks(self) -> None:
        names = [row.name for row in layer_table(lab_model(2, "batchnorm"))]
        blocks = ["conv1", "pool1", "batchnorm1", "conv2", "pool2", "batchnorm2"]
        assert names == [*blocks, "flatten", "dense", "batchnorm", "output"]

    @pytest.mark.parametrize(("depth", "regularizer", "total", "trainable"), LAB_COUNTS)
    def test_parameter_counts_are_the_labs(self, depth: int, regularizer: str, total: int, trainable: int) -> None:
        model = lab_model(depth, regularizer)
        assert parameter_counts(model) == (total, trainable)
        rows = layer_table(model)
        assert (sum(row.parameters for row in rows), sum(row.trainable for row in rows)) == (total, trainable)

    @pytest.mark.parametrize("training", [True, False])
    def test_table_leaves_the_model_as_it_was(self, training: bool) -> None:
        model = lab_model(2, "batchnorm + dropout(0.1)").train(training)
        before = state_of(model)
        layer_table(model)
        assert {module.training for module in model.modules()} == {training}
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())

    def test_combined_regularizers_have_a_row_each(self) -> None:
        kinds = [row.kind for row in layer_table(lab_model(1, "batchnorm + dropout(0.1)"))]
        assert kinds.count("batch norm") == kinds.count("dropout") == 2


class TestShapes:
    @pytest.mark.parametrize(
        ("spec", "image_shape", "feature_shapes"),
        [
            (ModelSpec(depth=2, padding="same"), FASHION, [(14, 14, 16), (7, 7, 16)]),
            (ModelSpec(depth=4, padding="same"), FASHION, [(14, 14, 16), (7, 7, 16), (3, 3, 16), (1, 1, 16)]),
            (ModelSpec(depth=3), FASHION, [(13, 13, 16), (5, 5, 16), (1, 1, 16)]),
            (ModelSpec(depth=2, pool=1), FASHION, [(26, 26, 16), (24, 24, 16)]),
            (ModelSpec(depth=2, pool=3, kernel_size=5, filters=7), (64, 40, 3), [(20, 12, 7), (5, 2, 7)]),
            (ModelSpec(depth=1, padding="same", kernel_size=4, pool=1), (9, 6, 3), [(9, 6, 16)]),
        ],
        ids=["same", "same deep", "valid deepest", "no pooling", "colour oblong", "even kernel"],
    )
    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch, on its speed
    def test_feature_maps_have_the_shapes_of_the_spec(
        self, spec: ModelSpec, image_shape: tuple[int, int, int], feature_shapes: list[tuple[int, ...]]
    ) -> None:
        model = build_model(spec, image_shape, 6, build_regularizer("none"))
        x = images(image_shape, 2)
        for block, shape in zip(model.blocks, feature_shapes, strict=True):
            x = block(x)
            assert x.shape == (2, *shape)
        assert model(images(image_shape, 2)).shape == (2, 6)
        rows = [row.output_shape for row in layer_table(model) if row.kind.startswith("max pool")]
        assert rows == feature_shapes

    def test_colour_images_are_read_channel_by_channel(self) -> None:
        model = build_model(ModelSpec(filters=2, dense=5), (6, 6, 3), 4, build_regularizer("none"))
        x = images((6, 6, 3))
        with torch.no_grad():
            model.blocks[0].conv.weight[:, 1] = 0  # blind to green
            blue_changed, green_changed = x.clone(), x.clone()
            blue_changed[..., 2] += 1
            green_changed[..., 1] += 1
            assert torch.equal(model(green_changed), model(x))
            assert not torch.equal(model(blue_changed), model(x))

    def test_block_is_convolution_relu_and_pooling_by_hand(self) -> None:
        model = build_model(ModelSpec(filters=1, kernel_size=1, dense=1), (2, 4, 1), 2, build_regularizer("none"))
        with torch.no_grad():
            model.blocks[0].conv.weight.fill_(2.0)
            model.blocks[0].conv.bias.fill_(-3.0)
            pixels = torch.tensor([[1.0, 2.0, 1.0, 0.0], [3.0, 0.0, 0.5, 1.0]]).reshape(1, 2, 4, 1)
            pooled = model.blocks[0](pixels)
        assert torch.equal(pooled, torch.tensor([3.0, 0.0]).reshape(1, 1, 2, 1))

    def test_dense_columns_are_in_height_width_channel_order(self) -> None:
        model = lab_model(2)
        features = model.blocks[1](model.blocks[0](images()))
        by_hand = torch.einsum("nhwc,dhwc->nd", features, model.dense.weight.reshape(80, 5, 5, 16))
        expected = model.output((by_hand + model.dense.bias).relu())
        torch.testing.assert_close(model(images()), expected)

    @pytest.mark.parametrize(
        ("spec", "image_shape", "deepest"),
        [
            (ModelSpec(depth=4), FASHION, 3),
            (ModelSpec(depth=16), FASHION, 3),
            (ModelSpec(depth=5, padding="same"), FASHION, 4),
            (ModelSpec(depth=2, kernel_size=7), (40, 16, 1), 1),
        ],
    )
    def test_too_deep_a_network_names_the_depth_and_a_mend_that_works(
        self, spec: ModelSpec, image_shape: tuple[int, int, int], deepest: int
    ) -> None:
        with pytest.raises(UserError, match=rf"^model\.depth = {spec.depth} is too deep") as raised:
            build_model(spec, image_shape, 10, build_regularizer("none"))
        message = str(raised.value)
        assert "\n" not in message
        assert f"{image_shape[0]}x{image_shape[1]}" in message
        assert f"depth <= {deepest}" in message
        mended = build_model(spec.model_copy(update={"depth": deepest}), image_shape, 10, build_regularizer("none"))
        assert mended(images(image_shape)).shape == (4, 10)

    def test_an_image_too_small_for_one_block_is_not_mended_by_depth_zero(self) -> None:
        with pytest.raises(UserError) as raised:
            build_model(ModelSpec(depth=1, kernel_size=9), (8, 8, 1), 10, build_regularizer("none"))
        assert "\n" not in str(raised.value)
        assert "depth <= 0" not in str(raised.value)  # a spec has depth >= 1

    def test_same_padding_is_not_mended_by_same_padding(self) -> None:
        with pytest.raises(UserError) as raised:
            build_model(ModelSpec(depth=5, padding="same"), FASHION, 10, build_regularizer("none"))
        assert 'padding = "same"' not in str(raised.value)


class TestInitialisation:
    @pytest.mark.parametrize(
        ("layer", "fan_in", "fan_out"),  # of a convolution: height * width * channels in and out, as in Keras
        [("conv1", 9, 144), ("conv2", 144, 144), ("dense", 400, 80), ("output", 80, 10)],
    )
    def test_kernels_are_glorot_uniform(self, layer: str, fan_in: int, fan_out: int) -> None:
        limit = (6 / (fan_in + fan_out)) ** 0.5
        drawn = [getattr(lab_model(2, seed=seed).expanded(), layer).weight.detach().flatten() for seed in range(5)]
        weights = torch.cat(drawn).double()
        assert weights.abs().max() <= limit * (1 + 1e-6)
        assert weights.abs().max() > limit * (1 - 20 / len(weights))  # missed with probability e^-20
        # of n uniform values: the mean's deviation is sd / sqrt(n), the variance's var * sqrt(0.8 / n)
        assert abs(weights.mean().item()) < 5 * limit / (3 * len(weights)) ** 0.5
        assert weights.square().mean().item() == pytest.approx(limit**2 / 3, rel=5 * (0.8 / len(weights)) ** 0.5)
        assert kstest(weights.numpy(), "uniform", args=(-limit, 2 * limit)).pvalue > 1e-4

    def test_biases_are_zero(self) -> None:
        biases = [p for name, p in lab_model(2).named_parameters() if name.endswith("bias")]
        assert len(biases) == 4
        assert all(not bias.any() for bias in biases)

    def test_batch_norm_starts_as_the_standard_normalisation(self) -> None:
        state = lab_model(1, "batchnorm").state_dict()
        start = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
        for place in ("blocks.0.regularizer", "regularizer"):
            assert all((state[f"{place}.{name}"] == value).all() for name, value in start.items())

    @pytest.mark.parametrize("regularizer", REGULARIZERS)
    def test_building_leaves_torchs_global_generator_alone(self, regularizer: str) -> None:
        before = torch.get_rng_state()
        lab_model(2, regularizer)
        assert torch.equal(torch.get_rng_state(), before)

    def test_weights_follow_from_the_seed_alone(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = lab_model(2, seed=7).state_dict()
            torch.manual_seed(2)
            again, other = lab_model(2, seed=7).state_dict(), lab_model(2, seed=8).state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert all(not torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))

    def test_dropout_seed_changes_the_masks_and_not_the_weights(self) -> None:
        spec, dropout = ModelSpec(), build_regularizer("dropout(0.5)")
        one, same, other = (build_model(spec, FASHION, 10, dropout, 4, dropout_seed=mask) for mask in (1, 1, 2))
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
        logits = one(images())
        assert torch.equal(logits, same(images()))
        assert not torch.equal(logits, other(images()))

    def test_new_network_is_in_training_mode(self) -> None:
        assert {module.training for module in lab_model(2, "batchnorm").modules()} == {True}


@pytest.mark.parametrize("regularizer", REGULARIZERS)
class TestExpanded:
    @pytest.mark.parametrize("training", [True, False])
    def test_gives_the_same_logits(self, regularizer: str, training: bool) -> None:
        model, twin = lab_model(2, regularizer).train(training), lab_model(2, regularizer).train(training)
        torch.testing.assert_close(twin.expanded()(images()), model(images()))  # a twin draws the same masks
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(twin.state_dict()[name], tensor)

    def test_shares_its_parameters_and_statistics(self, regularizer: str) -> None:
        model = lab_model(2, regularizer)
        for tensors in (nn.Module.parameters, nn.Module.buffers):
            assert list(map(id, tensors(model.expanded()))) == list(map(id, tensors(model)))

    @pytest.mark.parametrize("training", [True, False])
    def test_keeps_the_mode(self, regularizer: str, training: bool) -> None:
        model = lab_model(2, regularizer).train(training)
        assert {module.training for module in model.expanded().modules()} == {training}
        assert {module.training for module in model.modules()} == {training}

    def test_consists_of_ordinary_layers_and_reorderings(self, regularizer: str) -> None:
        names = [name for name, _ in lab_model(2, regularizer).expanded().named_children()]
        block = ["to_nchw{}", "conv{}", "relu{}", "pool{}", "to_nhwc{}"]
        unregularised = [part.format(number) for number in (1, 2) for part in block]
        own = [name for name in names if not name.startswith(("batchnorm", "dropout"))]
        assert own == [*unregularised, "flatten", "dense", "relu", "output"]


def test_expanded_maps_are_channels_first_between_the_reorderings() -> None:
    x, shapes = images(), {}
    for name, layer in lab_model(1).expanded().named_children():
        x = layer(x)
        shapes[name] = tuple(x.shape[1:])
    assert [shapes[name] for name in ("to_nchw1", "conv1", "pool1", "to_nhwc1")] == [
        (1, 28, 28),
        (16, 26, 26),
        (16, 13, 13),
        (13, 13, 16),
    ]


def test_permute_returns_a_view() -> None:
    x = images()
    assert Permute(0, 3, 1, 2)(x).data_ptr() == x.data_ptr()


def test_stored_weights_are_named_and_laid_out_as_plain_torch_has_them() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in lab_model(2, "batchnorm").state_dict().items()}
    assert shapes["blocks.0.conv.weight"] == (16, 1, 3, 3)
    assert shapes["blocks.1.conv.weight"] == (16, 16, 3, 3)
    assert shapes["blocks.1.regularizer.running_var"] == (16,)
    assert shapes["dense.weight"] == (80, 400)
    assert shapes["output.weight"] == (10, 80)
    assert len(shapes) == 2 * 2 + 2 * 2 + 3 * 4


def test_layer_rows_are_values() -> None:
    assert layer_table(lab_model())[0] == LayerRow("conv1", "conv 3x3x1x16", (26, 26, 16), 160, 160)


NAN = np.nan
WEIGHT = np.array([[[[0, 1]], [[4, 4]]], [[[2, 4]], [[-4, 0]]]], np.float32)  # 2 filters, 2 channels, 1x2


class TestKernels:
    def test_every_convolution_is_read_with_its_shape(self) -> None:
        model = lab_model(2)
        kernels = conv_kernels(model)
        assert [(kernel.layer, kernel.shape) for kernel in kernels] == [
            ("conv1", "3x3x1x16"),
            ("conv2", "3x3x16x16"),
        ]
        for kernel, block in zip(kernels, model.blocks, strict=True):
            assert kernel.weight.dtype == kernel.bias.dtype == np.float32
            np.testing.assert_array_equal(kernel.weight, block.conv.weight.detach())
            np.testing.assert_array_equal(kernel.bias, block.conv.bias.detach())

    def test_kernels_are_copies(self) -> None:
        model = lab_model()
        before = state_of(model)
        for kernel in conv_kernels(model):
            kernel.weight[:] = 7
            kernel.bias[:] = 7
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())

    def test_tiles_spread_each_kernel_over_black_to_white(self) -> None:
        expected = [[0, 1, NAN, 0.5, 0.5], [NAN] * 5, [0, 1, NAN, 0, 1]]  # the constant kernel is mid-gray
        np.testing.assert_array_equal(lay_out(scale_kernels(WEIGHT, "kernel")), np.array(expected, np.float32))

    def test_tiles_spread_the_layer_over_black_to_white(self) -> None:
        expected = [[0.5, 0.625, NAN, 1, 1], [NAN] * 5, [0.75, 1, NAN, 0, 0.5]]
        np.testing.assert_array_equal(lay_out(scale_kernels(WEIGHT, "layer")), np.array(expected, np.float32))

    @pytest.mark.parametrize("scaling", ["kernel", "layer"])
    def test_a_constant_layer_is_mid_gray(self, scaling: Scaling) -> None:
        tiles = lay_out(scale_kernels(np.full((3, 2, 2, 2), -1.5, np.float32), scaling))
        assert tiles.shape == (8, 5)
        assert np.nansum(tiles == 0.5) == 3 * 2 * 4
        assert np.isnan(tiles).sum() == 8 * 5 - 3 * 2 * 4

    @given(
        shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
        scaling=st.sampled_from(["kernel", "layer"]),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=40, deadline=None)
    def test_each_kernel_keeps_its_place_and_the_order_of_its_values(
        self, shape: tuple[int, int, int, int], scaling: Scaling, seed: int
    ) -> None:
        filters, channels, height, width = shape
        weight = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        before = weight.copy()
        tiles = lay_out(scale_kernels(weight, scaling))
        assert tiles.dtype == np.float32
        assert tiles.shape == (filters * (height + 1) - 1, channels * (width + 1) - 1)
        assert np.isfinite(tiles).sum() == weight.size
        assert 0 <= np.nanmin(tiles) <= np.nanmax(tiles) <= 1
        for row in range(filters):
            for column in range(channels):
                top, left = row * (height + 1), column * (width + 1)
                tile = tiles[top : top + height, left : left + width]
                order = np.argsort(weight[row, column], axis=None)
                assert (np.diff(tile.flatten()[order]) >= 0).all()
        np.testing.assert_array_equal(weight, before)
