"""Figures of similarity, probes, calibration and robustness show what they were given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from regulens.figures.calibration import FEW_IMAGES, draw_reliability, reliability_panel
from regulens.figures.probes import ProbeLine, ProbePanel, draw_probes, probes_info
from regulens.figures.robustness import (
    RobustnessLine,
    RobustnessPanel,
    draw_robustness,
    robustness_info,
)
from regulens.figures.similarity import (
    LayerPanel,
    SimilarityPanel,
    SimilarityRow,
    draw_layer_map,
    draw_seed_similarity,
    draw_similarity_map,
    layer_map_info,
    seed_similarity_info,
    similarity_map_info,
)
from regulens.figures.style import save_figure, settled
from regulens.stats.calibration import Reliability, reliability


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def inside(figure: Figure) -> None:
    """Nothing that is drawn is cut off at the figure's edge."""
    with settled(figure):
        page = figure.bbox
        for axes in figure.axes:
            if axes.get_visible():
                box = axes.get_tightbbox()
                assert box.x0 >= page.x0 - 1
                assert box.x1 <= page.x1 + 1
                assert box.y0 >= page.y0 - 1
                assert box.y1 <= page.y1 + 1


def matrix(n: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).uniform(0, 1, (n, n))
    return (x + x.T) / 2


def test_similarity_map_writes_every_number_and_leaves_gaps_gray() -> None:
    values = matrix(3)
    values[1] = values[:, 1] = np.nan
    info = similarity_map_info(
        [SimilarityPanel("block1", values), SimilarityPanel("dense", matrix(3))], list("abc"), "CKA"
    )
    figure = draw_similarity_map(info)
    assert sorted(texts(figure)) == sorted(f"{v:.2f}" for v in [*values.ravel(), *matrix(3).ravel()] if np.isfinite(v))
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert {image.get_clim() for image in images} == {(0.0, 1.0)}
    assert np.ma.getmaskarray(images[0].get_array())[1].all()
    inside(figure)


def test_names_without_any_similarity_are_left_out() -> None:
    values = matrix(3)
    values[1] = values[:, 1] = np.nan
    info = similarity_map_info([SimilarityPanel("block2", values)], ["a", "dead", "c"], "CKA")
    assert info.names == ("a", "c")
    assert info.panels[0].values.shape == (2, 2)


@pytest.mark.parametrize(("names", "panels"), [(1, 1), (8, 4), (4, 8), (40, 3), (5, 3)])
def test_similarity_maps_of_any_size_fit(names: int, panels: int, tmp_path: Path) -> None:
    labels = [f"{place} blocks, dropout(0.{place})" for place in range(names)]
    each = [SimilarityPanel(f"layer {place}", matrix(names, place)) for place in range(panels)]
    figure = draw_similarity_map(similarity_map_info(each, labels, "debiased CKA", "On the diagonal: two seeds."))
    assert len(texts(figure)) == (names**2 * panels if names <= 16 else 0)
    inside(figure)
    assert save_figure(figure, tmp_path, "map").is_file()


def test_panels_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="3 x 3"):
        similarity_map_info([SimilarityPanel("a", matrix(2))], list("abc"), "CKA")


def layer_panel(title: str, blocks: int, seeds: bool = True) -> LayerPanel:
    stages = ("input", *(f"block{place + 1}" for place in range(blocks)), "dense", "output")
    two = matrix(blocks + 3, 1) if seeds else np.full((blocks + 3, blocks + 3), np.nan)
    return LayerPanel(title, stages, matrix(blocks + 3), two)


