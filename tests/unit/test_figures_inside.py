"""Figures of the look inside show what they were given, on one scale where it is compared."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from regulens.errors import UserError
from regulens.figures.exciting import Shown, draw_exciting, draw_maximised, exciting_info, maximised_info
from regulens.figures.feature_maps import across_info, draw_across, draw_through, predicted_text, through_info, tile
from regulens.figures.measures import MeasurePanel, MeasureRow, draw_measures, measures_info
from regulens.figures.parts import chance
from regulens.figures.style import save_figure
from regulens.interpret.activations import ImageActivations, feature_maps, filter_responses
from regulens.interpret.kernels import conv_kernels
from regulens.interpret.maximise import Maximised
from regulens.models.cnn import CNN, build_model
from regulens.spec import ModelSpec

NAMES = ("ant", "bee", "cat")


def make(shape: tuple[int, int, int] = (12, 10, 1), regularizer: str = "batchnorm", **spec: Any) -> CNN:
    model = build_model(ModelSpec.model_validate({"filters": 3, "dense": 4} | spec), shape, 3, regularizer).eval()
    with torch.no_grad():
        model.blocks[0].conv.bias[0] = -1e6  # the first filter is dead
    return model


def pixels(shape: tuple[int, ...] = (12, 10, 1)) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def seen(model: CNN) -> ImageActivations:
    return feature_maps(model.expanded(), torch.tensor(pixels(model.image_shape)).float())


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_maps_are_tiled_row_by_row_with_nothing_between() -> None:
    tiles = tile([np.full((2, 2), value, np.float32) for value in (1, 2, 3)], 2)
    gap = math.nan
    np.testing.assert_array_equal(
        tiles, [[1, 1, gap, 2, 2], [1, 1, gap, 2, 2], [gap] * 5, [3, 3] + [gap] * 3, [3, 3] + [gap] * 3]
    )


def test_through_names_layers_and_shapes_and_scales_pooling_like_what_it_pools() -> None:
    activations = seen(make(depth=2))
    info = through_info(activations, pixels(), "a network", NAMES, truth=1)
    assert [grid.title.split(";")[0] for grid in info.grids] == [
        "conv1: convolution and ReLU, before pooling, 10x8x3",
        "pool1: after max pooling, 5x4x3",
        "batchnorm1: after batch norm, 5x4x3",
        "conv2: convolution and ReLU, before pooling, 3x2x3",
        "pool2: after max pooling, 1x1x3",
        "batchnorm2: after batch norm, 1x1x3",
    ]
    relu, pool, norm = info.grids[:3]
    maps = {each.layer: each.maps for each in activations.maps}
    assert relu.low == pool.low == 0
    assert relu.high == pool.high == pytest.approx(maps["relu1"].max())
    assert (norm.low, norm.high) == (-norm.high, pytest.approx(np.abs(maps["batchnorm1"]).max()))
    assert relu.title.endswith("; 1 of 3 maps zero")
    assert relu.zero == (0,)
    np.testing.assert_array_equal(relu.tiles[:10, 9:17], maps["relu1"][1])
    said = NAMES[int(activations.logits.argmax())]
    chances = float(activations.probabilities.max())
    assert info.subtitle == f"predicted: {said} ({chance(chances)}); true class: bee"
    assert info.classes[0] == (said, pytest.approx(float(activations.probabilities.max())))
    figure = draw_through(info)
    assert titles(figure)[0] == "input, 12x10x1"
    assert {grid.title for grid in info.grids} <= set(titles(figure))


def test_through_leaves_out_what_changes_nothing() -> None:
    info = through_info(seen(make(regularizer="dropout(0.5)", pool=1)), pixels(), "", NAMES)
    assert [grid.title.split(":")[0] for grid in info.grids] == ["conv1"]


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((8, 8, 1), {"filters": 1, "pool": 1}),
        ((224, 224, 3), {"filters": 3, "pool": 4}),
        ((12, 10, 1), {"filters": 70}),
    ],
)
def test_through_draws_small_and_large_networks(tmp_path: Path, shape: tuple[int, int, int], spec: Any) -> None:
    model = make(shape, **spec)
    info = through_info(seen(model), pixels(shape), "a $ network", NAMES)
    assert info.grids[0].shown == min(spec["filters"], 64)
    assert ("the first 64 shown" in info.grids[0].title) == (spec["filters"] > 64)
    assert save_figure(draw_through(info), tmp_path, "through").is_file()


def test_through_says_that_a_network_diverged(tmp_path: Path) -> None:
    model = make()
    with torch.no_grad():
        model.blocks[0].conv.weight[1] = math.nan
    info = through_info(seen(model), pixels(), "", NAMES)
    assert info.subtitle == "predicted: nothing (not a number); true class unknown"
    save_figure(draw_through(info), tmp_path, "through")


def test_across_has_one_scale_or_each_row_its_own() -> None:
    weak, strong = make(), make()
    with torch.no_grad():
        strong.blocks[0].conv.weight *= 10
    networks = [("weak", seen(weak)), ("strong", seen(strong))]
    shared = across_info(networks, "relu1", pixels(), image="own.png", class_names=NAMES)
    assert {(grid.low, grid.high) for _, grid in shared.rows} == {(0.0, shared.rows[1][1].high)}
    own = across_info(networks, "relu1", pixels(), "own", class_names=NAMES, truth=2)
    assert own.rows[1][1].high == pytest.approx(10 * own.rows[0][1].high)
    assert own.title == "conv1: convolution and ReLU, before pooling, 10x8x3; each row on its own scale"
    said = [predicted_text(activations, NAMES) for _, activations in networks]
    assert [label for label, _ in own.rows] == [
        f"weak\n{said[0]}\n1 of 3 maps zero",
        f"strong\n{said[1]}\n1 of 3 maps zero",
    ]
    assert own.image == "image\ntrue class: cat"
    figure = draw_across(shared)
    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {label for label, _ in shared.rows} <= words
    assert "own.png\ntrue class unknown" in words
    assert [axes.get_ylabel() for axes in figure.axes].count("activation") == 2


def test_across_names_the_network_that_lacks_the_layer() -> None:
    with pytest.raises(UserError, match='shallow has no maps of a layer "relu2"'):
        across_info([("deep", seen(make(depth=2))), ("shallow", seen(make()))], "relu2", pixels(), class_names=NAMES)


@pytest.mark.parametrize("channels", [1, 3])
def test_exciting_shows_each_filters_patches_and_says_which_are_dead(channels: int, tmp_path: Path) -> None:
    model = make((12, 10, channels), depth=2)
    images = np.random.default_rng(1).integers(0, 256, (6, 12, 10, channels), dtype=np.uint8)
    batch = (torch.tensor(images).float(), torch.arange(6) % 3)
    found = filter_responses(model.expanded(), [batch], 3, keep=4)
    for kernels in conv_kernels(model):
        info = exciting_info(kernels.weight, found[kernels.layer], images, "a network")
        field = found[kernels.layer].field
        assert len(info.rows) == 3
        for number, row in enumerate(info.rows):
            if found[kernels.layer].dead[number]:
                assert (row.patches, row.image) == ((), None)
                assert row.note.endswith("dead: zero on\nevery image")
                continue
            top, left, bottom, right = row.box
            assert row.image is not None
            np.testing.assert_array_equal(row.patches[0], row.image[top:bottom, left:right])
            assert (bottom - top, right - left) == field.size
            assert row.reach == np.abs(kernels.weight[number]).max()
        figure = draw_exciting(info)
        assert kernels.shape.rsplit("x", 1)[0] in figure.get_suptitle()
        save_figure(figure, tmp_path, "exciting")
    assert found["conv1"].dead[0]


def test_exciting_says_that_a_filter_diverged(tmp_path: Path) -> None:
    model = make()
    with torch.no_grad():
        model.blocks[0].conv.weight[1] = math.nan
    images = pixels((3, 12, 10, 1))
    found = filter_responses(model.expanded(), [(torch.tensor(images).float(), torch.arange(3))], 3)
    info = exciting_info(conv_kernels(model)[0].weight, found["conv1"], images, "")
    assert [row.note.split("\n")[1] for row in info.rows[:2]] == ["dead: zero on", "its map is"]
    save_figure(draw_exciting(info), tmp_path, "exciting")


def test_exciting_says_what_it_does_not_show() -> None:
    model = make((12, 10, 1), filters=20, depth=2)
    images = pixels((3, 12, 10, 1))
    found = filter_responses(model.expanded(), [(torch.tensor(images).float(), torch.arange(3))], 3)
    info = exciting_info(conv_kernels(model)[1].weight, found["conv2"], images, "")
    assert info.subtitle.endswith("the first 16 input channels shown; filters 1-16 of 20")
    assert len(info.rows) == 16
    assert info.columns == 3
    named = exciting_info(conv_kernels(model)[1].weight, found["conv2"], images, "", [1, 2, 18])
    assert named.subtitle.endswith("filters 2-3, 19 of 20")
    assert [row.name for row in named.rows] == ["2", "3", "19"]


def test_exciting_says_which_image_it_is_and_its_classes() -> None:
    model = make()
    images = pixels((3, 12, 10, 1))
    found = filter_responses(model.expanded(), [(torch.tensor(images).float(), torch.arange(3))], 3)
    described = {place: f"image {place}\ntrue: bee\npredicted: ant" for place in range(3)}
    info = exciting_info(conv_kernels(model)[0].weight, found["conv1"], images, "", described=described)
    for number, row in enumerate(info.rows):
        assert row.note.endswith("predicted: ant") == bool(row.patches)
        if row.patches:
            assert described[int(found["conv1"].exciting[number, 0])] in row.note
    bars = [axes for axes in draw_exciting(info).axes if axes.get_xlabel() == "weight"]
    assert [[label.get_text() for label in axes.get_xticklabels()] for axes in bars] == [["−|w|", "0", "|w|"]]


def maximised(layer: str, unit: int, real: float | None, channels: int = 1) -> Maximised:
    return Maximised(layer, unit, "mean", pixels((8, 8, channels)), -1.25, real)


def test_maximised_inputs_stand_beside_the_real_image_that_they_are_compared_with(tmp_path: Path) -> None:
    real = [Shown(pixels((8, 8, 1)) // 2, ("image 7", "true: Ankle boot", "predicted: Sandal"))] * 2
    found = [maximised("conv1", 0, 2.0), maximised("conv1", 4, 2.0)]
    filters = maximised_info(found, "a network", predicted=["predicted: Coat"] * 2, real=real)
    assert filters.names == ("filter 1", "filter 5")
    assert filters.made[0].lines == ("made: −1.25", "predicted: Coat")
    assert filters.real[1] is not None
    assert filters.real[1].lines == ("real: 2", "image 7", "true: Ankle boot", "predicted: Sandal")
    assert "filters of conv1" in filters.title
    assert filters.note == (
        "below each: the mean of the map behind the ReLU that it reaches; at its right the validation image that "
        "reaches most, read alike"
    )
    figure = draw_maximised(filters)
    shown = [axes for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(shown[1].images[0].get_array(), real[0].image[..., 0])
    assert [axes.get_title() for axes in shown] == ["filter 1", "", "filter 5", ""]
    save_figure(figure, tmp_path, "maximised")
    with pytest.raises(ValueError, match="real image for each, got 1 for 2"):
        maximised_info(found, "", real=real[:1])


def test_maximised_inputs_without_real_images_stand_alone() -> None:
    classes = maximised_info([maximised("output", 2, None, 3)] * 10, "", ("a", "b", "T-shirt"))
    assert classes.names[0] == "T-shirt"
    assert classes.note == "below each: the logit that it reaches"
    shown = [axes for axes in draw_maximised(classes).axes if axes.images]
    assert [axes.get_xlabel() for axes in shown] == ["made: −1.25"] * 10


def row(label: str, values: list[float], interval: tuple[float, float, float] | None, group: str = "g") -> MeasureRow:
    return MeasureRow(label, group, np.array(values), interval)


def drawn(axes: Any, gid: str) -> list[NDArray[np.float64]]:
    return [np.asarray(line.get_xdata()) for line in axes.get_lines() if line.get_gid() == gid]


def test_measures_draw_every_run_and_the_intervals_given() -> None:
    rows = (row("none", [1, 2, 3], (2, 0.5, 3.5)), row("l2", [math.nan, 4], (4, math.nan, math.nan), "h"))
    info = measures_info([MeasurePanel("norm", "units", rows, reference=9.0)])
    figure = draw_measures(info)
    axes = figure.axes[0]
    np.testing.assert_array_equal(np.concatenate(drawn(axes, "runs")), [1, 2, 3, 4])
    np.testing.assert_array_equal(drawn(axes, "interval"), [[0.5, 3.5]])
    np.testing.assert_array_equal(np.concatenate(drawn(axes, "mean")), [2, 4])
    assert [text.get_text() for text in axes.texts] == ["1 of 2 undefined"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["g", "none", "h", "l2"]
    low, high = axes.get_xlim()
    assert low < 0.5
    assert high > 9


def test_measures_of_which_no_run_has_one_are_said_to_be_undefined() -> None:
    info = measures_info([MeasurePanel("norm", "units", (row("none", [math.nan, math.nan], None),))])
    axes = draw_measures(info).axes[0]
    assert [text.get_text() for text in axes.texts] == ["all undefined"]
    assert drawn(axes, "mean") == []


def test_measures_over_many_decades_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    wide = MeasurePanel("norm", "units", (row("none", [1.0, 1e25], (5e24, -1e25, 2e25)),))
    near = MeasurePanel("rank", "filters", (row("none", [1.0, 2.0], (1.5, -1, 3)),))
    figure = draw_measures(measures_info([wide, near]))
    assert [axes.get_xscale() for axes in figure.axes[:2]] == ["log", "linear"]
    assert figure.axes[0].get_xlabel() == "units; logarithmic axis"
    [ends] = drawn(figure.axes[0], "interval")
    assert ends[0] > 0
    save_figure(figure, tmp_path, "measures")
    assert "mathdefault" not in (tmp_path / "measures.svg").read_text()


def test_measures_keep_rows_of_a_group_together() -> None:
    rows = (row("a", [1], None, "x"), row("a", [1], None, "y"), row("b", [1], None, "x"))
    assert measures_info([MeasurePanel("m", "", rows)]).lines == (("x", "a"), ("x", "b"), ("y", "a"))


def test_measures_without_a_row_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        measures_info([])


def test_rows_of_maps_are_as_high_as_the_names_of_their_networks() -> None:
    label = ", ".join(f"factor {number} {number / 4:g}" for number in range(16))
    figure = draw_across(
        across_info([(label, seen(make())), (f"{label}, b", seen(make()))], "relu1", pixels(), class_names=NAMES)
    )
    figure.draw_without_rendering()
    names = [text.get_window_extent() for axes in figure.axes for text in axes.texts if "factor" in text.get_text()]
    assert names[1].y1 <= names[0].y0
    grids = [axes.get_window_extent().width for axes in figure.axes if axes.images]
    assert max(grids) > 300


def test_the_name_of_a_group_of_measures_has_the_lines_that_it_needs() -> None:
    groups = [", ".join(f"factor {number} {number / 4:g}" for number in range(16)) + end for end in ("", ", b")]
    rows = tuple(row("none", [1.0, 2.0], (1.5, 1.0, 2.0), group) for group in groups)
    figure = draw_measures(measures_info([MeasurePanel("norm", "units", rows)]))
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(below.y1 <= above.y0 + 1 for above, below in pairwise(boxes))
