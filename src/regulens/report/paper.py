"""The written part of a study's report: methods, results, analysis, the choice and its test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.report import analysis_pictures
from regulens.report.cost import cost_blocks
from regulens.report.datasets import datasets_blocks
from regulens.report.document import Block, Document, Figure, Heading, Paragraph
from regulens.report.pictures import Picture
from regulens.report.sentences import methods_texts
from regulens.report.wording import unit_of
from regulens.report.written import analysis_blocks, results_blocks
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.stats.images import seeds_and_images
from regulens.stats.intervals import mover_difference
from regulens.stats.means import mean_interval
from regulens.stats.ties import best_of_equals
from regulens.study.analysis import StudyAnalysis
from regulens.study.answers import evidence_of
from regulens.study.samples import samples_of
from regulens.study.store import Selection
from regulens.study.strengths import strength_series

_SOURCES = {
    "init": "initial weights",
    "order": "the order of the images",
    "dropout": "dropout masks",
    "split": "the split of the images",
}


def paper(
    study: StudySpec,
    results: Sequence[RunResult],
    found: StudyAnalysis,
    *,
    folder: Path,
    facts: Sequence[tuple[str, str]],
    comparison: Picture,
    choice: Sequence[Block],
    record: Sequence[str],
) -> Document:
    """Write a study up.

    Args:
        study: as declared.
        results: of its runs.
        found: their analysis.
        folder: of the study, below which the figures are drawn.
        facts: what was run: name and text.
        comparison: the figure of all networks.
        choice: what is to be said of the selection and the test.
        record: looks, and deviations from what was declared.
    """
    trained = [run for run in results if run.spec.compared]
    blocks = [*_methods(study, found, facts), *results_blocks(study, found), Figure(comparison)]
    forest = analysis_pictures.forest(study, found, folder)
    pictures = [forest] if forest else []
    pictures += analysis_pictures.interaction_pictures(study, found, folder)
    blocks += map(Figure, pictures)
    blocks += _strengths(study, trained, found, folder)
    blocks += [*analysis_blocks(study, found), *datasets_blocks(found, folder), *choice]
    picture = _confusion(study, trained, found, folder)
    if picture is not None:
        blocks += [Heading("Confusion matrix"), Figure(picture)]
    blocks += cost_blocks(study, results, found, folder)
    blocks.append(Heading("Looks, and deviations from the declared design"))
    blocks += [Paragraph(text) for text in record]
    lead = f"Study {study.name}: {len(found.analysis.cells)} networks, {study.seeds} seeds each."
    return Document(study.title or study.name, lead, tuple(blocks))


def _methods(study: StudySpec, found: StudyAnalysis, facts: Sequence[tuple[str, str]]) -> Iterator[Block]:
    yield Heading("Methods")
    for name, text in facts:
        yield Paragraph(f"{name}: {text}.")
    yield from map(Paragraph, methods_texts(study, found, [_SOURCES[source] for source in study.vary]))


def _strengths(study: StudySpec, trained: Sequence[RunResult], found: StudyAnalysis, folder: Path) -> Iterator[Block]:
    higher = found.declared.direction == "higher"
    series = strength_series(study, evidence_of(study, trained, folder=folder).cells(found.declared.response))
    picture = analysis_pictures.strength_picture(series, found, folder)
    if picture is None:
        return
    yield Heading("Strengths", 2)
    yield Figure(picture)
    for each in series:
        for warning in each.warnings(higher):
            yield Paragraph(f"{warning[0].upper()}{warning[1:]}.", "note")


def _confusion(study: StudySpec, trained: Sequence[RunResult], found: StudyAnalysis, folder: Path) -> Picture | None:
    """Draw the network that does best when it trains."""
    samples = samples_of(study, trained, found.declared.response)
    means = {spec: float(sample.trained.mean()) for spec, sample in samples.items() if len(sample.trained)}
    if not means:
        return None
    best = list(means)[best_of_equals(list(means.values()), found.declared.direction == "higher")[0]]
    return analysis_pictures.confusion(study, [run for run in trained if run.spec.cell == best], folder)


@dataclass(frozen=True, eq=False)
class TestedNetwork:
    """A refitted network: what its refits have right on the test part, its trainings on validation, (runs, images).

    Of runs that trained only. ``rule`` says how long a refit trains; ``more_images`` is by how many images it has
    more; ``collapsed`` is how many refits are left out.
    """

    label: str
    test: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    rule: str
    more_images: int
    collapsed: int = 0


def choice_blocks(
    selections: Sequence[Selection],
    fresh: Mapping[str, Sequence[RunResult]],
    tested: Sequence[TestedNetwork],
    found: StudyAnalysis,
) -> Iterator[Block]:
    """Say what was selected, how large its selection bias is, and its accuracy on the held-out test set.

    Args:
        selections: in force.
        fresh: runs of the selected networks from independent replication seeds, by label.
        tested: the refitted networks.
        found: the analysis.
    """
    if selections:
        yield Heading("Selection and test")
    for selection in selections:
        yield Paragraph(_choice_text(selection, fresh.get(selection.label, ()), found), cells=(selection.label,))
    for each in tested:
        yield Paragraph(_test_text(each), cells=(each.label,))


def _choice_text(selection: Selection, fresh: Sequence[RunResult], found: StudyAnalysis) -> str:
    unit = unit_of("val_accuracy")
    text = (
        f"Selected on validation{' on ' + selection.among if selection.among else ''}: {selection.label}, by the rule "
        f"fixed beforehand ({selection.rule})."
    )
    if len(fresh) > 1:
        again = mean_interval(np.array([run.val_accuracy for run in fresh]), 0.95).within((0, 1))
        text += f" Its mean validation accuracy over {len(fresh)} independent replication seeds is "
        text += f"{unit.interval(again)}."
    text += f" Its mean over the {selection.seeds} selection seeds is {selection.mean_val_accuracy:.4f}"
    if found.optimism is not None and not selection.among and found.declared.response == "val_accuracy":
        points, resampled = 100 * found.optimism.estimate, "seeds and images" if found.images else "seeds"
        bias = f"about {points:.2f} percentage points" if points >= 0.005 else "practically nothing"
        text += (
            f"; {bias} of that is selection bias (bootstrap over {resampled}, which selects it "
            f"{100 * found.optimism.chosen[found.optimism.selected]:.0f} % of the time)"
        )
    return text + "."


def _test_text(each: TestedNetwork) -> str:
    unit = unit_of("val_accuracy")
    test, before = (seeds_and_images(matrix, 0.95) for matrix in (each.test, each.validation))
    text = (
        f"Test accuracy of {each.label}, refitted on {each.more_images:,} more images ({each.rule}): "
        f"{unit.interval(test)}, over {len(each.test)} refits and {each.test.shape[1]:,} held-out images together."
    )
    if each.collapsed:
        text += f" {each.collapsed} more refits collapsed and are excluded."
    if np.isfinite([test.low, before.low]).all():
        text += (
            f" Validation minus test, after that refit: {unit.difference(mover_difference(before, test))}, over seeds "
            "and images of both."
        )
    return text
