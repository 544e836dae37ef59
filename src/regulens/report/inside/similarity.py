"""How alike seeds, networks and the stages of a network represent the same images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.figures.similarity import (
    LayerPanel,
    SimilarityPanel,
    draw_layer_map,
    draw_similarity_map,
    layer_map_info,
    similarity_map_info,
)
from regulens.figures.style import save_figure
from regulens.interpret.similarity import LEAST_IMAGES
from regulens.report.document import Block, Figure, Paragraph, Table
from regulens.report.inside.networks import line_label
from regulens.report.pictures import FIGURES, Picture
from regulens.report.wording import bounded, cell_text, counted
from regulens.spec import RunSpec, StudySpec
from regulens.stats.intervals import Interval
from regulens.study.declared import compared_pairs
from regulens.study.grid import cell_label, cell_levels, factor_label
from regulens.study.inside.analysis import InsideAnalysis
from regulens.study.inside.similarity import IMAGES, MOST_RUNS, LayerSimilarity, StageSimilarity, StudySimilarity


def similarity_blocks(
    study: StudySpec, found: InsideAnalysis, similar: StudySimilarity, folder: Path
) -> Iterator[Block]:
    """Write up how alike seeds, networks and the stages of a network represent images."""
    if not similar.layers:
        if found.trained():
            yield Paragraph(_runs_text(similar), "note")
        return
    yield Paragraph(
        f"Similarity is debiased linear CKA on the first {IMAGES} validation images, 1 for representations that differ "
        "by a rotation, about 0 for unrelated ones. CKA depends on the scale of single channels: batch norm changes it "
        "by rescaling them alone."
    )
    table = similarity_table(study, found, similar)
    seeds = max(similar.runs.values()) > 1
    if seeds and table.rows:
        factor = factor_label(found.declared.factor or "")
        yield Paragraph(
            "The excess is how much more alike two seeds of one network are than runs of two networks that differ in "
            f"their {factor}: above zero, the {factor} changes CKA by more than the seed does."
        )
        yield table
    elif not seeds or _elsewhere_text(study, similar):
        yield Paragraph(f"{_runs_text(similar)} {_elsewhere_text(study, similar)}".strip(), "note")
    if seeds:
        yield from _similarity_figure(study, found, similar, folder)
    yield from _layer_blocks(study, similar, folder)


def similarity_tables(study: StudySpec, found: InsideAnalysis, similar: StudySimilarity) -> list[Table]:
    """Return every table of similarities that has rows; if none has, the first, whose note says why."""
    tables = [
        similarity_table(study, found, similar),
        correspondence_table(study, similar),
        layer_table(study, similar),
    ]
    return [table for table in tables if table.rows] or tables[:1]


def _similarity_figure(
    study: StudySpec, found: InsideAnalysis, similar: StudySimilarity, folder: Path
) -> Iterator[Figure]:
    shown = [stage for stage in similar if len(stage.cells) > 1]
    if shown:
        cells = tuple(found.trained())
        names = [cell_label(spec, study) for spec in cells]
        panels = [SimilarityPanel(stage.stage, _spread_out(stage, cells)) for stage in shown]
        note = "on the diagonal: between different seeds of one network"
        info = similarity_map_info(panels, names, "mean CKA over pairs of runs", note)
        path = save_figure(draw_similarity_map(info), folder / FIGURES, "similarity")
        yield Figure(Picture(path, "How alike the networks represent the same images, stage by stage."))


def _spread_out(stage: StageSimilarity, cells: tuple[RunSpec, ...]) -> NDArray[np.float64]:
    """Return the stage's matrix over all networks, NaN for those that have no such stage."""
    every = np.full((len(cells), len(cells)), np.nan)
    places = [cells.index(spec) for spec in stage.cells]
    every[np.ix_(places, places)] = stage.mean_matrix()
    return every


