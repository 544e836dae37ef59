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
from regulens.report.conditions import ESTIMANDS, conditions, family_of
from regulens.report.pairs import pairs_of
from regulens.report.pictures import FIGURES, Picture
from regulens.report.verdicts import Pair, deciding_bounds, runs_text
from regulens.report.wording import unit_of
from regulens.results import RunResult
from regulens.spec import Level, StudySpec
from regulens.stats.intervals import Interval
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import cell_label, factor_label, level_label, level_text
from regulens.study.runner import run_folder
from regulens.study.strengths import StrengthSeries
from regulens.study.table import is_collapsed
from regulens.training.predictions import PREDICTIONS, load_predictions

EXAMPLES = 6

Means = dict[frozenset[tuple[str, Level]], Interval | None]
"""By the set of a cell's levels."""


def forest(study: StudySpec, found: StudyAnalysis, folder: Path) -> Picture | None:
    """Draw the comparisons that could be made."""
    unit, design = unit_of(found.declared.response), found.analysis.design
    rows = [_forest_row(pair) for _, pair in pairs_of(study, found) if pair is not None]
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
        level=1 - family_of(found).alpha_of_one,
    )
    path = save_figure(draw_forest(info), folder / FIGURES, "forest")
    marks = "; long marks: the one-sided bounds that decide" if np.isfinite([row.bounds for row in rows]).any() else ""
    shade = f"; shaded: the equivalence margin (ROPE, ±{unit.size(found.declared.rope)})" if found.declared.rope else ""
    return Picture(
        path,
        f"Differences in {unit.name}{runs_text(design)}; thin: the simultaneous interval, thick: the unadjusted one"
        f"{marks}{shade}. Verdicts are {conditions(study, found)}.",
    )


def _forest_row(pair: Pair) -> ForestRow:
    result = pair.result
    return ForestRow(
        label=f"{pair.a} − {pair.b}",
        group=pair.place,
        estimate=result.difference.estimate,
        low=result.difference.low,
        high=result.difference.high,
        low95=result.unadjusted.low,
        high95=result.unadjusted.high,
        verdict="mixed" if result.mixed else result.verdict,
        bounds=deciding_bounds(pair),
        word=pair.word,
    )


def interaction_pictures(study: StudySpec, found: StudyAnalysis, folder: Path) -> list[Picture]:
    """Draw the cells over the levels of the compared factor, a line for each combination of the others."""
    factor = found.declared.factor
    if factor is None or len(study.factors) < 2 or len(found.declared.levels) < 2:
        return []
    unit = unit_of(found.declared.response)
    others = [path for path in study.factors if path != factor]
    means: Means = {frozenset(cell.levels.items()): cell.mean for cell in found.analysis.cells}
    trained: Means = {frozenset(cell.levels.items()): cell.trained for cell in found.analysis.cells}
    places = list(dict.fromkeys(tuple((path, cell.levels[path]) for path in others) for cell in found.analysis.cells))
    drawn = []
    ordered = [("trained", ESTIMANDS["trained"], trained), ("all", ESTIMANDS["mean"], means)]
    if found.declared.primary != "trained":
        ordered.reverse()
    both = any(cell.collapse and cell.collapse.estimate for cell in found.analysis.cells)
    for name, title, intervals in ordered if both else ordered[:1]:
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
        drawn.append(Picture(path, f"{unit.name.capitalize()}, {title}, with unadjusted 95 % intervals: exploratory."))
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
    info = StrengthInfo(tuple(panels), unit.name, ESTIMANDS[found.declared.primary], "its 95 % interval")
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
    info = confusion_info(label, dataset.class_names, counts, examples, "runs that trained")
    path = save_figure(draw_confusion(info), folder / FIGURES, file_name("confusion", label))
    return Picture(
        path,
        f"Confusion matrix of {label} on validation, the mean over {len(trained)} runs that trained; the images of "
        "the most confused pair that most runs get wrong, with how many do.",
    )


def _picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[..., 0] if image.shape[-1] == 1 else image


def _words(study: StudySpec, levels: Mapping[str, Level]) -> str:
    return ", ".join(level_label(path, levels[path]) for path in study.factors if path in levels)
