"""The figures of a study's analysis: comparisons, interactions, strengths, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.catalog import is_here, load_dataset
from regulens.figures.confusion import ConfusedImage, confusion_info, draw_confusion, worst_pairs
from regulens.figures.forest import ForestRow, draw_forest, forest_info
from regulens.figures.interaction import InteractionInfo, InteractionLine, draw_interaction
from regulens.figures.strength import StrengthCurve, StrengthInfo, StrengthPanel, draw_strengths
from regulens.figures.style import save_figure
from regulens.files import file_name
from regulens.report.pictures import FIGURES, Picture
from regulens.report.wording import unit_of
from regulens.results import RunResult
from regulens.spec import Level, StudySpec
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import cell_label, factor_label, level_label, level_text
from regulens.study.runner import run_folder
from regulens.study.strengths import StrengthSeries
from regulens.study.table import is_collapsed
from regulens.training.predictions import PREDICTIONS, load_predictions

EXAMPLES = 6


def forest(study: StudySpec, found: StudyAnalysis, folder: Path) -> Picture | None:
    """Draw the comparisons that could be made."""
    unit, design = unit_of(found.declared.response), found.analysis.design
    rows = [
        ForestRow(
            label=f"{level_label(each.factor, each.a)} − {level_label(each.factor, each.b)}",
            group=_words(study, each.where),
            estimate=each.result.difference.estimate,
            low=each.result.difference.low,
            high=each.result.difference.high,
            low95=each.result.unadjusted.low,
            high95=each.result.unadjusted.high,
            verdict=None if np.isnan(each.result.difference.low) else each.result.verdict,
        )
        for each in found.analysis.comparisons
        if each.result is not None
    ]
    if not rows:
        return None
    info = forest_info(
        rows,
        unit.name,
        found.declared.rope,
        direction=design.direction,
        scale=100 if unit.points else 1,
        unit=unit.word,
        decimals=1 if unit.points else 3,
        level=found.level,
    )
    path = save_figure(draw_forest(info), folder / FIGURES, "forest")
    rope = f", shaded the equivalence margin (±{unit.size(found.declared.rope)})"
    return Picture(
        path,
        f"Differences in {unit.name}: thick the unadjusted 95 % interval, thin the simultaneous interval, "
        f"which decides{rope if found.declared.rope else ''}.",
    )


def interaction_pictures(study: StudySpec, found: StudyAnalysis, folder: Path) -> list[Picture]:
    """Draw the cells over the levels of the compared factor, a line for each combination of the others."""
    factor = found.declared.factor
    if factor is None or len(study.factors) < 2 or len(found.declared.levels) < 2:
        return []
    unit = unit_of(found.declared.response)
    others = [path for path in study.factors if path != factor]
    means = {frozenset(cell.levels.items()): cell.mean for cell in found.analysis.cells}
    trained = {frozenset(cell.levels.items()): cell.trained for cell in found.analysis.cells}
    places = list(dict.fromkeys(tuple((path, cell.levels[path]) for path in others) for cell in found.analysis.cells))
    drawn = []
    for name, title, intervals in (
        ("all", "mean over all runs", means),
        ("trained", "mean over non-collapsed runs", trained),
    ):
        if name == "trained" and not any(cell.collapse and cell.collapse.estimate for cell in found.analysis.cells):
            continue
        lines = []
        for place in places:
            row = [intervals.get(frozenset([*place, (factor, level)])) for level in found.declared.levels]
            bounds = np.array([[x.estimate, x.low, x.high] if x else [np.nan] * 3 for x in row]).T
            lines.append(InteractionLine(_words(study, dict(place)), *bounds))
        info = InteractionInfo(
            title=title,
            factor=factor_label(factor),
            levels=tuple(map(level_text, found.declared.levels)),
            other=" and ".join(map(factor_label, others)),
            lines=tuple(lines),
            response=unit.name,
        )
        path = save_figure(draw_interaction(info), folder / FIGURES, f"interaction-{name}")
        drawn.append(Picture(path, f"{unit.name.capitalize()}, {title}, with unadjusted 95 % intervals."))
    return drawn


def strength_picture(series: Sequence[StrengthSeries], found: StudyAnalysis, folder: Path) -> Picture | None:
    """Draw each regularizer's grid of strengths."""
    if not series:
        return None
    unit, higher = unit_of(found.declared.response), found.declared.direction == "higher"
    panels = []
    for kind in dict.fromkeys(each.kind for each in series):
        curves = []
        for each in (each for each in series if each.kind == kind):
            best, last = each.best(higher), len(each.strengths) - 1
            curves.append(
                StrengthCurve(
                    label=each.where or "all",
                    strengths=np.array(each.strengths),
                    accuracies=tuple(runs.values for runs in each.samples),
                    collapsed=tuple(runs.collapsed for runs in each.samples),
                    centre=np.array([mean.estimate for mean in each.means]),
                    low=np.array([mean.low for mean in each.means]),
                    high=np.array([mean.high for mean in each.means]),
                    best=best,
                    at_edge=best in {0, last} and each.strengths[best] > 0,
                )
            )
        word = "rate" if kind.startswith("dropout") else "strength"
        panels.append(StrengthPanel(kind, word, tuple(curves)))
    info = StrengthInfo(tuple(panels), unit.name, "mean over all runs", "95 % interval of the mean")
    path = save_figure(draw_strengths(info), folder / FIGURES, "strengths")
    return Picture(path, f"{unit.name.capitalize()} against the strength of each regularizer; every run a point.")


def confusion(study: StudySpec, runs: Sequence[RunResult], folder: Path) -> Picture | None:
    """Draw what the trained runs of one cell take for what, on validation, with images of the worst pair.

    ``None`` if no run trained, a run's predictions are gone, or the data set is no longer on this machine.
    """
    trained = [run for run in runs if not is_collapsed(run)]
    paths = [run_folder(folder, run.run_id) / PREDICTIONS for run in trained]
    if not trained or not all(path.is_file() for path in paths):
        return None
    spec = trained[0].spec
    if not is_here(spec.data.name):
        return None
    dataset = load_dataset(spec.data.name)
    classes = len(dataset.class_names)
    counts = np.zeros((len(trained), classes, classes), np.int64)
    wrong: dict[int, int] = {}
    guesses = []
    for run, path in enumerate(paths):
        predictions = load_predictions(path)
        guess = predictions.probabilities.argmax(1)
        np.add.at(counts[run], (predictions.labels, guess), 1)
        guesses.append((predictions.indices, predictions.labels, guess))
    pairs = worst_pairs(counts, 1)
    for indices, labels, guess in guesses if pairs else []:
        for index in indices[(labels == pairs[0].true) & (guess == pairs[0].predicted)].tolist():
            wrong[index] = wrong.get(index, 0) + 1
    worst = sorted(wrong, key=lambda index: (-wrong[index], index))[:EXAMPLES]
    examples = [ConfusedImage(_picture(dataset.images[index]), f"{wrong[index]} of {len(trained)}") for index in worst]
    label = cell_label(spec.cell, study)
    info = confusion_info(label, dataset.class_names, counts, examples, "non-collapsed runs")
    path = save_figure(draw_confusion(info), folder / FIGURES, file_name("confusion", label))
    return Picture(
        path,
        f"Confusion matrix of {label} on validation, the mean over {len(trained)} non-collapsed runs; the images of "
        "the most confused pair that most runs get wrong, with how many do.",
    )


def _picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[..., 0] if image.shape[-1] == 1 else image


def _words(study: StudySpec, levels: Mapping[str, Level]) -> str:
    return ", ".join(level_label(path, levels[path]) for path in study.factors if path in levels)
