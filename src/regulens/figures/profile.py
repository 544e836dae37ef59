"""Performance profiles: the share of runs above each threshold, a curve with its band for each level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regulens.figures.parts import look, wrapped
from regulens.figures.style import house_style, new_figure
from regulens.stats.profiles import Profile


@dataclass(frozen=True, eq=False)
class ProfilePanel:
    """Curves over one axis: labels and profiles, the numbers of the thresholds being those printed."""

    title: str
    threshold: str
    curves: tuple[tuple[str, Profile], ...]


@dataclass(frozen=True, eq=False)
class ProfileInfo:
    """One panel or two; ``share`` says of which runs a curve is the share."""

    panels: tuple[ProfilePanel, ...]
    share: str
    level: float


def profile_info(panels: Sequence[ProfilePanel], higher: bool = True) -> ProfileInfo:
    """Gather the panels.

    Raises:
        ValueError: if there are none, or not the same levels in each.
    """
    names = {tuple(label for label, _ in panel.curves) for panel in panels}
    if len(names) != 1 or not next(iter(names)):
        raise ValueError(f"needs panels with the same curves, got {sorted(names)}")
    share = f"share of runs {'above' if higher else 'below'} the threshold"
    return ProfileInfo(tuple(panels), share, panels[0].curves[0][1].level)


def draw_profiles(info: ProfileInfo) -> Figure:
    """Draw the panels side by side."""
    count = len(info.panels)
    with house_style():
        labels = [wrapped(label, 26) for label, _ in info.panels[0].curves]
        figure = new_figure(8.4 if count > 1 else 5.2, 3.1 + 0.16 * (len(labels) // 3 + 1))
        grid = figure.subplots(1, count, sharey=True, squeeze=False)
        for axes, panel in zip(grid[0], info.panels, strict=True):
            _draw_panel(axes, panel, labels)
        grid[0][0].set_ylabel(info.share)
        handles, names = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _draw_panel(axes: Axes, panel: ProfilePanel, labels: Sequence[str]) -> None:
    axes.grid(True)
    axes.set_axisbelow(True)
    for place, ((_, profile), label) in enumerate(zip(panel.curves, labels, strict=True)):
        style = look(place)
        axes.fill_between(
            profile.thresholds, profile.low, profile.high, step="post", color=style.colour, alpha=0.14, lw=0, gid="band"
        )
        axes.step(
            profile.thresholds, profile.share, where="post", color=style.colour, ls=style.line, lw=1.6, label=label
        )
    axes.set(title=panel.title, xlabel=panel.threshold, ylim=(-0.02, 1.02))
    axes.set_xlim(panel.curves[0][1].thresholds[0], panel.curves[0][1].thresholds[-1])
