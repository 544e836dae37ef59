"""Kernels as pictures: signed and coloured, of large layers a choice, of several networks side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from regulens.errors import UserError
from regulens.figures.kernels import NOT_FINITE_COLOUR, draw_kernels, kernels_info, rgb_info
from regulens.figures.matched import draw_matched, draw_panels, matched_info, panel_pages, panels_info
from regulens.figures.style import house_style, save_figure, settled
from regulens.interpret.kernel_summary import summarize
from regulens.interpret.kernels import choose_kernels, lay_out, rgb_kernels, scale_kernels
from regulens.interpret.matching import MatchedLayer, RandomSimilarity, match_all
from regulens.report.inside.kernel_layers import KernelView, named_layers
from regulens.weights.kernels import ConvKernels

RANDOM = RandomSimilarity(0.5, 0.48, 0.52, 0.3, 0.7, 100)


def layer(*shape: int, seed: int = 0, name: str = "conv1") -> ConvKernels:
    weight = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return ConvKernels(name, weight, np.zeros(0, np.float32))


def matched(networks: int, *shape: int) -> MatchedLayer:
    return match_all([[layer(*shape, seed=seed)] for seed in range(networks)])[0]


def assert_inside(figure: Figure) -> None:
    """Require every text to lie within the figure."""
    with house_style(), settled(figure):
        figure.draw_without_rendering()
        page = figure.bbox
        for text in figure.findobj(Text):
            if text.get_text().strip() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 >= page.x0 - 1, text
                assert box.x1 <= page.x1 + 1, text
                assert box.y0 >= page.y0 - 1, text
                assert box.y1 <= page.y1 + 1, text


class TestScales:
    def test_signed_kernels_are_divided_by_the_layers_greatest_magnitude(self) -> None:
        weight = np.array([[[[1, -4]]], [[[0, 2]]]], np.float32)
        np.testing.assert_array_equal(lay_out(scale_kernels(weight, "signed")), [[0.25, -1], [np.nan] * 2, [0, 0.5]])

    def test_a_signed_layer_of_zeros_stays_zero(self) -> None:
        assert not scale_kernels(np.zeros((2, 1, 2, 2), np.float32), "signed").any()

    @pytest.mark.parametrize("scaling", ["kernel", "layer", "signed"])
    def test_values_that_are_not_finite_are_open_and_do_not_count(self, scaling: str) -> None:
        weight = np.array([1, 2, np.nan, np.inf, -np.inf, -3], np.float32).reshape(1, 1, 2, 3)
        finite = np.array([1, 2, -3], np.float32).reshape(1, 1, 1, 3)
        scaled = scale_kernels(weight, scaling).ravel()
        assert np.isnan(scaled[[2, 3, 4]]).all()
        np.testing.assert_array_equal(scaled[[0, 1, 5]], scale_kernels(finite, scaling).ravel())

    def test_the_greatest_floats_do_not_overflow(self) -> None:
        weight = np.array([3e38, -3e38], np.float32).reshape(1, 1, 1, 2)
        np.testing.assert_array_equal(scale_kernels(weight, "layer").ravel(), [1, 0])

    def test_a_part_of_a_layer_keeps_the_scale_of_the_whole(self) -> None:
        weight = layer(6, 4, 3, 3).weight
        shown = choose_kernels(6, 4, page=2, most=3)
        whole = scale_kernels(weight, "signed")
        np.testing.assert_array_equal(
            lay_out(scale_kernels(weight[np.ix_(shown.filters, shown.channels)], "signed", weight)),
            lay_out(whole[3:, :3]),
        )

    def test_filters_in_colours_are_spread_over_their_three_channels_together(self) -> None:
        weight = np.array([0, 1, 2, 3, 4, 8], np.float32).reshape(1, 3, 1, 2)
        expected = [[[[0, 0.25, 0.5], [0.125, 0.375, 1]]]]  # pixel by pixel: red, green, blue
        np.testing.assert_array_equal(rgb_kernels(weight, "kernel"), expected)
        np.testing.assert_array_equal(rgb_kernels(-weight, "signed")[0, 0, 0], [0.5, 0.375, 0.25])

    def test_colours_need_three_channels(self) -> None:
        with pytest.raises(ValueError, match="3 input channels, got 1"):
            rgb_kernels(layer(2, 1, 3, 3).weight, "kernel")


class TestChoice:
    def test_a_small_layer_is_shown_whole_without_a_note(self) -> None:
        shown = choose_kernels(16, 16)
        assert (shown.filters.tolist(), shown.channels.tolist(), shown.note) == ([*range(16)], [*range(16)], "")

    def test_a_page_of_a_large_layer_is_named(self) -> None:
        assert choose_kernels(512, 512).note == "filters 1-64 of 512, input channels 1-64 of 512"
        last = choose_kernels(130, 3, page=3)
        assert (last.filters.tolist(), last.note) == ([128, 129], "filters 129-130 of 130")
        assert choose_kernels(65, 1, page=2).note == "filter 65 of 65"

    def test_an_even_choice_is_named(self) -> None:
        shown = choose_kernels(10, 100, "even", most=4)
        assert shown.filters.tolist() == [0, 2, 5, 7]
        assert shown.channels.tolist() == [0, 25, 50, 75]
        assert shown.note == "4 of 10 filters, evenly spaced, 4 of 100 input channels, evenly spaced"

    @pytest.mark.parametrize("page", [0, 3])
    def test_a_page_that_is_not_there_is_refused(self, page: int) -> None:
        with pytest.raises(ValueError, match=f"page must be from 1 to 2, got {page}"):
            choose_kernels(100, 1, page=page)

    @given(filters=st.integers(1, 300), most=st.integers(1, 70))
    @settings(max_examples=60, deadline=None)
    def test_the_pages_together_hold_every_filter_once(self, filters: int, most: int) -> None:
        pages = [choose_kernels(filters, 1, page=page + 1, most=most).filters for page in range(-(-filters // most))]
        np.testing.assert_array_equal(np.concatenate(pages), np.arange(filters))
        even = choose_kernels(filters, 1, "even", most=most).filters
        assert len(set(even.tolist())) == len(even) == min(filters, most)
        assert 0 <= even.min() <= even.max() < filters


class TestBounds:
    SHAPES = (
        *((512, 1, 128, 1), (512, 1, 1, 128), (64, 32, 1, 3), (4, 1, 1, 16000), (3, 1, 16000, 1), (192, 160, 7, 1)),
        *((1, 1, 1, 1), (2048, 512, 1, 1), (512, 512, 3, 3), (96, 1, 3, 3), (960, 1, 5, 5), (64, 3, 7, 7)),
        *((32, 8, 31, 31), (1, 1, 224, 224), (8, 3, 224, 224), (1, 1, 1500, 1200), (7, 1, 5, 5), (2, 700, 2, 90)),
    )

    @pytest.mark.parametrize("shape", SHAPES)
    def test_a_picture_of_any_shape_is_at_most_ten_inches_a_side(self, shape: tuple[int, ...]) -> None:
        kernels = ConvKernels("c", np.random.default_rng(0).random(shape, np.float32), np.zeros(0, np.float32))
        for scaling in ("kernel", "signed"):
            figure = draw_kernels(kernels_info(kernels, scaling, "n"))
            assert figure.get_size_inches().max() <= 10
        assert_inside(figure)
        panels = panels_info([("a", kernels), ("b", kernels), ("c", kernels)], "kernel")
        assert all(draw_panels(page).get_size_inches().max() <= 11 for page in panel_pages(panels))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_every_weight_takes_a_whole_number_of_pixels(self, shape: tuple[int, ...]) -> None:
        info = kernels_info(layer(*shape), "layer", "")
        pixels = info.layout.scale * 160
        assert pixels == pytest.approx(round(pixels))
        assert round(pixels) >= 1

    @pytest.mark.parametrize("shape", [(130, 70, 3, 3), (600, 1, 5, 5), (70, 3, 224, 224), (9, 40, 1, 128)])
    def test_the_pages_of_a_layer_hold_each_kernel_once(self, shape: tuple[int, ...]) -> None:
        view = KernelView()
        kernels = layer(*shape[:2], 1, 1)
        kernels = replace(kernels, numbers=np.broadcast_to(kernels.weight, shape))
        seen = np.zeros(shape[:2], int)
        for page in range(1, view.pages(kernels) + 1):
            shown = KernelView(page=page).shown(kernels)
            seen[np.ix_(shown.filters, shown.channels)] += 1
            assert (shown.page, shown.pages) == (page, view.pages(kernels))
        assert (seen == 1).all()

    def test_a_page_names_its_filters_and_its_channels(self) -> None:
        kernels = layer(130, 70, 3, 3)
        assert KernelView(page=3).shown(kernels).words == (
            "filters 129-130 of 130, input channels 1-64 of 70 (page 3 of 6)"
        )
        assert KernelView(page=4).shown(kernels).words == (
            "filters 1-64 of 130, input channels 65-70 of 70 (page 4 of 6)"
        )

    @pytest.mark.parametrize(
        ("shape", "across"), [((16, 1, 5, 5), 4), ((64, 1, 3, 3), 8), ((64, 3, 7, 7), 4), ((16, 16, 3, 3), 1)]
    )
    def test_filters_with_few_channels_stand_in_a_block(self, shape: tuple[int, ...], across: int) -> None:
        info = kernels_info(layer(*shape), "kernel", "")
        assert info.layout.across == across
        assert len(info.rows) == shape[0] // across
        assert info.rows[0] == (f"1–{across}" if across > 1 else "1")

    def test_a_block_holds_the_kernels_row_by_row(self) -> None:
        kernels = layer(16, 1, 5, 5)
        info = kernels_info(kernels, "kernel", "")
        fifth = scale_kernels(kernels.weight, "kernel")[4, 0]
        np.testing.assert_array_equal(info.tiles[6:11, :5], fifth)

    def test_a_long_kernel_is_drawn_as_means_and_says_so(self) -> None:
        kernels = layer(2, 1, 1, 4000)
        info = kernels_info(kernels, "layer", "")
        scaled = scale_kernels(kernels.weight, "layer")[0, 0, 0]
        np.testing.assert_allclose(info.tiles[0, :1000], scaled.reshape(1000, 4).mean(1), rtol=1e-5)
        assert "each point the mean of 4 neighboring weights" in info.subtitle

    def test_a_strip_of_one_dimension_is_as_high_as_it_can_be_seen(self) -> None:
        kernels = replace(layer(8, 1, 1, 80), spatial=1)
        info = kernels_info(kernels, "kernel", "")
        assert info.title == "conv1, 80x1x8"
        assert info.kernel[0] * info.layout.scale >= 0.06
        np.testing.assert_array_equal(info.tiles[0], info.tiles[1])

    def test_single_weights_side_by_side_are_on_the_scale_of_the_layer(self) -> None:
        info = panels_info([("a", layer(8, 8, 1, 1)), ("b", layer(8, 8, 1, 1, seed=1))], "kernel")
        values = np.unique(info.tiles[0][~np.isnan(info.tiles[0])])
        assert len(values) == 64
        assert "black to white" in info.subtitle

    def test_many_networks_stand_on_pages_of_one_scale(self) -> None:
        networks = [(f"network {place}", layer(16, 16, 3, 3, seed=place)) for place in range(15)]
        info = panels_info(networks, "signed")
        pages = panel_pages(info)
        assert [name for page in pages for name in page.names] == [name for name, _ in networks]
        assert len(pages) > 1
        assert {page.limit for page in pages} == {info.limit}

    def test_weights_that_are_not_finite_have_a_color_of_their_own_in_every_picture(self) -> None:
        kernels = layer(8, 3, 3, 3)
        kernels.weight[1, 0, 0, 0], kernels.weight[2, 1, 1, 1] = np.nan, np.inf
        for info in (
            kernels_info(kernels, "kernel", ""), kernels_info(kernels, "signed", ""), rgb_info(kernels, "kernel", "")
        ):  # fmt: skip
            axes = draw_kernels(info).axes[0]
            [picture] = axes.images
            shown = picture.get_array()
            colors = shown if shown.ndim == 3 else picture.to_rgba(shown)[..., :3]
            yellow = np.isclose(colors, to_rgb(NOT_FINITE_COLOUR), atol=1e-6).all(-1)
            assert yellow.sum() == 2
            assert "yellow: 1 NaN and 1 infinite of 216 weights" in info.subtitle

    def test_tiny_and_huge_weights_have_short_numbers(self) -> None:
        for size in (1e-30, 1e-3, 1e30):
            kernels = layer(4, 1, 3, 3)
            kernels.weight[:] *= size
            for scaling in ("layer", "signed"):
                figure = draw_kernels(kernels_info(kernels, scaling, ""))
                assert figure.get_figwidth() < 6
                assert all(len(label.get_text()) < 10 for label in figure.axes[-1].get_yticklabels())

    def test_endless_names_are_cut(self) -> None:
        figure = draw_kernels(kernels_info(layer(4, 1, 3, 3, name="a/" * 500), "kernel", "n" * 1000))
        assert figure.get_size_inches().max() <= 10
        assert_inside(figure)


class TestLayers:
    NAMES = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "blocks[0].conv")

    def test_are_meant_by_name_by_pattern_or_all(self) -> None:
        assert named_layers(None, self.NAMES) == named_layers("*", self.NAMES) == set(self.NAMES)
        assert named_layers(("conv1", "layer1.*"), self.NAMES) == set(self.NAMES[:3])
        assert named_layers("blocks[0]*", self.NAMES) == named_layers("blocks[0].conv", self.NAMES) == {self.NAMES[3]}

    def test_names_in_a_message_are_quoted_and_not_too_many(self) -> None:
        with pytest.raises(UserError, match=r'^no convolution is named "conv1"; there is "0"$'):
            named_layers("conv1", ["0"])
        many = [f"layer{place}.conv" for place in range(53)]
        with pytest.raises(UserError, match=r'"layer9.conv" and 43 more; did you mean "layer2\d?.conv"\?$'):
            named_layers("layer2.conf", many)

    def test_a_summary_counts_what_is_dead_and_what_is_not_finite(self) -> None:
        weight = np.array([[1, -3], [0, 0], [np.nan, 2]], np.float32).reshape(3, 1, 1, 2)
        found = summarize(ConvKernels("c", weight, np.zeros(3, np.float32)))
        finite = np.array([1, -3, 0, 0, 2])
        assert (found.filters, found.parameters, found.zero_filters, found.not_finite) == (3, 9, 1, 1)
        assert (found.mean, found.sd, found.greatest) == (finite.mean(), pytest.approx(finite.std()), 3)


class TestFigures:
    def test_a_signed_picture_says_what_its_colours_mean(self) -> None:
        kernels = layer(4, 2, 3, 3)
        figure = draw_kernels(kernels_info(kernels, "signed", "a network"))
        picture, bar = figure.axes
        assert picture.images[0].get_clim() == (-1, 1)
        greatest = np.abs(kernels.weight).max()
        labels = [label.get_text() for label in bar.get_yticklabels()]
        assert labels == [f"−{greatest:.1f}", "0", f"+{greatest:.1f}"]

    def test_a_large_layer_is_drawn_in_part_and_says_so(self) -> None:
        figure = draw_kernels(kernels_info(layer(300, 200, 3, 3), "signed", "VGG16"))
        assert "filters 1-64 of 300, input channels 1-64 of 200" in figure.axes[0].get_title()
        assert figure.axes[0].images[0].get_array().shape == (257, 257)
        assert figure.get_figwidth() < 8
        assert_inside(figure)

    def test_an_even_choice_is_numbered_as_in_the_layer(self) -> None:
        figure = draw_kernels(kernels_info(layer(40, 1, 3, 3), "kernel", "", choose_kernels(40, 1, "even", most=4)))
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1 … 11", "21 … 31"]

    @pytest.mark.parametrize("filters", [1, 5, 64, 100])
    def test_filters_in_colours_stand_in_rows(self, filters: int) -> None:
        kernels = layer(filters, 3, 4, 4)
        info = rgb_info(kernels, "kernel", "a network")
        pictures = rgb_kernels(kernels.weight, "kernel")
        np.testing.assert_array_equal(info.tiles[:4, :4], pictures[0])
        if filters > 8:
            np.testing.assert_array_equal(info.tiles[5:9, 5:9], pictures[9])
        assert ("filters 1-64 of 100" in info.subtitle) == (filters == 100)
        assert_inside(draw_kernels(info))

    @pytest.mark.parametrize("shape", [(1, 1, 1, 1), (16, 1, 3, 3), (64, 3, 11, 11), (3, 70, 5, 2), (2, 1, 1, 7)])
    @pytest.mark.parametrize("scaling", ["kernel", "layer", "signed"])
    def test_every_shape_is_drawn_within_the_page(self, shape: tuple[int, ...], scaling: str) -> None:
        figure = draw_kernels(kernels_info(layer(*shape), scaling, "depth 2, batchnorm, seed 0, refit"))
        assert_inside(figure)
        assert figure.get_figheight() < 20

    def test_panels_have_one_scale_or_say_that_they_have_not(self) -> None:
        weak, strong = layer(16, 1, 3, 3), layer(16, 1, 3, 3, seed=1)
        strong.weight[:] *= 10
        networks = [("none", strong), ("l2(0.01)", weak)]
        same = panels_info(networks, "signed")
        assert np.nanmax(np.abs(same.tiles[1])) == pytest.approx(
            np.abs(weak.weight).max() / np.abs(strong.weight).max()
        )
        assert len(draw_panels(same).axes) == 3  # two panels and one colour bar
        own = panels_info(networks, "signed", same_scale=False)
        assert [np.nanmax(np.abs(tiles)) for tiles in own.tiles] == [1, 1]
        assert own.names[1] == f"l2(0.01) (to ±{np.abs(weak.weight).max():.2g})"
        assert own.subtitle == "each network on a scale of its own"
        assert panels_info(networks, "kernel").limit is None

    def test_a_network_that_diverged_leaves_the_others_their_scale(self) -> None:
        broken = layer(4, 1, 3, 3)
        broken.weight[:] = np.nan
        info = panels_info([("none", broken), ("batchnorm", layer(4, 1, 3, 3))], "signed")
        assert np.isin(info.tiles[0][~np.isnan(info.tiles[0])], 2).all()
        assert "yellow: 36 NaN of 72 weights" in info.subtitle
        assert np.nanmax(np.abs(info.tiles[1])) == 1

    @pytest.mark.parametrize("shape", [(16, 1, 3, 3), (16, 16, 3, 3), (1, 1, 1, 1), (100, 100, 3, 3), (16, 3, 5, 5)])
    @pytest.mark.parametrize("networks", [1, 2, 4, 5])
    def test_panels_are_drawn_within_the_page(self, shape: tuple[int, ...], networks: int) -> None:
        panels = [(f"dropout(0.{place}) + batchnorm", layer(*shape, seed=place)) for place in range(networks)]
        for scaling in ("signed", "kernel"):
            assert_inside(draw_panels(panels_info(panels, scaling)))

    def test_panels_of_different_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="networks of one shape"):
            panels_info([("a", layer(4, 1, 3, 3)), ("b", layer(5, 1, 3, 3))])

    def test_matched_filters_stand_in_rows_from_the_most_similar(self) -> None:
        found = matched(3, 4, 1, 3, 3)
        info = matched_info(found, ["seed 0", "seed 1", "seed 2"], RANDOM, "depth 1, none")
        assert (np.diff(info.similarity) <= 0).all()
        assert info.names[0] == f"seed {found.reference}"
        best = int(found.filter_similarity.argmax())
        assert info.rows[0] == str(best + 1)
        other = 1 if found.reference == 0 else 0  # second column, first row
        kernel = scale_kernels(found.weight[other, best][None], "kernel")[0, 0]
        np.testing.assert_array_equal(info.tiles[:3, 4:7], kernel)

    def test_the_picture_says_how_similar_matched_and_random_filters_are(self) -> None:
        found = matched(3, 4, 1, 3, 3)
        figure = draw_matched(matched_info(found, ["0", "1", "2"], RANDOM, "depth 1, none"))
        texts = "\n".join(text.get_text() for text in figure.findobj(Text))
        mean = found.filter_similarity.mean()
        assert f"mean similarity {mean:.2f}; of random kernels 0.50 (95 %: 0.48 to 0.52)" in texts
        for similarity in found.filter_similarity:
            assert f"{similarity:.2f}" in texts
        side = figure.axes[1]
        points = np.asarray(side.lines[0].get_xydata())
        np.testing.assert_allclose(points[:, 0], np.sort(found.filter_similarity)[::-1])
        assert figure.axes[0].get_position().y0 == side.get_position().y0
        assert figure.axes[0].get_ylim() == side.get_ylim()

    def test_what_of_a_large_layer_is_left_out_is_said(self) -> None:
        names = [f"seed {seed}" for seed in range(14)]
        info = matched_info(matched(14, 20, 30, 3, 3), names, RANDOM, "depth 2, none")
        assert "drawn: 8 of 20 filters, 12 of 14 networks, 16 of 30 channels" in info.subtitle
        assert len(info.rows) == 8
        assert len(info.names) == 12

    @pytest.mark.parametrize("scaling", ["kernel", "signed"])
    @pytest.mark.parametrize(
        ("networks", "shape"),
        [(10, (16, 1, 3, 3)), (10, (16, 16, 3, 3)), (2, (1, 1, 3, 3)), (3, (1, 1, 1, 1)), (14, (20, 3, 5, 5))],
    )
    def test_matched_filters_are_drawn_within_the_page(
        self, networks: int, shape: tuple[int, ...], scaling: str
    ) -> None:
        names = [f"seed {10000 + seed}" for seed in range(networks)]
        info = matched_info(matched(networks, *shape), names, RANDOM, "depth 2, dropout(0.1)", scaling)
        assert_inside(draw_matched(info))

    def test_one_network_is_not_matched(self) -> None:
        with pytest.raises(ValueError, match="at least two networks"):
            matched_info(matched(1, 4, 1, 3, 3), ["seed 0"], RANDOM, "")

    def test_figures_repeat_to_the_byte(self, tmp_path: Path) -> None:
        found = matched(3, 4, 1, 3, 3)
        for name in ("one", "two"):
            info = matched_info(found, ["0", "1", "2"], RANDOM, "", "signed")
            save_figure(draw_matched(info), tmp_path / name, "matched")
        assert (tmp_path / "one/matched.svg").read_bytes() == (tmp_path / "two/matched.svg").read_bytes()
