"""Deletion and insertion curves: the class's probability while pixels are replaced in the order of each map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.attribution import area_text
from regulens.figures.parts import lines_of, look, wrapped
from regulens.figures.style import MUTED, house_style, new_figure
from regulens.interpret.faithfulness import Curves, Faithfulness

Kind = Literal["deletion", "insertion"]
_TITLES: dict[Kind, str] = {"deletion": "Deletion: lower is better", "insertion": "Insertion: higher is better"}
_AXES: dict[Kind, str] = {
    "deletion": "fraction of pixels blurred, the most important first",
    "insertion": "fraction of pixels restored, the most important first",
}


@dataclass(frozen=True, eq=False)
class CurvePanel:
    """The mean curves over images (steps + 1,) by method, and the random orders' (orders, steps + 1) likewise.

    ``areas`` are by method those (orders,) of each random order of equal pixels.
    """

    kind: Kind
    curves: Mapping[str, NDArray[np.float64]]
    areas: Mapping[str, NDArray[np.float64]]
    random: NDArray[np.float64]
    random_areas: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FaithfulnessInfo:
    """Both panels over the same (steps + 1,) fractions of pixels, means of so many images."""

    title: str
    fractions: NDArray[np.float64]
    panels: tuple[CurvePanel, CurvePanel]
    images: int


def faithfulness_info(title: str, measured: Faithfulness, titles: Mapping[str, str]) -> FaithfulnessInfo:
    """Average the curves over the images; ``titles`` names the methods.

    Raises:
        ValueError: if no method or no random order was followed.
    """
    if not measured.methods or not measured.random:
        counts = f"{len(measured.methods)} and {len(measured.random)}"
        raise ValueError(f"curves of methods and of random orders are needed, got {counts}")
    first = measured.random[0]
    panels = _panel("deletion", measured, titles), _panel("insertion", measured, titles)
    return FaithfulnessInfo(title, first.fractions, panels, len(first.deletion))


def draw_faithfulness(info: FaithfulnessInfo) -> Figure:
    """Draw both panels; a legend in each gives the areas under the curves."""
    title = wrapped(info.title, 85)
    with house_style():
        figure = new_figure(8.2, 3.7 + 0.2 * lines_of(title) + 0.17 * len(info.panels[0].curves))
        for axes, panel in zip(figure.subplots(1, 2, sharey=True), info.panels, strict=True):
            _draw_panel(axes, panel, info.fractions)
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.17),
                fontsize=8,
                title="area under the curve (range over orders)",
                title_fontsize=8,
            )
        images = "one image" if info.images == 1 else f"mean of {info.images} images"
        figure.axes[0].set_ylabel(f"probability of the class ({images})")
        figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _panel(kind: Kind, measured: Faithfulness, titles: Mapping[str, str]) -> CurvePanel:
    def curve(curves: Curves) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = getattr(curves, kind).mean(axis=0)
        return chosen

    def areas(curves: Curves) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = getattr(curves, f"{kind}_areas").mean(axis=1)
        return chosen

    named = {titles.get(name, name): curves for name, curves in measured.methods.items()}
    return CurvePanel(
        kind,
        {name: curve(each) for name, each in named.items()},
        {name: areas(each) for name, each in named.items()},
        np.stack([curve(each) for each in measured.random]),
        np.concatenate([areas(each) for each in measured.random]),
    )


def _draw_panel(axes: Axes, panel: CurvePanel, fractions: NDArray[np.float64]) -> None:
    low, middle, high = panel.random.min(axis=0), panel.random.mean(axis=0), panel.random.max(axis=0)
    axes.fill_between(fractions, low, high, color=MUTED, alpha=0.25, lw=0)
    for place, (name, curve) in enumerate(panel.curves.items()):
        style = look(place)
        label = f"{name} {area_text(panel.areas[name])}"
        axes.plot(fractions, curve, color=style.colour, ls=style.line, marker=style.marker, ms=3.5, lw=1.4, label=label)
    areas = panel.random_areas
    orders = f"{len(areas)} random orders" if len(areas) > 1 else "one random order"
    label = f"{orders} {area_text(areas)}"
    axes.plot(fractions, middle, color=MUTED, lw=2.2, label=label, zorder=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=_AXES[panel.kind])
    axes.set_title(_TITLES[panel.kind], loc="left", fontsize=9.5)
    axes.grid(True)
    axes.set_axisbelow(True)
