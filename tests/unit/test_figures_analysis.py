"""The figures of the analysis show the numbers they were given, and nothing of them is cut off or overlaps."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray

from regulens.figures.comparison import CellPoints, comparison_info, draw_comparison
from regulens.figures.confusion import ConfusedImage, confusion_info, draw_confusion
from regulens.figures.curves import CurvesInfo, common_limits, draw_banded_curves, draw_curves
from regulens.figures.forest import VERDICTS, ForestInfo, ForestRow, Verdict, clipped, draw_forest, forest_info
from regulens.figures.interaction import InteractionInfo, InteractionLine, draw_interaction
from regulens.figures.parts import look, range_with_margin, signed, spaced, spread, text_width, wrapped
from regulens.figures.strength import StrengthCurve, StrengthInfo, StrengthPanel, draw_strengths, strength_axis
from regulens.figures.style import TRAIN, VALIDATION

NAN = math.nan
LONG = "batchnorm + dropout(0.25) + l2(0.0001)"


def drawn(figure: Figure) -> Figure:
    """Lay the figure out; any warning is an error, and all of it must lie on the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert width <= 8.4
    assert min(box.x0, box.y0) >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02
    return figure


def marked(axes: Axes, gid: str) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def texts(owner: Artist) -> list[str]:
    found = [text for text in owner.findobj(Text) if isinstance(text, Text) and text.get_visible()]
    return [text.get_text() for text in found if text.get_text()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


# parts


def test_spread_labels_move_as_little_as_possible() -> None:
    np.testing.assert_allclose(spread([3.0, 0.0], [1, 1], (-9, 9)), [3.0, 0.0])
    np.testing.assert_allclose(spread([0.0, 0.0, 5.0], [1, 1, 1], (-9, 9)), [-0.5, 0.5, 5.0])
    np.testing.assert_allclose(spread([0.0, 0.0], [1, 3], (-9, 9)), [-1.0, 1.0])  # half of each lies between
    assert not len(spread([], [], (0, 1)))


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 2)), min_size=1, max_size=9))
def test_spread_labels_neither_overlap_nor_leave_the_axis(labels: list[tuple[float, float]]) -> None:
    places, sizes = np.array(labels).T
    moved = spread(places, sizes, (-10, 10))
    order = np.argsort(places, kind="stable")
    for a, b in pairwise(order):
        assert moved[b] - moved[a] >= (sizes[a] + sizes[b]) / 2 - 1e-9
    assert (moved - sizes / 2 >= -10 - 1e-9).all()
    assert (moved + sizes / 2 <= 10 + 1e-9).all()


def test_ticks_that_would_touch_give_way_to_the_preferred() -> None:
    places, widths = np.array([0.0, 0.5, 1.0, 2.0]), np.full(4, 0.8)
    first = np.array([False, True, False, False])
    assert spaced(places, widths, first).tolist() == [False, True, False, True]
    assert spaced(places, widths, ~first).tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (3.14, 1, "+3.1"), (-0.26, 1, "−0.3"), (-0.04, 1, "0.0"), (0, 0, "0"), (12, 0, "+12"), (-math.inf, 1, "−∞"),
    ],
)  # fmt: skip
def test_numbers_carry_their_sign(value: float, decimals: int, text: str) -> None:
    assert signed(value, decimals) == text


def test_series_look_different_and_labels_wrap_between_words() -> None:
    assert len({look(place) for place in range(28)}) == 28
    assert wrapped(LONG, 24) == "batchnorm +\ndropout(0.25) +\nl2(0.0001)"
    assert wrapped("", 24) == ""
    assert text_width("ab\nabcd", 9) == text_width("abcd", 9) > text_width("ab", 9)
    assert range_with_margin([0.0, 1.0, NAN], 0.1) == (-0.1, 1.1)
    assert range_with_margin([NAN]) == (0.0, 1.0)


# forest


def forest_row(estimate: float, half: float, verdict: Verdict | None, group: str = "depth 1") -> ForestRow:
    low, high = estimate - half, estimate + half
    return ForestRow(f"a{estimate} − none", group, estimate, low, high, low + half / 4, high - half / 4, verdict)