def similarity_table(study: StudySpec, found: InsideAnalysis, similar: StudySimilarity) -> Table:
    """Show how alike seeds of one network are, and how alike networks that are compared."""
    rows = []
    seeds = max(similar.runs.values(), default=0) > 1
    for stage in similar:
        for a, b in compared_pairs(
            found.declared, {frozenset(cell_levels(spec, study).items()): spec for spec in stage.cells}
        ):
            between, within = stage.between(a, b), (stage.within(a), stage.within(b))
            means = (stage.excess(a, b), between, *within) if seeds else (between,)
            where = {path: level for path, level in cell_levels(a, study).items() if path != found.declared.factor}
            rows.append(
                (
                    stage.stage,
                    cell_text(study, where) if where else "",
                    f"{line_label(study, found, a)} and {line_label(study, found, b)}",
                    *(bounded(each.mean, ".2f") for each in means),
                )
            )
    dead = [
        (stage.within(spec).left_out[0], similar.runs[spec], f"{stage.stage} of {cell_label(spec, study)}")
        for stage in similar
        for spec in stage.cells
    ]
    notes = (
        _runs_text(similar),
        "With unadjusted 95 % intervals (jackknife over runs); none below three runs." if seeds else "",
        _elsewhere_text(study, similar),
        _dead_text(dead),
    )
    numbers = ("excess", "between", "within the first", "within the second") if seeds else ("between",)
    return Table(
        caption="Similarity of representations across seeds and networks",
        columns=("stage", "where", "networks", *numbers),
        rows=tuple(rows),
        note=" ".join(filter(None, notes)),
        left=(1, 2),
        name="similarity",
    )


def _runs_text(similar: StudySimilarity) -> str:
    """Say how many runs are compared, or why none are."""
    if not similar.runs:
        return "All runs collapsed: there is nothing to compare."
    if not similar.layers:
        return f"How alike networks are is not measured: it takes {LEAST_IMAGES} validation images or more."
    shared = [runs for runs in similar.runs.values() if runs]
    if max(shared) > 1:
        return f"Compared: {_of_each(shared)}, not collapsed and evaluated on the same images."
    why = "Only one run of a network did not collapse"
    if any(not each.same_images for each in similar.layers):
        why = "Seeds vary the split, so no two runs of a network are evaluated on the same images"
    return (
        f"{why}: nothing can be compared within a network, and between networks only one run of each, where the "
        "network cannot be told from the seed."
    )


def _elsewhere_text(study: StudySpec, similar: StudySimilarity) -> str:
    """Name the networks that are not compared with the others."""
    named = "; ".join(cell_label(spec, study) for spec, runs in similar.runs.items() if not runs)
    return f"Left out, because judged on other images: {named}." if named else ""


def _of_each(runs: Sequence[int]) -> str:
    """Write of how many runs of each network something is, at most ``MOST_RUNS``."""
    few, most = min(runs), max(runs)
    number = counted(most, "run") if few == most else f"{few} to {counted(most, 'run')}"
    return f"{number} of each network" + (f" (the {MOST_RUNS} lowest seeds at most)" if most == MOST_RUNS else "")


def _dead_text(found: Sequence[tuple[int, int, str]]) -> str:
    """Say in how many runs of how many a stage is dead, where there are such."""
    named = "; ".join(f"{dead} of {counted(runs, 'run')} at {place}" for dead, runs, place in found if dead)
    return f"Left out, because the stage is dead: {named}." if named else ""


def _layer_blocks(study: StudySpec, similar: StudySimilarity, folder: Path) -> Iterator[Block]:
    """Write up how alike the stages of a network are."""
    yield Paragraph(_layer_text(study, similar))
    table = correspondence_table(study, similar)
    if table.rows:
        yield table
    panels = [LayerPanel(cell_label(each.cell, study), each.stages, *each.means()) for each in similar.layers]
    info = layer_map_info(panels, "mean CKA over runs, or pairs of seeds" if table.rows else "mean CKA over runs")
    path = save_figure(draw_layer_map(info), folder / FIGURES, "similarity-layers")
    caption = "How alike the stages of each network represent the same images; intervals: regulens measures --part "
    yield Figure(Picture(path, f"{caption}similarity."))


