"""The pictures of attributions show their maps, say their numbers, and nothing of them is cut off."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from regulens.figures.agreement import AgreementRow, agreement_info, agreement_notes, draw_agreement
from regulens.figures.attribution import (
    AttributionMap,
    AttributionRow,
    Mistake,
    attribution_info,
    draw_attribution,
    draw_mistakes,
    map_notes,
    mistakes_info,
)
from regulens.figures.faithfulness import draw_faithfulness, faithfulness_info
from regulens.figures.overlay import as_picture, overlay, strength
from regulens.figures.style import DIVERGING, SEQUENTIAL
from regulens.interpret.agreement import seed_agreement
from regulens.interpret.faithfulness import Curves, Faithfulness, Sanity

LONG = "batchnorm + dropout(0.25) + l2(0.0001), of seed 1234"


def drawn(figure: Figure) -> Figure:
    """Lay the figure out; any warning is an error, all of it must lie on the page, and no text on another."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):  # a constrained layout comes to rest in two passes
            figure.draw_without_rendering()
        box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert width <= 8.4
    assert min(box.x0, box.y0) >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02
    boxes = [
        text.get_window_extent() for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()
    ]
    for place, first in enumerate(boxes):
        for second in boxes[place + 1 :]:
            wide = min(first.x1, second.x1) - max(first.x0, second.x0)
            high = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert wide < 1 or high < 1
    return figure


def words(owner: Artist) -> str:
    return " ".join(" ".join(text.get_text() for text in owner.findobj(Text)).split())


def pictures(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


def shown(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def an_image(side: int = 28, channels: int = 1) -> Any:
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)


def a_map(side: int = 28, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)


def level(images: int, *deletions: float) -> Curves:
    """Return flat curves, one order at each level."""
    values = np.broadcast_to(np.array(deletions)[:, None, None], (len(deletions), images, 5))
    return Curves(np.linspace(0, 1, 5), values, 1 - values)


def measured(images: int = 2, orders: int = 3) -> Faithfulness:
    fractions = np.linspace(0, 1, 5)
    rng = np.random.default_rng(0)
    methods = {
        "gradient": level(images, 0.25),
        "own": Curves(fractions, rng.random((3, images, 5)), rng.random((3, images, 5))),
    }
    flat = tuple(level(images, x) for x in (0.4, 0.6, 0.5))
    return Faithfulness(methods, flat[:orders])


# overlay


def test_zero_is_white_on_a_light_image_and_signs_are_red_and_blue() -> None:
    white = np.full((3, 3, 1), 255, np.uint8)
    values = np.zeros((3, 3))
    values[0, 0], values[0, 1], values[0, 2] = 2, -2, -200
    red, blue, beyond, zero = overlay(white, values, 2.0)[[0, 0, 0, 1], [0, 1, 2, 0]]
    assert red[0] > red[2] + 0.2
    assert blue[2] > blue[0] + 0.2
    np.testing.assert_allclose(beyond, blue)
    assert zero.min() > 0.95


def test_an_image_with_a_dark_edge_is_drawn_as_its_negative() -> None:
    image = np.zeros((5, 5, 3), np.uint8)
    image[2, 2] = 255
    faint = overlay(image, np.zeros((5, 5)), 1.0)
    assert faint[0, 0].min() > 0.95
    assert faint[2, 2].max() < 0.75
    np.testing.assert_allclose(overlay(255 - image, np.zeros((5, 5)), 1.0), faint)


def test_full_colour_is_the_99th_percentile_or_the_largest_of_a_sparse_map() -> None:
    assert strength(np.arange(101)) == pytest.approx(99)
    assert strength(np.array([-3.0, 1]), np.array([np.nan, np.inf])) == pytest.approx(2.98)
    sparse = np.zeros((28, 28))
    sparse[3, 3] = -0.7
    assert strength(sparse) == pytest.approx(0.7)
    assert strength(np.zeros(4)) == 0
    assert strength(np.full(4, np.nan)) == 0


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_picture_has_three_channels(channels: int) -> None:
    image = an_image(4, channels)
    picture = as_picture(image)
    assert picture.shape == (4, 4, 3)
    np.testing.assert_allclose(picture.mean(axis=2), image.mean(axis=2) / 255, rtol=1e-5)
    if channels == 3:
        np.testing.assert_allclose(picture, image / 255, rtol=1e-5)


# maps


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 3), (224, 3)])
@pytest.mark.parametrize("columns", [1, 5])
def test_rows_of_maps_stand_beside_their_image(side: int, channels: int, columns: int) -> None:
    notes = map_notes("gradient", 0, measured(), Sanity(np.array([[0.8]])))
    maps = tuple(AttributionMap("Integrated gradients", a_map(side, seed), notes) for seed in range(columns))
    image = an_image(side, channels)
    figure = drawn(draw_attribution(attribution_info(LONG, [AttributionRow(LONG, image, maps)] * 2)))
    assert len(pictures(figure)) == 2 * (columns + 1)
    np.testing.assert_allclose(shown(pictures(figure)[0]), as_picture(image))
    assert "deletion 0.25 random 0.50 (0.40–0.60) insertion 0.75 random 0.50" in words(figure)
    assert "random weights +0.80 (!)" in words(figure)
    assert "0.5 or more, nearly unchanged with random weights" in words(figure)


