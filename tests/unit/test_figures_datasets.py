"""Figures across data sets show the numbers that they were given, on the page and without overlaps."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from regulens.figures.critical_difference import critical_difference_info, draw_critical_difference
from regulens.figures.profile import ProfilePanel, draw_profiles, profile_info
from regulens.figures.sets_forest import SetsForestInfo, SetsForestPanel, draw_sets_forest, sets_forest_info
from regulens.stats.intervals import Interval
from regulens.stats.profiles import performance_profile

LONG = "batchnorm + dropout(0.25) + l2(0.0001)"
NAN = math.nan


def drawn(figure: Figure) -> Figure:
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


def marked(figure: Figure, gid: str) -> list[Line2D]:
    return [line for axes in figure.axes for line in axes.get_lines() if line.get_gid() == gid]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def panel(title: str = "batchnorm − none", weighted: bool = True, sets: int = 4) -> SetsForestPanel:
    estimates = np.linspace(-1, 3, sets)
    half = np.where(np.arange(sets) == 0, 40.0, 1.0)  # one very wide interval
    return SetsForestPanel(
        title, estimates, estimates - half, estimates + half,
        mean=Interval(1.0, 0.2, 1.8, 0.95), new=Interval(1.0, -2.0, 4.0, 0.95),
        weighted=Interval(1.2, 0.5, 1.9, 0.95) if weighted else None,
        weighted_new=Interval(1.2, NAN, NAN, 0.95) if weighted else None,
    )  # fmt: skip


def forest(*panels: SetsForestPanel, sets: int = 4) -> SetsForestInfo:
    return sets_forest_info([f"set {number}" for number in range(sets)], panels, "accuracy", "percentage points")


def test_the_forest_has_a_row_for_each_set_and_the_pooled_ones_below() -> None:
    figure = drawn(draw_sets_forest(forest(panel())))
    places = [line.get_ydata()[0] for line in marked(figure, "set-estimate")]
    assert [line.get_xdata()[0] for line in marked(figure, "set-estimate")] == pytest.approx([-1, 1 / 3, 5 / 3, 3])
    [mean], [weighted], [new] = (marked(figure, gid) for gid in ("mean", "weighted", "new"))
    assert list(mean.get_xdata()) == [0.2, 1.8]
    assert list(weighted.get_xdata()) == [0.5, 1.9]
    assert list(new.get_xdata()) == [-2, 4]
    assert max(places) < mean.get_ydata()[0] < weighted.get_ydata()[0] < new.get_ydata()[0]
    assert not marked(figure, "weighted-new")
    assert {"set 0", "new set", "mean, random effects"} <= set(texts(figure))


def test_a_wide_interval_is_cut_off_and_said_to_go_on() -> None:
    info = forest(panel())
    assert -20 < info.limits[0] < -4
    assert "goes on beyond the axis" in texts(drawn(draw_sets_forest(info)))


def test_panels_share_one_scale_and_three_fit_with_long_names() -> None:
    info = forest(*[panel(f"{LONG} − {LONG}", weighted=False, sets=12)] * 3, sets=12)
    figure = drawn(draw_sets_forest(info))
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert "mean, random effects" not in texts(figure)
    for wrong in ([], [panel()] * 4):
        with pytest.raises(ValueError, match="1 to 3 comparisons"):
            forest(*wrong)


def test_single_sets_and_missing_numbers_are_drawn() -> None:
    empty = np.array([NAN, 0.5])
    one = SetsForestPanel(
        "a − b", empty, np.full(2, NAN), np.full(2, NAN), Interval(0.5, NAN, NAN, 0.95), Interval(0.5, NAN, NAN, 0.95)
    )
    figure = drawn(draw_sets_forest(forest(one, sets=2)))
    assert len(marked(figure, "set-estimate")) == 1
    assert not marked(figure, "set")


def test_levels_stand_at_their_average_ranks_under_bars_of_their_cliques() -> None:
    info = critical_difference_info("depth 1", ["c", "a", LONG, "b"], [3.1, 1.2, 3.7, 2.0], [[1, 3], [3, 0, 2]], 9)
    assert info.levels == (("a", 1.2), ("b", 2.0), ("c", 3.1), (LONG, 3.7))
    assert info.bars == ((0, 1), (1, 3))
    assert info.rows == (0, 1)
    figure = drawn(draw_critical_difference(info))
    assert [line.get_xdata()[0] for line in marked(figure, "level")] == [1.2, 2.0, 3.1, 3.7]
    first, second = marked(figure, "clique")
    for bar, ends in ((first, [1.2, 2.0]), (second, [2.0, 3.7])):
        assert list(bar.get_xdata()) == pytest.approx(ends, abs=0.05)
    assert first.get_ydata()[0] != second.get_ydata()[0]
    assert "average rank over 9 data sets (1 is the best)" in texts(figure)
    assert "a  1.20" in texts(figure)


@pytest.mark.parametrize("levels", [2, 3, 9])
def test_labels_of_ranks_keep_apart(levels: int) -> None:
    labels = [f"{LONG} {number}" for number in range(levels)]
    info = critical_difference_info("", labels, [(levels + 1) / 2] * levels, [list(range(levels))], 6)
    figure = drawn(draw_critical_difference(info))
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == levels
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])


def test_without_bars_all_differ() -> None:
    figure = drawn(draw_critical_difference(critical_difference_info("", ["a", "b"], [1.0, 2.0], [], 8)))
    assert "all neighbors differ significantly (Wilcoxon-Holm)" in texts(figure)
    with pytest.raises(ValueError, match="at least two levels"):
        critical_difference_info("", ["a"], [1.0], [], 8)


def test_profiles_are_steps_with_bands() -> None:
    rng = np.random.default_rng(0)
    thresholds = np.linspace(-2, 4, 25)
    curves = tuple(
        (name, performance_profile(list(rng.normal(place, 1, (3, 5))), thresholds))
        for place, name in enumerate(("none", LONG))
    )
    panels = [ProfilePanel("depth 1", "accuracy", curves), ProfilePanel("minus control", "difference", curves)]
    info = profile_info(panels, higher=False)
    figure = drawn(draw_profiles(info))
    assert len(figure.axes) == 2
    np.testing.assert_array_equal(figure.axes[0].get_lines()[1].get_ydata(), curves[1][1].share)
    assert len(figure.axes[0].collections) == 2
    assert "share of runs below the threshold" in texts(figure)
    with pytest.raises(ValueError, match="the same curves"):
        profile_info([panels[0], ProfilePanel("", "", curves[:1])])