def _layer_text(study: StudySpec, similar: StudySimilarity) -> str:
    text = "Layer by layer, every stage of a network is compared with every stage, of the same run and of another seed."
    shares = [(each, each.correspondence().mean) for each in similar.layers]
    known = sorted((pair for pair in shares if math.isfinite(pair[1].estimate)), key=lambda pair: pair[1].estimate)
    if not known:
        return f"{text} There are no two seeds on the same images, so the figure is of the stages of one run."
    ends = [f"{_share_text(share, '%')} in {cell_label(each.cell, study)}" for each, share in (known[0], known[-1])]
    chances = sorted({f"{100 / len(each.stages):.0f}" for each, _ in known})
    return (
        f"{text} If layers correspond, the most similar stage of another seed is the stage itself (Kornblith et al. "
        f"2019). Of the stages and pairs of seeds it is so in {ends[0]}"
        f"{f' (the lowest) to {ends[1]} (the highest)' if len(known) > 1 else ''}; by chance it would be in "
        f"{' to '.join(chances[:: max(1, len(chances) - 1)])} %."
    )


def correspondence_table(study: StudySpec, similar: StudySimilarity) -> Table:
    """Show how often the most similar stage of another seed is the stage itself."""
    found = [each for each in similar.layers if _has_pairs(each)]
    longest = _longest(each.stages[1:] for each in found)
    notes = (
        f"Over the ordered pairs of {_of_each([len(each.matrix) for each in found])}." if found else "",
        "The input, the same in all runs, is a possible partner. With 95 % intervals, each for itself (jackknife over "
        "runs); none below three runs, nor where no run differs.",
        _dead_text(_dead_stages(study, found)),
    )
    return Table(
        caption="How often the most similar stage of another seed is the stage itself, in %",
        columns=("network", *longest, "all of them"),
        rows=tuple(
            (
                cell_label(each.cell, study),
                *(_share_text(each.correspondence(stage).mean) if stage in each.stages else "" for stage in longest),
                _share_text(each.correspondence().mean),
            )
            for each in found
        ),
        note=" ".join(filter(None, notes)),
        name="correspondence",
    )


def layer_table(study: StudySpec, similar: StudySimilarity) -> Table:
    """Show how alike the stages of one run are, and those of two seeds of a network."""
    found = similar.layers
    longest = _longest(each.stages for each in found)
    notes = (
        f"Above the diagonal: two stages of one run, mean over {_of_each([len(each.matrix) for each in found])}."
        if found
        else "",
        "On it and below: a stage of each of two seeds, mean over the ordered pairs (jackknife over runs). With 95 % "
        "intervals, each for itself; none below three runs, nor where no run differs."
        if any(map(_has_pairs, found))
        else "",
        _dead_text(_dead_stages(study, found)),
    )
    return Table(
        caption="How alike the stages of a network are",
        columns=("network", "stage", *longest),
        rows=tuple(
            (
                cell_label(each.cell, study),
                stage,
                *(_layer_number(each, stage, other) if other in each.stages else "" for other in longest),
            )
            for each in found
            for stage in each.stages
        ),
        note=" ".join(filter(None, notes)),
        left=(1,),
        name="similarity-layers",
    )


def _layer_number(each: LayerSimilarity, row: str, column: str) -> str:
    if each.stages.index(row) < each.stages.index(column):
        return bounded(each.same_run(row, column), ".2f")
    return bounded(_told(each.two_seeds(row, column).mean), ".2f") if _has_pairs(each) else ""


def _has_pairs(each: LayerSimilarity) -> bool:
    return each.same_images and len(each.matrix) > 1


def _longest(stages: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return max(stages, key=len, default=())


def _dead_stages(study: StudySpec, found: Sequence[LayerSimilarity]) -> list[tuple[int, int, str]]:
    return [
        (each.dead(stage), len(each.matrix), f"{stage} of {cell_label(each.cell, study)}")
        for each in found
        for stage in each.stages
    ]


def _share_text(share: Interval, word: str = "") -> str:
    return bounded(_told(share), ".0f", factor=100, word=word)


def _told(mean: Interval) -> Interval:
    """Return it without its bounds where they are one: no run differs, and few runs cannot know that none would."""
    return mean if mean.low < mean.high else Interval(mean.estimate, math.nan, math.nan, mean.level)