ROWS = [
    forest_row(0.031, 0.005, "better"),
    forest_row(-0.02, 0.006, "worse", "depth 2"),
    forest_row(0.001, 0.002, "equivalent"),
    forest_row(0.004, 0.008, "undecided", "depth 2"),
]


def forest(rows: list[ForestRow], rope: float = 0.005) -> ForestInfo:
    return forest_info(rows, "validation accuracy", rope, scale=100, unit="points")


def test_forest_draws_estimate_and_both_intervals_in_points_in_order_of_the_groups() -> None:
    info = forest(ROWS)
    figure = drawn(draw_forest(info))
    names, axes, side = figure.axes
    ordered = [ROWS[0], ROWS[2], ROWS[1], ROWS[3]]
    assert info.rows == tuple(ordered)
    assert texts(names) == [
        "depth 1", *(row.label for row in ordered[:2]), "depth 2", *(row.label for row in ordered[2:]),
    ]  # fmt: skip
    heights = {text.get_text(): text.get_position()[1] for text in names.texts}
    for gid, pick in (
        ("simultaneous", lambda row: [row.low, row.high]),
        ("unadjusted", lambda row: [row.low95, row.high95]),
        ("estimate", lambda row: [row.estimate]),
    ):
        for row, line in zip(ordered, marked(axes, gid), strict=True):
            np.testing.assert_allclose(line.get_xdata(), 100 * np.array(pick(row)))
            assert set(line.get_ydata()) == {heights[row.label]}
    assert list(heights.values()) == sorted(heights.values())
    for words in (["+3.1", "+2.6 to +3.6", "better"], ["−2.0", "−2.6 to −1.4", "worse"]):
        assert set(words) <= set(texts(side))


def test_forest_tells_verdicts_by_colour_and_marker() -> None:
    _, axes, side = draw_forest(forest(ROWS)).axes
    for row, line in zip(forest(ROWS).rows, marked(axes, "estimate"), strict=True):
        colour, marker, filled = VERDICTS[row.verdict]
        assert line.get_marker() == marker
        assert line.get_markerfacecolor() == (colour if filled else "white")
    looks = [(line.get_marker(), line.get_markerfacecolor()) for line in side.get_lines()]
    assert looks == [(line.get_marker(), line.get_markerfacecolor()) for line in marked(axes, "estimate")]
    assert len({(marker, filled) for _, marker, filled in VERDICTS.values()}) == len(VERDICTS)


def test_forest_tells_tokens_by_words_and_markers_and_draws_the_bounds_that_decide() -> None:
    rows = [
        replace(ROWS[0], bounds=(0.027, NAN)),
        replace(ROWS[2], bounds=(-0.0005, 0.0025), word="equivalent, above zero"),
        replace(forest_row(0.02, 0.01, "mixed"), word="mixed: better"),
        forest_row(0.008, 0.006, "better (size open)"),
        forest_row(-0.008, 0.006, "worse (size open)"),
        forest_row(0.001, 0.02, "too few runs"),
    ]
    figure = drawn(draw_forest(replace(forest(rows), level=1 - 0.05 / 24)))
    axes, side = figure.axes[1:]
    np.testing.assert_allclose([line.get_xdata()[0] for line in marked(axes, "bound")], [2.7, -0.05, 0.25])
    words = ["better", "equivalent, above zero", "mixed: better", "better (size open)", "worse (size open)"]
    assert {*words, "too few runs", "99.79 % interval"} <= set(texts(side))
    assert len({(line.get_marker(), line.get_markerfacecolor() == "white") for line in marked(axes, "estimate")}) == 6
    assert legend(figure) == [
        "simultaneous 99.79 % interval",
        "unadjusted 95 % interval",
        "one-sided bound that decides",
        "equivalence: within ±0.5 points",
    ]
    assert "one-sided bound that decides" not in legend(draw_forest(forest(ROWS)))


@pytest.mark.parametrize("rope", [0.0, 0.005])
def test_forest_shades_the_region_of_equivalence_where_there_is_one(rope: float) -> None:
    figure = draw_forest(forest(ROWS, rope))
    axes = figure.axes[1]
    spans = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert spans == ([(-0.5, 1.0)] if rope else [])
    assert ("equivalence: within ±0.5 points" in legend(figure)) == bool(rope)
    assert any(list(line.get_xdata()) == [0, 0] for line in axes.get_lines())