def test_layer_maps_show_one_run_above_the_diagonal_and_two_seeds_on_it_and_below() -> None:
    figure = draw_layer_map(layer_map_info([layer_panel("a", 2), layer_panel("b", 1)], "CKA"))
    panels = [axes for axes in figure.axes if axes.images and axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["b", "a"]
    shown = np.asarray(panels[1].images[0].get_array())
    upper = np.triu_indices(5, 1)
    np.testing.assert_array_equal(shown[upper], matrix(5)[upper])
    np.testing.assert_array_equal(np.tril(shown), np.tril(matrix(5, 1)))
    assert [axes.images[0].get_clim() for axes in panels] == [(0.0, 1.0)] * 2
    assert [label.get_text() for label in panels[1].get_yticklabels()] == list(layer_panel("a", 2).stages)
    assert "above the diagonal" in figure.get_supxlabel()
    (edge,) = [line for line in panels[1].get_lines() if line.get_gid() == "halves"]
    for x, y in zip(edge.get_xdata(), edge.get_ydata(), strict=True):  # right of and above every square of the diagonal
        assert x - y in (0.0, 1.0)
    inside(figure)


def test_layer_maps_without_a_second_seed_are_of_one_run() -> None:
    info = layer_map_info([layer_panel("a", 1, seeds=False)], "CKA")
    figure = draw_layer_map(info)
    np.testing.assert_array_equal(np.asarray(figure.axes[0].images[0].get_array()), matrix(4))
    assert not figure.axes[0].get_lines()
    assert figure.get_supxlabel() == "two stages of one run"
    one_of_two = draw_layer_map(layer_map_info([layer_panel("a", 1, seeds=False), layer_panel("b", 1)], "CKA"))
    assert np.ma.getmaskarray(one_of_two.axes[0].images[0].get_array())[np.tril_indices(4)].all()


@pytest.mark.parametrize("depths", [[1], [1, 1, 1, 1, 2, 2, 2, 2], [1, 9], [2] * 9, [20]])
def test_layer_maps_of_any_size_fit(depths: list[int], tmp_path: Path) -> None:
    panels = [layer_panel(f"kernel size {place}, l2(0.01) + dropout(0.1)", each) for place, each in enumerate(depths)]
    figure = draw_layer_map(layer_map_info(panels, "mean CKA over runs, or pairs of seeds"))
    assert len(texts(figure)) == sum((each + 3) ** 2 for each in depths if each <= 13)
    inside(figure)
    assert save_figure(figure, tmp_path, "layers").is_file()


def test_layers_that_do_not_match_their_names_are_refused() -> None:
    with pytest.raises(ValueError, match="none: needs 2 x 2"):
        layer_map_info([LayerPanel("none", ("input", "output"), matrix(2), matrix(3))], "CKA")
    with pytest.raises(ValueError, match="at least one network"):
        layer_map_info([], "CKA")


def test_seed_similarity_draws_means_and_intervals_within_before_between() -> None:
    rows = [
        SimilarityRow("a – b", False, 0.4, 0.3, 0.5),
        SimilarityRow("a", True, 0.9, 0.85, 0.95),
        SimilarityRow("b", True, 0.7, np.nan, np.nan),
    ]
    info = seed_similarity_info([("block1", rows), ("dense", rows[:2]), ("none", [])], "CKA")
    figure = draw_seed_similarity(info)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["block1", "dense"]
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b", "a – b"]
    means = [line.get_xdata()[0] for line in first.get_lines() if line.get_gid() == "mean"]
    intervals = [tuple(line.get_xdata()) for line in first.get_lines() if line.get_gid() == "interval"]
    assert means == [0.9, 0.7, 0.4]
    assert intervals[0] == (0.85, 0.95)
    assert info.limits[0] < 0.3
    assert info.limits[1] > 0.95
    inside(figure)
    with pytest.raises(ValueError, match="at least one layer"):
        seed_similarity_info([("block1", [])], "CKA")


def line(label: str, *means: float) -> ProbeLine:
    mean = np.array(means)
    return ProbeLine(label, mean, mean - 0.05, mean + 0.05)


def test_probes_draw_a_line_per_network_with_its_intervals_in_one_scale() -> None:
    panels = [
        ProbePanel("1 block", ("input", "block1", "dense"), (line("none", 0.8, 0.7, 0.85), line("l2", 0.8, 0.9, 0.99))),
        ProbePanel("2 blocks", ("input", "block1", "block2", "dense"), (line("none", 0.8, 0.7, 0.7, 0.6),)),
    ]
    info = probes_info(panels)
    figure = draw_probes(info)
    lines = figure.axes[0].get_lines()
    assert [list(each.get_ydata()) for each in lines] == [[0.8, 0.7, 0.85], [0.8, 0.9, 0.99]]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim() == info.limits
    assert lines[0].get_color() == figure.axes[1].get_lines()[0].get_color()
    segments = figure.axes[0].collections[0].get_segments()
    assert segments[0][:, 1] == pytest.approx([0.75, 0.85])
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["none", "l2"]
    assert legend.get_title().get_text() == "mean and 95 % interval over runs"
    inside(figure)


def test_probes_of_one_run_have_no_intervals() -> None:
    mean, none = np.array([0.5, np.nan]), np.full(2, np.nan)
    info = probes_info([ProbePanel("", ("input", "dense"), (ProbeLine("none", mean, none, none),))])
    assert 0 < info.limits[0] < 0.5 < info.limits[1]
    inside(draw_probes(info))


def test_probes_that_do_not_match_their_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="none: needs a value for each"):
        probes_info([ProbePanel("", ("input",), (line("none", 0.1, 0.2),))])
    with pytest.raises(ValueError, match="at least one network"):
        probes_info([])


def tables(runs: int, images: int = 600) -> list[Reliability]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(runs):
        confidence = 1 - 0.5 * rng.beta(0.6, 2, images)
        labels = (rng.random(images) > confidence).astype(int)
        made.append(reliability(np.column_stack([confidence, 1 - confidence]), labels))
    return made