def test_small_print_is_explained_only_where_it_stands() -> None:
    bare = drawn(
        draw_attribution(attribution_info("t", [AttributionRow("r", an_image(), (AttributionMap("m", a_map()),))]))
    )
    assert "Deletion" not in words(bare)
    assert "Random weights" not in words(bare)


def test_notes_of_one_order_have_no_range_and_of_a_constant_map_no_correlation() -> None:
    notes = map_notes("gradient", 1, measured(2, 1), Sanity(np.array([[np.nan]])))
    assert notes == ("deletion 0.25", "random 0.40", "insertion 0.75", "random 0.60", "random weights none")
    assert map_notes("gradient", 0, measured(1, 3))[1] == "random 0.50 (0.40–0.60)"
    assert map_notes("gradient", 0, measured(), Sanity(np.array([[-0.2, 0.1]])))[-1] == "random weights −0.05"


def test_notes_have_the_range_over_ties_and_the_error_of_the_sum() -> None:
    found = Faithfulness({"m": level(1, 0.2, 0.3, 0.25)}, (level(1, 0.5),))
    assert map_notes("m", 0, found, completeness=0.0042) == (
        "deletion 0.25 (0.20–0.30)",
        "random 0.50",
        "insertion 0.75 (0.70–0.80)",
        "random 0.50",
        "sum off by 0.42 %",
    )
    assert map_notes("m", 0, found, completeness=0.03)[-1] == "sum off by 3 % (!)"
    assert map_notes("m", 0, found, completeness=np.inf)[-1] == "sum off by undefined: the logits are equal (!)"
    figure = drawn(
        draw_attribution(
            attribution_info(
                "t", [AttributionRow("r", an_image(), (AttributionMap("m", a_map(), ("sum off by 3 % (!)",)),))]
            )
        )
    )
    assert "more than 1 %, in spite of 800 steps" in words(figure)


def test_a_map_has_a_scale_with_its_unit_and_a_picture_its_classes() -> None:
    values = a_map()
    maps = (AttributionMap("a", values, (), "logits"), AttributionMap("b", np.abs(values), (), "nats", signed=False))
    classes = ("true class: T-shirt", "predicted: Coat (p = 0.750)")
    figure = drawn(draw_attribution(attribution_info("t", [AttributionRow("r", an_image(), maps, classes)])))
    for text in (*classes, "logits", "nats"):
        assert text in words(figure)
    first, second = (axes.child_axes[0] for axes in pictures(figure)[1:])
    assert first.get_xlim() == pytest.approx((-strength(values), strength(values)))
    assert second.get_xlim() == pytest.approx((0, strength(values)))
    assert [label.get_text() for label in first.get_xticklabels()][1] == "0"


def test_zero_has_one_color_in_all_figures() -> None:
    white = np.full((3, 3, 1), 255, np.uint8)
    zero = overlay(white, np.zeros((3, 3)), 1.0)[0, 0]
    np.testing.assert_allclose(DIVERGING(0.5)[:3], zero, atol=1e-6)
    np.testing.assert_allclose(SEQUENTIAL(0.0)[:3], zero, atol=1e-6)
    np.testing.assert_allclose(SEQUENTIAL(1.0), DIVERGING(1.0))
    assert zero.min() > 0.95


@pytest.mark.parametrize(("value", "why"), [(0.0, "constant: no map"), (np.nan, "not finite: no map")])
def test_a_map_that_says_nothing_is_named(value: float, why: str) -> None:
    empty = AttributionMap("Grad-CAM", np.full((28, 28), value, np.float32), ("deletion 0.25",))
    figure = drawn(draw_attribution(attribution_info("t", [AttributionRow("r", an_image(), (empty,))])))
    assert why in words(figure)
    assert "deletion 0.25" not in words(figure)


def test_rows_must_fit_together() -> None:
    image, good = an_image(), AttributionMap("m", a_map())
    with pytest.raises(ValueError, match=r"equally many maps, got \[1, 2\]"):
        attribution_info("t", [AttributionRow("a", image, (good,)), AttributionRow("b", image, (good, good))])
    with pytest.raises(ValueError, match="equally many"):
        attribution_info("t", [])
    with pytest.raises(ValueError, match=r"got \(8, 8\) for \(28, 28, 1\)"):
        attribution_info("t", [AttributionRow("a", image, (AttributionMap("m", a_map(8)),))])


# mistakes


def a_mistake(label: str = "image 7", confidence: float = 0.9) -> Mistake:
    return Mistake(label, an_image(), "T-shirt/top", "Shirt", confidence, 0.0004, 10 * a_map(), a_map(seed=1))


@pytest.mark.parametrize(("count", "places"), [(1, 3), (2, 6), (3, 9), (6, 18)])
def test_mistakes_are_three_pictures_each(count: int, places: int) -> None:
    info = mistakes_info("t", "Occlusion", [a_mistake(f"image {number}") for number in range(count)])
    figure = drawn(draw_mistakes(info))
    assert len(pictures(figure)) == places
    assert f"image {count - 1}" in words(figure)
    assert "predicted: T-shirt/top" in words(figure)
    assert "true: Shirt" in words(figure)
    assert "p = 0.900" in words(figure)
    assert "p < 0.001" in words(figure)
    assert "Occlusion. Red supports" in words(figure)