def test_forest_cuts_off_a_very_wide_interval_and_says_so() -> None:
    rows = [*ROWS, forest_row(0.002, 0.4, "undecided", "depth 3")]
    info = forest(rows)
    assert [clipped(info, row) for row in info.rows] == [(False, False)] * 4 + [(True, True)]
    figure = drawn(draw_forest(info))
    axes, side = figure.axes[1:]
    left, right = axes.get_xlim()
    np.testing.assert_allclose((left, right), 100 * np.array(info.limits))
    np.testing.assert_allclose(marked(axes, "simultaneous")[-1].get_xdata(), [left, right])
    assert [end.get_marker() for end in marked(axes, "end")] == ["|"] * 8 + ["<", ">"]
    assert "−39.8 to +40.2" in texts(side)
    assert "interval goes on beyond the axis" in legend(figure)
    assert "interval goes on beyond the axis" not in legend(draw_forest(forest(ROWS)))


def test_forest_axis_holds_zero_every_estimate_and_equally_wide_intervals_whole() -> None:
    rows = [forest_row(0.3, 0.2, "better"), forest_row(0.9, 0.3, "better"), forest_row(0.01, 0.0001, "better")]
    low, high = forest(rows, 0.0).limits
    assert low < 0
    assert high > 1.2


def test_forest_of_single_runs_has_no_intervals_and_prints_why() -> None:
    row = ForestRow("a − b", "", 0.02, NAN, NAN, NAN, NAN, None, "one run each")
    figure = drawn(draw_forest(forest([row])))
    axes, side = figure.axes[1:]
    assert not marked(axes, "simultaneous")
    assert not marked(axes, "unadjusted")
    assert list(marked(axes, "estimate")[0].get_xdata()) == [2.0]
    assert {"+2.0", "one run each", "–"} <= set(texts(side))
    assert legend(figure) == ["equivalence: within ±0.5 points"]


def test_forest_says_which_side_is_better() -> None:
    rows = [forest_row(0.01, 0.02, "undecided")]
    for direction, right in (("higher", "better →"), ("lower", "worse →")):
        info = replace(forest(rows), direction=direction)
        assert right in texts(draw_forest(info).axes[1])


@pytest.mark.parametrize("count", [1, 40])
def test_forest_draws_missing_infinite_and_many_rows_with_long_labels(count: int) -> None:
    odd = [
        ForestRow(LONG + " − none", "a long name of a group " * 3, NAN, NAN, NAN, NAN, NAN, None),
        ForestRow("constant", "d", 0.0, 0.0, 0.0, 0.0, 0.0, "equivalent"),
        ForestRow("endless", "d", 0.0, -math.inf, math.inf, -math.inf, math.inf, "undecided"),
    ]
    rows = [replace(odd[place % 3], group=f"{odd[place % 3].group} {place % 5}") for place in range(count)]
    _, axes, side = drawn(draw_forest(forest(rows))).axes
    assert len([text for text in texts(side) if text in {"equivalent", "undecided", "–"}]) >= count
    assert len(marked(axes, "simultaneous")) == sum(row.verdict is not None for row in rows)
    ys = [line.get_ydata()[0] for line in side.get_lines()]
    assert all(b - a >= 1 for a, b in pairwise(ys))
    with pytest.raises(ValueError, match="at least one comparison"):
        forest([])


# interaction


def interaction(lines: int, levels: int, label: str = "line") -> InteractionInfo:
    rng = np.random.default_rng(lines)
    means = rng.uniform(0.8, 0.9, (lines, levels))
    return InteractionInfo(
        "means", "depth", tuple(str(level) for level in range(levels)), "regularizer",
        tuple(InteractionLine(f"{label} {place}", mean, mean - 0.01, mean + 0.02) for place, mean in enumerate(means)),
        "validation accuracy",
    )  # fmt: skip


def series(axes: Axes, label: str) -> Line2D:
    [line] = [line for line in axes.get_lines() if line.get_label() == label]
    return line


