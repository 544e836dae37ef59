"""What the figures show is what they were given."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG

from regulens.api import Study
from regulens.data.dataset import Dataset
from regulens.figures.comparison import CellPoints, comparison_info, draw_comparison
from regulens.figures.curves import common_limits, curves_info, draw_curves
from regulens.figures.gallery import draw_gallery, gallery_info
from regulens.figures.kernels import draw_kernels, kernels_info
from regulens.figures.style import TRAIN, VALIDATION, house_style, save_figure, settled
from regulens.study.store import open_store
from regulens.weights.kernels import ConvKernels


def test_gallery_shows_images_of_each_class_beside_its_name(digits: Dataset) -> None:
    info = gallery_info(digits, np.arange(len(digits.labels)), examples=3)
    for label, strip in enumerate(info.strips):
        first = digits.images[np.flatnonzero(digits.labels == label)[1]]
        assert np.array_equal(strip[:, 28:56], first)
    labels = [axes.get_ylabel() for axes in draw_gallery(info).axes]
    assert labels == list(digits.class_names)


def test_gallery_leaves_missing_examples_black(digits: Dataset) -> None:
    one = np.flatnonzero(digits.labels == 0)[:1]
    info = gallery_info(digits, one, examples=2)
    assert info.strips[0][:, :28].any()
    assert not info.strips[0][:, 28:].any()
    assert not info.strips[1].any()


def test_curves_draw_every_seed_thin_and_the_median_thick(finished: Study) -> None:
    runs = [run for run in open_store(finished.folder).results() if run.spec.stage == "train"][:3]
    info = curves_info("three runs", runs)
    [axes] = draw_curves(info, common_limits([info])).axes
    for colour, curves in ((TRAIN, info.train), (VALIDATION, info.validation)):
        lines = [line for line in axes.get_lines() if line.get_color() == colour]
        thick = max(lines, key=lambda line: line.get_linewidth())
        thin = [line.get_ydata() for line in lines if line is not thick]
        np.testing.assert_array_equal(np.array(thin), curves)
        np.testing.assert_array_equal(thick.get_ydata(), np.median(curves, axis=0))


def test_curves_of_refits_have_no_validation(finished: Study) -> None:
    runs = [run for run in open_store(finished.folder).results() if run.spec.stage == "refit"]
    info = curves_info("refits", runs)
    [axes] = draw_curves(info, common_limits([info])).axes
    assert {line.get_color() for line in axes.get_lines()} == {TRAIN}


@pytest.mark.parametrize(
    ("accuracies", "titles"),
    [
        ([0.1, 0.8], ["all runs", "enlarged: non-collapsed runs"]),
        ([0.7, 0.8], [""]),
        ([0.1, 0.1], ["all runs"]),
    ],
)
def test_comparison_enlarges_trained_runs_where_some_collapsed(accuracies: list[float], titles: list[str]) -> None:
    figure = draw_comparison(comparison_info([CellPoints("a", np.array(accuracies), 0.12, 0.75)]))
    assert [axes.get_title() for axes in figure.axes] == titles
    for axes in figure.axes:
        points = np.asarray(axes.collections[0].get_offsets())
        np.testing.assert_allclose(points[:, 0], accuracies)
        assert len(set(points[:, 1])) == len(accuracies)
        low, high = axes.get_xlim()
        assert all(low <= value <= high for value in [0.75, *(x for x in accuracies if x > 0.12)])
    bounds = [line for line in figure.axes[0].get_lines() if line.get_label() == "bound of guessing"]
    assert len(bounds) == (0.1 in accuracies)


@pytest.mark.parametrize(
    ("shape", "drawn"), [((16, 1, 3, 3), (17, 17)), ((16, 16, 3, 3), (65, 65)), ((5, 7, 1, 1), (26, 36))]
)
def test_kernels_are_one_image_titled_with_layer_and_shape(shape: tuple[int, ...], drawn: tuple[int, int]) -> None:
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernels = ConvKernels("conv2", weight, np.zeros(shape[0], np.float32))
    figure = draw_kernels(kernels_info(kernels, "kernel", "a network"))
    [axes] = figure.axes
    assert len(axes.images) == 1
    filters, channels, height, width = shape
    assert figure.get_suptitle() == f"conv2, {height}x{width}x{channels}x{filters}"
    assert axes.images[0].get_array().shape == drawn


def test_figures_are_saved_as_svg_and_png_and_repeat_to_the_byte(tmp_path: Path) -> None:
    info = comparison_info([CellPoints("a", np.array([0.5, 0.6]), 0.1)])
    paths = [save_figure(draw_comparison(info), tmp_path / name, "comparison") for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith(b"<?xml")
    assert paths[0].with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_what_no_font_draws_is_replaced_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    figure = draw_comparison(comparison_info([CellPoints("a", np.array([0.5, 0.6]), 0.1)]))
    figure.suptitle("a\udcff\x1b \N{SNOWMAN}\u6570")
    saved = save_figure(figure, tmp_path, "odd").read_text(encoding="utf-8")
    assert "\x1b" not in saved
    assert [str(each.message) for each in recwarn] == []


def test_single_value_kernels_are_scaled_by_layer_and_broken_ones_have_a_color_of_their_own() -> None:
    weight = np.array([0.0, 1.0, np.nan], np.float32).reshape(3, 1, 1, 1)
    info = kernels_info(ConvKernels("conv1", weight[:2], np.zeros(2, np.float32)), "kernel", "a network")
    np.testing.assert_array_equal(info.tiles[0, [0, 3, 5, 8]], [0, 0, 1, 1])
    assert "black to white: 0.00 to 1.00" in info.subtitle
    broken = kernels_info(ConvKernels("conv1", np.tile(weight, (1, 1, 2, 2)), np.zeros(3, np.float32)), "kernel", "")
    np.testing.assert_array_equal(broken.tiles[0], [0.5, 0.5, np.nan, 0.5, 0.5, np.nan, 2, 2])
    assert "yellow: 4 NaN of 12 weights" in broken.subtitle


@pytest.mark.parametrize(
    ("resolution", "renderer"),
    [(72, RendererSVG(800, 800, io.StringIO())), (160, RendererAgg(1600, 1600, 160))],
    ids=["svg", "png"],
)
def test_a_figure_keeps_every_label_inside_in_each_format(resolution: int, renderer: RendererBase) -> None:
    labels = ["depth 1, none", "depth 1, dropout(0.1) + batchnorm", "depth 2, l2(0.0001)"]
    points = [CellPoints(label, np.array([0.9, 0.95]), 0.1) for label in labels]
    with house_style():
        figure = draw_comparison(comparison_info(points))
        with settled(figure):
            figure.set_dpi(resolution)
            for axes in figure.axes:
                for text in [*axes.get_yticklabels(), axes.xaxis.label]:
                    assert text.get_window_extent(renderer).x0 >= 0.02 * resolution
                    assert text.get_window_extent(renderer).y0 >= 0
        assert figure.dpi == 100