def test_reliability_draws_each_run_thin_and_all_images_together_thick() -> None:
    runs = tables(3)
    panel = reliability_panel("none", runs, "ECE 1.2 %")
    figure = draw_reliability([panel])
    [axes] = figure.axes
    thin = [each for each in axes.get_lines() if each.get_gid() == "run"]
    for drawn, run in zip(thin, runs, strict=True):
        kept = run.images >= FEW_IMAGES
        np.testing.assert_array_equal(drawn.get_xdata(), run.confidence[kept])
        np.testing.assert_array_equal(drawn.get_ydata(), run.accuracy[kept])
    [thick] = [each for each in axes.get_lines() if each.get_gid() == "pooled"]
    together = sum(run.images for run in runs)
    hits = sum(np.nan_to_num(run.accuracy) * run.images for run in runs)
    np.testing.assert_allclose(thick.get_ydata(), (hits / np.maximum(together, 1))[together >= FEW_IMAGES])
    assert panel.shares.sum() == pytest.approx(1)
    assert texts(figure) == ["ECE 1.2 %"]
    inside(figure)


@pytest.mark.parametrize("count", [1, 3, 8, 9])
def test_reliability_panels_of_any_number_fit_and_name_their_axes(count: int) -> None:
    figure = draw_reliability([reliability_panel(f"2 blocks, dropout(0.{n})", tables(1)) for n in range(count)])
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == count
    assert {axes.get_xlabel() for axes in shown} >= {"confidence"}
    assert "all runs together" not in [text.get_text() for text in figure.legends[0].get_texts()]
    inside(figure)


def test_a_collapsed_run_is_a_point_and_few_images_draw_nothing() -> None:
    collapsed = reliability(np.full((200, 10), 0.1), np.arange(200) % 10)
    few = reliability(np.full((5, 10), 0.1), np.arange(5))
    figure = draw_reliability([reliability_panel("collapsed", [collapsed]), reliability_panel("few", [few])])
    drawn = [next(each for each in axes.get_lines() if each.get_gid() == "run") for axes in figure.axes[:2]]
    assert list(drawn[0].get_xdata()) == pytest.approx([0.1])
    assert drawn[0].get_marker() == "o"
    assert len(drawn[1].get_xdata()) == 0


def test_runs_with_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="same bins"):
        reliability_panel("none", [tables(1)[0], reliability([[0.6, 0.4]], [0], bins=3)])
    with pytest.raises(ValueError, match="at least one"):
        draw_reliability([])


def robustness(kind: str, *labels: str, shape: tuple[int, ...] | None = (28, 28, 1)) -> RobustnessPanel:
    mean = np.linspace(0.9, 0.2, 6)
    lines = tuple(RobustnessLine(label, mean - n / 20, mean - 0.1, mean + 0.05) for n, label in enumerate(labels))
    examples = None if shape is None else np.zeros((6, *shape), np.uint8)
    return RobustnessPanel(kind, lines, examples, "6 pixels")


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 3), None])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_robustness_draws_every_line_at_one_scale_with_examples(count: int, shape: tuple[int, ...] | None) -> None:
    panels = [robustness(kind, "none", "l2", shape=shape) for kind in ["noise", "blur", "shift", "contrast"][:count]]
    info = robustness_info(panels, "95 % interval over runs", 0.1)
    figure = draw_robustness(info)
    plots = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in plots] == [panel.title for panel in panels]
    assert {axes.get_ylim() for axes in plots} == {info.limits}
    np.testing.assert_array_equal(plots[0].get_lines()[1].get_ydata(), panels[0].lines[1].mean)
    assert len([axes for axes in figure.axes if axes.images]) == (0 if shape is None else 6 * count)
    assert [label.get_text() for label in plots[0].get_xticklabels()][-1] == "5\n6 pixels"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "l2", "guessing"]
    inside(figure)


def test_robustness_without_intervals_or_lines() -> None:
    panel = robustness("noise", "none")
    none = np.full(6, np.nan)
    bare = replace(panel, lines=(replace(panel.lines[0], low=none, high=none),))
    info = robustness_info([bare], "one run")
    assert info.limits[0] < 0.2
    inside(draw_robustness(info))
    with pytest.raises(ValueError, match="at least one network"):
        robustness_info([replace(panel, lines=())], "")


def test_figures_are_the_same_file_each_time(tmp_path: Path) -> None:
    for name in "ab":
        save_figure(draw_robustness(robustness_info([robustness("noise", "none")], "")), tmp_path, name)
        save_figure(draw_reliability([reliability_panel("none", tables(2))]), tmp_path, f"{name}-reliability")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a-reliability.svg").read_bytes() == (tmp_path / "b-reliability.svg").read_bytes()