def test_interaction_draws_means_and_whiskers_side_by_side() -> None:
    info = interaction(4, 2)
    [axes] = drawn(draw_interaction(info)).axes
    lines = [series(axes, line.label) for line in info.lines]
    for given_line, line, whiskers in zip(info.lines, lines, axes.collections, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), given_line.estimates)
        np.testing.assert_allclose(np.round(line.get_xdata()), [0, 1])
        segments = np.array(whiskers.get_segments())
        np.testing.assert_allclose(segments[:, :, 1], np.transpose([given_line.low, given_line.high]))
        np.testing.assert_allclose(segments[:, 0, 0], line.get_xdata())
    assert len({float(line.get_xdata()[0]) for line in lines}) == 4
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1"]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == 4
    low, high = axes.get_ylim()
    assert low < min(line.low.min() for line in info.lines)
    assert high > max(line.high.max() for line in info.lines)


@pytest.mark.parametrize(("lines", "levels", "label"), [(4, 2, "line"), (12, 2, LONG), (20, 1, "x"), (2, 20, "x")])
def test_interaction_labels_every_line_without_overlap(lines: int, levels: int, label: str) -> None:
    info = interaction(lines, levels, label)
    figure = drawn(draw_interaction(info))
    [axes] = figure.axes
    labels = [text for text in axes.texts if text.get_text() != "regularizer"]
    assert {text.get_text().replace("\n", " ") for text in labels} == {line.label for line in info.lines}
    boxes = sorted((text.get_window_extent() for text in labels), key=lambda box: box.y0)
    assert all(above.y0 >= below.y1 - 2.0 for below, above in pairwise(boxes))
    for line, leader in zip(info.lines, marked(axes, "leader"), strict=True):
        assert leader.get_ydata()[0] == line.estimates[-1]
        assert leader.get_xdata()[0] == series(axes, line.label).get_xdata()[-1]
        assert leader.get_color() == series(axes, line.label).get_color()


def test_interaction_leaves_out_missing_cells_and_intervals() -> None:
    full = interaction(2, 3)
    gap = replace(full.lines[0], estimates=np.array([0.8, NAN, NAN]), low=np.full(3, NAN), high=np.full(3, NAN))
    empty = InteractionLine("empty", *np.full((3, 3), NAN))
    [axes] = drawn(draw_interaction(replace(full, lines=(gap, full.lines[1], empty)))).axes
    assert not axes.collections[0].get_segments()
    assert len(axes.collections[1].get_segments()) == 3
    assert [leader.get_ydata()[0] for leader in marked(axes, "leader")] == [0.8, full.lines[1].estimates[-1]]
    assert "empty" not in texts(axes)


def test_interaction_of_one_cell_without_interval_and_of_long_levels_is_drawn() -> None:
    one = InteractionLine("none", np.array([0.85]), np.array([NAN]), np.array([NAN]))
    [axes] = drawn(draw_interaction(InteractionInfo("", "depth", ("1",), "", (one,), "accuracy"))).axes
    low, high = axes.get_ylim()
    assert low < 0.85 < high
    crowded = replace(interaction(2, 10), levels=tuple(f"{LONG} {place}" for place in range(10)))
    [axes] = drawn(draw_interaction(crowded)).axes
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {40}


# strength


def strength_curve(label: str, strengths: list[float], runs: int = 5, lost: int = 0) -> StrengthCurve:
    rng = np.random.default_rng(len(label))
    values = rng.uniform(0.8, 0.9, (len(strengths), runs))
    collapsed = np.zeros((len(strengths), runs), np.bool_)
    collapsed[-1, :lost] = True
    values[collapsed] = 0.1
    centre = values.mean(axis=1)
    band = np.full(len(strengths), 0.01 if runs > 1 else NAN)
    return StrengthCurve(
        label, np.array(strengths, float), tuple(values), tuple(collapsed), centre, centre - band, centre + band
    )


def strengths_of(*curves: StrengthCurve) -> StrengthInfo:
    return StrengthInfo((StrengthPanel("L2", "strength", curves),), "validation accuracy", "mean", "95 % interval")


