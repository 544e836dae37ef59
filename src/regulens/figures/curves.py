"""Accuracy by epoch of one network: train in blue, validation in red, every seed thin, the median thick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from regulens.figures.style import TRAIN, VALIDATION, house_style, new_figure
from regulens.results import RunResult


@dataclass(frozen=True, eq=False)
class CurvesInfo:
    """Accuracies (seeds, epochs), the running means of training and those on validation (NaN in refits)."""

    title: str
    train: NDArray[np.float64]
    validation: NDArray[np.float64]


def curves_info(title: str, runs: Sequence[RunResult]) -> CurvesInfo:
    """Gather the epoch records of one cell's runs."""
    train = np.array([[epoch.accuracy for epoch in run.epochs] for run in runs])
    validation = np.array([[epoch.val_accuracy for epoch in run.epochs] for run in runs])
    return CurvesInfo(title, train, validation)


def common_limits(infos: Sequence[CurvesInfo]) -> tuple[float, float]:
    """Return one accuracy range for several figures, so that they can be compared."""
    low = min(float(np.nanmin([info.train, info.validation])) for info in infos)
    return max(0.0, np.floor(low * 20 - 0.2) / 20), 1.0


def draw_curves(info: CurvesInfo, limits: tuple[float, float]) -> Figure:
    """Draw the curves of one network within these limits of accuracy."""
    seeds, count = info.train.shape
    epochs = np.arange(1, count + 1)
    marker = "o" if count <= 12 else ""
    with house_style():
        figure = new_figure(4.2, 3.0)
        axes = figure.subplots()
        axes.grid(True, axis="y")
        for colour, name, curves in ((TRAIN, "train", info.train), (VALIDATION, "validation", info.validation)):
            if np.isnan(curves).all():
                continue
            axes.plot(epochs, curves.T, color=colour, lw=0.7, alpha=0.45)
            label = f"{name}, median of {seeds}" if seeds > 1 else name
            axes.plot(epochs, np.median(curves, axis=0), color=colour, lw=2.4, marker=marker, ms=4, label=label)
        axes.set(title=info.title, xlabel="epoch", ylabel="accuracy", xlim=(0.5, count + 0.5), ylim=limits)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower right")
    return figure