def test_both_maps_of_a_mistake_are_drawn_to_one_scale() -> None:
    mistake = a_mistake()
    limit = strength(mistake.predicted_map, mistake.true_map)
    cells = pictures(draw_mistakes(mistakes_info("t", "m", [mistake])))
    np.testing.assert_allclose(shown(cells[1]), overlay(mistake.image, mistake.predicted_map, limit))
    np.testing.assert_allclose(shown(cells[2]), overlay(mistake.image, mistake.true_map, limit))


@pytest.mark.parametrize(("confidence", "text"), [(1.0, "p = 1.000"), (0.9999, "p > 0.999"), (0.501, "p = 0.501")])
def test_no_probability_is_rounded_to_certainty(confidence: float, text: str) -> None:
    assert text in words(draw_mistakes(mistakes_info("t", "m", [a_mistake(confidence=confidence)])))


def test_no_mistake_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mistakes_info("t", "m", [])


# curves


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("orders", [1, 3])
def test_curves_are_means_over_images_with_areas_in_the_legend(images: int, orders: int) -> None:
    info = faithfulness_info(LONG, measured(images, orders), {"gradient": "Gradient"})
    deletion, insertion = info.panels
    np.testing.assert_allclose(deletion.curves["Gradient"], 0.25)
    np.testing.assert_allclose(insertion.curves["own"], measured(images).methods["own"].insertion.mean(axis=0))
    figure = drawn(draw_faithfulness(info))
    said = words(figure)
    assert "Gradient 0.25" in said
    assert "Gradient 0.75" in said
    assert ("3 random orders 0.50 (0.40–0.60)" if orders == 3 else "one random order 0.40") in said
    assert ("(one image)" if images == 1 else "(mean of 2 images)") in said


def test_curves_without_a_control_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and 0"):
        faithfulness_info("t", measured(2, 0), {})


# agreement


def a_row(seeds: int, shown_maps: int, side: int = 28, label: str = "none") -> AgreementRow:
    maps = np.stack([a_map(side, 1) + a_map(side, seed + 2) for seed in range(seeds)])
    others = np.stack([a_map(side, seed + 50) for seed in range(seeds)])
    chosen = tuple(AttributionMap(f"seed {seed}", maps[seed]) for seed in range(shown_maps))
    return AgreementRow(label, an_image(side), chosen, seed_agreement(maps), seed_agreement(others))


@pytest.mark.parametrize(("side", "shown_maps"), [(8, 1), (28, 5)])
def test_agreement_stands_beside_that_of_random_weights(side: int, shown_maps: int) -> None:
    rows = [a_row(10, shown_maps, side), a_row(6, shown_maps, side, LONG)]
    figure = drawn(draw_agreement(agreement_info("t", "Occlusion", rows)))
    assert len(pictures(figure)) == 2 * (shown_maps + 3)
    for agreement in (rows[0].agreement, rows[1].randomised):
        assert " ".join(agreement_notes(agreement)) in words(figure)


def test_all_agreement_maps_are_drawn_to_one_scale() -> None:
    rows = [a_row(10, 1), a_row(2, 1)]
    info = agreement_info("t", "m", rows)
    cells = pictures(draw_agreement(info))
    for place, (row, agreement) in enumerate(
        [(0, "agreement"), (0, "randomised"), (1, "agreement"), (1, "randomised")]
    ):
        values = getattr(rows[row], agreement).map
        found = shown(cells[4 * row + 2 + place % 2])
        np.testing.assert_allclose(found, overlay(an_image(), values, info.limit))


def test_notes_count_networks_and_those_without_a_map() -> None:
    maps = np.stack([a_map(seed=0), a_map(seed=0), np.zeros((28, 28))])
    assert agreement_notes(seed_agreement(maps)) == ("+1.00", "2 networks", "1 without a map")
    assert agreement_notes(seed_agreement(maps[1:])) == ("no pair of maps", "1 network", "1 without a map")
    assert agreement_notes(seed_agreement(maps[[0, 0, 1]])) == ("+1.00", "(+1.00 to +1.00)", "3 networks")


def test_no_agreement_at_all_is_drawn_with_the_reason() -> None:
    nothing = seed_agreement(np.zeros((3, 28, 28)))
    row = AgreementRow(
        "none", an_image(), (AttributionMap("seed 0", np.zeros((28, 28), np.float32)),), nothing, nothing
    )
    assert "no pair of maps 0 networks 3 without a map" in words(drawn(draw_agreement(agreement_info("t", "m", [row]))))


def test_rows_of_seeds_must_fit_together() -> None:
    with pytest.raises(ValueError, match=r"at most 5, got \[6\]"):
        agreement_info("t", "m", [a_row(6, 6)])
    with pytest.raises(ValueError, match="equally many"):
        agreement_info("t", "m", [])