def test_wide_grids_are_logarithmic_with_a_place_for_none_and_narrow_ones_linear() -> None:
    wide = strength_axis(StrengthPanel("", "", (strength_curve("a", [0, 1e-4, 1e-3, 1e-2]),)))
    assert wide.logarithmic
    assert wide.broken
    np.testing.assert_allclose(wide.places[1:], [-4, -3, -2])
    assert wide.places[0] == -4.5
    narrow = strength_axis(StrengthPanel("", "", (strength_curve("a", [0, 0.05, 0.5]),)))
    assert not narrow.logarithmic
    np.testing.assert_array_equal(narrow.places, [0, 0.05, 0.5])
    both = strength_axis(StrengthPanel("", "", (strength_curve("a", [1e-4, 1]), strength_curve("b", [1e-2]))))
    assert not both.broken
    np.testing.assert_allclose(both.of(np.array([1e-2, 1])), [-2, 0])


def test_strength_curve_joins_the_positive_strengths_and_sets_none_apart() -> None:
    curve = strength_curve("depth 1", [0, 1e-4, 1e-3, 1e-2])
    figure = drawn(draw_strengths(strengths_of(curve)))
    [axes] = figure.axes
    [centre], [zero], [level] = (marked(axes, gid) for gid in ("centre", "zero", "level of zero"))
    np.testing.assert_allclose(centre.get_xdata(), [-4, -3, -2])
    np.testing.assert_array_equal(centre.get_ydata(), curve.centre[1:])
    assert (zero.get_xdata()[0], zero.get_ydata()[0]) == (-4.5, curve.centre[0])
    assert set(level.get_ydata()) == {curve.centre[0]}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", "0.0001", "0.001", "0.01"]
    assert legend(figure) == ["mean", "95 % interval", "one run", "level of none"]
    assert marked(axes, "break")
    points = [each for each in axes.collections if each.get_gid() == "runs"]
    for values, drawn_points in zip(curve.accuracies, points, strict=True):
        np.testing.assert_array_equal(np.asarray(drawn_points.get_offsets())[:, 1], values)


def test_strength_band_spans_the_interval_on_a_linear_axis() -> None:
    curve = strength_curve("depth 1", [0, 0.1, 0.5])
    [axes] = drawn(draw_strengths(strengths_of(curve))).axes
    corners = axes.collections[-1].get_paths()[0].vertices
    for x, low, high in zip(curve.strengths, curve.low, curve.high, strict=True):
        at = corners[corners[:, 0] == x, 1]
        assert (at.min(), at.max()) == (low, high)
    assert not marked(axes, "break")


def test_collapsed_runs_have_markers_and_numbers_of_their_own_and_do_not_stretch_the_axis() -> None:
    curve = replace(strength_curve("depth 1", [0, 0.1, 0.5], lost=2), centre=np.array([0.85, 0.86, 0.84]))
    curve = replace(curve, low=curve.centre - 0.01, high=curve.centre + 0.01)
    main, strip = drawn(draw_strengths(strengths_of(curve))).axes
    [cross] = marked(strip, "collapsed")
    assert cross.get_xdata()[0] == 0.5
    assert [text.get_text() for text in strip.texts] == ["2"]
    assert [label.get_text() for label in strip.get_yticklabels()] == ["collapsed of 5"]
    assert main.get_ylim()[0] > 0.7
    shown = [len(np.asarray(each.get_offsets())) for each in main.collections if each.get_gid() == "runs"]
    assert shown == [5, 5, 3]


def test_collapsed_runs_are_told_out_of_how_many_where_numbers_differ() -> None:
    curves = strength_curve("depth 1", [0.1, 0.5], lost=2), strength_curve("depth 2", [0.1, 0.5], runs=7, lost=1)
    strip = drawn(draw_strengths(strengths_of(*curves))).axes[1]
    assert [text.get_text() for text in strip.texts] == ["2/5", "1/7"]
    labels = [label.get_text() for label in strip.get_yticklabels()]
    assert labels == ["collapsed, depth 1", "collapsed, depth 2"]


@pytest.mark.parametrize("at_edge", [False, True])
def test_best_strength_is_ringed_and_an_edge_warned_of(at_edge: bool) -> None:
    curve = replace(strength_curve("depth 1", [0, 0.1, 0.5]), best=2, at_edge=at_edge)
    figure = drawn(draw_strengths(strengths_of(curve)))
    [axes] = figure.axes
    [ring] = marked(axes, "best")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.5, curve.centre[2])
    assert ("!" in texts(axes)) == at_edge
    assert ("! best at the edge of the grid" in legend(figure)) == at_edge
    assert "best" in legend(figure)


@pytest.mark.parametrize("runs", [1, 29])
def test_strengths_draw_with_many_curves_and_panels_and_with_one_run(runs: int) -> None:
    grid = [0, *np.geomspace(1e-6, 1, 13)]
    curves = tuple(strength_curve(f"{LONG}, {place}", grid, runs, lost=1) for place in range(6))
    single = strength_curve("depth 1", [0.0], runs)
    panels = StrengthPanel("L2", "strength", curves), StrengthPanel("dropout", "rate", (single,))
    figure = drawn(draw_strengths(StrengthInfo(panels, "validation accuracy", "median", "middle half")))
    assert len(figure.axes) == 4
    assert ("middle half" in legend(figure)) == (runs > 1)
    assert {line.get_marker() for line in marked(figure.axes[0], "centre")} == {
        look(place).marker for place in range(6)
    }


# curves in bands


def test_banded_curves_show_median_quartiles_and_extremes() -> None:
    rng = np.random.default_rng(0)
    info = CurvesInfo("a", rng.uniform(0.5, 0.9, (9, 4)), rng.uniform(0.4, 0.8, (9, 4)))
    limits = common_limits([info])
    figure = drawn(draw_banded_curves(info, limits))
    [axes] = figure.axes
    assert axes.get_ylim() == limits
    for place, (colour, curves) in enumerate(((TRAIN, info.train), (VALIDATION, info.validation))):
        lines = [line.get_ydata() for line in axes.get_lines() if line.get_color() == colour]
        np.testing.assert_allclose(lines, [curves.min(0), curves.max(0), np.median(curves, 0)])
        inner = axes.collections[2 * place + 1].get_paths()[0].vertices
        for epoch in range(4):
            at = inner[inner[:, 0] == epoch + 1, 1]
            np.testing.assert_allclose((at.min(), at.max()), np.quantile(curves[:, epoch], [0.25, 0.75]))
    assert figure.legends[0].get_title().get_text() == "lines and bands: 9 runs"


def test_bands_leave_out_collapsed_runs_which_are_dotted() -> None:
    values = np.vstack([np.full((2, 3), 0.1), np.tile(np.linspace(0.6, 0.9, 6)[:, None], 3)])
    lost = values[:, -1] < 0.2
    figure = drawn(draw_banded_curves(CurvesInfo("a", values, np.full((8, 3), NAN), lost), (0, 1)))
    [axes] = figure.axes
    assert {line.get_color() for line in axes.get_lines()} == {TRAIN}
    np.testing.assert_array_equal([line.get_ydata() for line in marked(axes, "collapsed")], values[:2])
    [median] = [line for line in axes.get_lines() if line.get_label() == "train"]
    np.testing.assert_allclose(median.get_ydata(), 0.75)
    for band, (low, high) in zip(axes.collections, [(0.6, 0.9), (0.675, 0.825)], strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose((heights.min(), heights.max()), (low, high))
    assert "6 non-collapsed runs; 2 collapsed, dotted" in figure.legends[0].get_title().get_text()
    everything = CurvesInfo("a", values[:2], values[:2], np.ones(2, np.bool_))
    assert not marked(drawn(draw_banded_curves(everything, (0, 1))).axes[0], "collapsed")


# comparison with intervals


def test_comparison_draws_each_panels_mean_with_its_interval() -> None:
    accuracies = np.array([0.1, 0.8, 0.82, 0.84])
    cells = [
        CellPoints("a", accuracies, 0.12, 0.83, (0.64, 0.05, 1.2), (0.82, 0.77, 0.87)),
        CellPoints("b", accuracies[1:], 0.12, None, (0.82, 0.77, 0.87), None),
    ]
    figure = drawn(draw_comparison(comparison_info(cells, level=0.9)))
    everything, enlarged = figure.axes
    assert [tuple(line.get_xdata()) for line in marked(everything, "interval")] == [(0.05, 1.0), (0.77, 0.87)]
    assert [line.get_xdata()[0] for line in marked(everything, "mean")] == [0.64, 0.82]
    assert [(line.get_xdata()[0], line.get_marker()) for line in marked(everything, "beyond")] == [(1.0, ">")]
    np.testing.assert_allclose([line.get_xdata() for line in marked(enlarged, "interval")], [(0.77, 0.87)])
    assert "mean of the panel's runs, 90 % interval" in legend(figure)
    for axes in figure.axes:
        for row, points in enumerate(axes.collections[:2]):
            assert np.asarray(points.get_offsets())[:, 1].max() < row + 0.2
        for line in marked(axes, "mean"):
            assert line.get_ydata()[0] in {0.3, 1.3}


def test_comparison_of_single_runs_has_means_without_whiskers() -> None:
    cells = [CellPoints(LONG * 2, np.array([0.8]), 0.12, None, (0.8, NAN, NAN))]
    figure = drawn(draw_comparison(comparison_info(cells)))
    assert "mean" in legend(figure)
    assert np.isnan(marked(figure.axes[0], "interval")[0].get_xdata()).all()
    assert marked(figure.axes[0], "mean")[0].get_xdata()[0] == 0.8


@pytest.mark.parametrize("seeds", [1, 29])
def test_comparison_draws_forty_cells_with_all_marks(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    cells = []
    for place in range(40):
        values = rng.uniform(0.8, 0.9, seeds)
        values[: place % 3 > 1] = 0.1
        mean = (float(values.mean()), -0.5, 1.5)
        cells.append(CellPoints(f"{LONG}, filters {place}", values, 0.12, 0.85, mean, mean))
    figure = drawn(draw_comparison(comparison_info(cells)))
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))


# confusion

COUNTS = np.array([[[8, 2, 0], [1, 9, 0], [0, 0, 20]], [[6, 4, 0], [0, 10, 0], [0, 1, 19]]])


def test_confusion_averages_shares_and_lists_the_worst_pairs_with_counts() -> None:
    info = confusion_info("a", ("x", "y", "z"), COUNTS)
    np.testing.assert_allclose(info.rates, [[0.7, 0.3, 0], [0.05, 0.95, 0], [0, 0.025, 0.975]])
    assert [(pair.true, pair.predicted, pair.count, pair.images) for pair in info.pairs] == [
        (0, 1, 6, 20), (1, 0, 1, 20), (2, 1, 1, 40),
    ]  # fmt: skip
    matrix, pairs = drawn(draw_confusion(info)).axes
    cells = {tuple(map(round, text.get_position())): text.get_text() for text in matrix.texts[:-1]}
    assert cells == {(0, 0): "70.0", (1, 0): "30.0", (0, 1): "5.0", (1, 1): "95.0", (1, 2): "2.5", (2, 2): "97.5"}
    assert matrix.texts[-1].get_text() == "percent of each class, mean of 2 runs\nblank: under 0.05"
    assert pairs.texts[1].get_text() == "x → y"
    assert pairs.texts[2].get_text() == "30.0 %, 6 of 20"
    widths = [bar.get_width() for bar in pairs.patches]
    np.testing.assert_allclose(np.array(widths) / widths[0], [1, 0.05 / 0.3, 0.025 / 0.3])


def test_confusion_colours_errors_only() -> None:
    matrix = draw_confusion(confusion_info("a", ("x", "y", "z"), COUNTS, which="non-collapsed runs")).axes[0]
    shown = matrix.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.eye(3, dtype=bool))
    assert matrix.images[0].get_clim() == (0, pytest.approx(30.0))
    assert "mean of 2 non-collapsed runs" in matrix.texts[-1].get_text()


def test_confusion_leaves_cells_blank_that_would_round_to_zero() -> None:
    counts = np.array([[[9_900, 96, 4], [0, 9_994, 6], [0, 0, 10_000]]])
    matrix = draw_confusion(confusion_info("a", ("x", "y", "z"), counts)).axes[0]
    assert [text.get_text() for text in matrix.texts[:-1]] == ["99.0", "1.0", "99.9", "0.1", "100.0"]


def test_confusion_of_a_class_without_images_is_left_open() -> None:
    info = confusion_info("a", ("x", "y"), np.array([[[3, 1], [0, 0]]]))
    np.testing.assert_array_equal(info.rates, [[0.75, 0.25], [NAN, NAN]])
    assert len(info.pairs) == 1
    matrix = drawn(draw_confusion(info)).axes[0]
    assert [text.get_text() for text in matrix.texts[:-1]] == ["75.0", "25.0"]


def _random_counts(classes: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(classes)
    return rng.integers(0, 4, (3, classes, classes)) + 40 * np.eye(classes, dtype=np.int64)


@pytest.mark.parametrize(("classes", "examples"), [(2, 2), (10, 6), (10, 0), (30, 6), (60, 0), (60, 6)])
def test_confusion_of_any_number_of_classes_fits_the_page(classes: int, examples: int) -> None:
    shape = (28, 28) if examples == 2 else (32, 32, 3)
    images = [ConfusedImage(np.full(shape, place, np.uint8), f"by {place} of 29 runs") for place in range(examples)]
    names = [f"{LONG if classes == 60 else 'class'} {place}" for place in range(classes)]
    info = confusion_info("depth 1, batchnorm", names, _random_counts(classes), images)
    figure = drawn(draw_confusion(info))
    pictures = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title(loc="left") == ""]
    assert [int(picture.get_array().flat[0]) for picture in pictures] == list(range(examples))
    first = info.pairs[0]
    assert f"{names[first.true]} → {names[first.predicted]}" in texts(figure)
    titles = [text for text in texts(figure) if "predicted as" in text]
    wanted = f"{names[first.true]} predicted as {names[first.predicted]}"
    assert [title.replace("\n", " ") for title in titles] == ([wanted] if examples else [])
    assert len(info.pairs) == {2: 2, 10: 6, 30: 6, 60: 14}[classes]


def test_faultless_runs_confuse_nothing_and_wrong_shapes_are_refused() -> None:
    info = confusion_info("a", ("x", "y"), np.array([np.eye(2, dtype=np.int64)]))
    assert info.pairs == ()
    assert "no image is confused" in texts(drawn(draw_confusion(info)))
    for counts in (COUNTS, COUNTS[0, :2, :2], COUNTS[:0, :2, :2]):
        with pytest.raises(ValueError, match=r"\(runs, 2, 2\)"):
            confusion_info("a", ("x", "y"), counts)


SIXTEEN = ", ".join(f"factor {number} {number / 4:g}" for number in range(16))
"""A label as long as that of a cell of sixteen factors."""


def test_names_of_sixteen_factors_stay_apart_in_a_forest() -> None:
    figure = drawn(draw_forest(forest([forest_row(0.01, 0.02, None, f"{SIXTEEN}, {end}") for end in ("a", "b")])))
    names = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent() for text in sorted(names, key=lambda text: -text.get_window_extent().y1)]
    assert len(boxes) == 4
    assert all(below.y1 <= above.y0 + 1 for above, below in pairwise(boxes))


@pytest.mark.parametrize("classes", [3, 20, 40])
def test_a_title_of_sixteen_factors_leaves_the_confusion_its_place(classes: int) -> None:
    counts = np.full((2, classes, classes), 3)
    figure = drawn(draw_confusion(confusion_info(SIXTEEN, tuple(map(str, range(classes))), counts)))
    longest = max(map(len, "\n".join(texts(figure)).split("\n")))
    assert longest <= 90
    matrix = figure.findobj(lambda each: isinstance(each, Axes) and bool(each.images))
    assert all(each.get_window_extent().width > 150 for each in matrix)


def test_names_of_sixteen_factors_stand_beside_the_lines_of_an_interaction() -> None:
    ends = np.array([0.5, 0.6])
    lines = tuple(InteractionLine(f"{SIXTEEN}, {end}", ends, ends - 0.1, ends + 0.1) for end in ("a", "b"))
    other = " and ".join(f"factor {number}" for number in range(16))
    drawn(
        draw_interaction(InteractionInfo("mean over all runs", "regularizer", ("none", "l2"), other, lines, "accuracy"))
    )


def test_a_title_of_sixteen_factors_stands_above_its_curves() -> None:
    curves = np.array([[0.5, 0.6], [0.6, 0.7]])
    info = CurvesInfo(SIXTEEN, curves, curves)
    for draw in (draw_curves, draw_banded_curves):
        drawn(draw(info, common_limits([info])))
