"""What the layers of a study's networks hold, how they stand up to corrupted images, and whether they know it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.split import split
from regulens.figures.calibration import draw_reliability, reliability_panel
from regulens.figures.probes import ProbeLine, ProbePanel, draw_probes, probes_info
from regulens.figures.robustness import RobustnessLine, RobustnessPanel, draw_robustness, robustness_info
from regulens.figures.similarity import (
    LayerPanel,
    SimilarityPanel,
    draw_layer_map,
    draw_similarity_map,
    layer_map_info,
    similarity_map_info,
)
from regulens.figures.style import save_figure
from regulens.interpret.corruptions import CORRUPTIONS, SEVERITIES, corrupt, strength_in_words
from regulens.interpret.similarity import LEAST_IMAGES
from regulens.report.document import Block, Figure, Heading, Paragraph, Table
from regulens.report.inside.measures import whole_blocks, writer_of
from regulens.report.inside.scene import dataset_here
from regulens.report.pictures import FIGURES, Picture
from regulens.report.wording import DASH, bounded, cell_text, counted
from regulens.spec import Level, RunSpec, StudySpec
from regulens.stats.calibration import calibration
from regulens.stats.intervals import Interval, mean_interval
from regulens.study.declared import compared_pairs
from regulens.study.grid import cell_label, cell_levels, factor_label, level_label
from regulens.study.inside.analysis import CALIBRATION_SEED, TYPICAL, InsideAnalysis, typical_run
from regulens.study.inside.measuring import CORRUPTION_SEED
from regulens.study.inside.similarity import IMAGES, MOST_RUNS, LayerSimilarity, StageSimilarity, StudySimilarity
from regulens.study.runner import run_folder
from regulens.training.checkpoint import PREDICTIONS, load_predictions

Place = tuple[tuple[str, Level], ...]


def probe_blocks(study: StudySpec, found: InsideAnalysis, folder: Path) -> Iterator[Block]:
    """Write up what a linear classifier reads off each stage of the networks."""
    first = next(iter(found.runs.values()))[0][1]
    yield Heading("What the layers hold", 2)
    yield Paragraph(
        "A linear probe is multinomial logistic regression on what a stage of a network hands on, fitted on "
        f"{first.probe_images[0]:,} training images and scored on {first.probe_images[1]:,} validation images; on the "
        "pixels themselves it is the same for all networks. Wide stages are averaged over areas first and so "
        "understated by up to three points: a stage that lies further below the pixels has lost what a linear "
        "classifier could use. " + _trained_text(found)
    )
    if not found.trained():
        return
    yield probe_table(study, found)
    panels = [ProbePanel(title, stages, tuple(lines)) for title, stages, lines in _by_place(study, found)]
    path = save_figure(draw_probes(probes_info(panels)), folder / FIGURES, "probes")
    yield Figure(
        Picture(
            path, "Validation accuracy of linear probes by stage, mean over runs that trained with its 95 % interval."
        )
    )


def probe_table(study: StudySpec, found: InsideAnalysis) -> Table:
    """Show the accuracy of a linear probe at each stage of each network."""
    trained = found.trained()
    longest = max((tuple(runs[0][1].probes) for runs in trained.values()), key=len, default=())
    rows = []
    for spec, runs in trained.items():
        texts = []
        for stage in longest:
            values = np.array([record.probes.get(stage, math.nan) for _, record in runs])
            texts.append(bounded(_mean_of(values).within((0, 1)), ".3f"))
        rows.append((cell_label(spec, study), *texts))
    return Table(
        caption="Validation accuracy of linear probes",
        columns=("network", *longest),
        rows=tuple(rows),
        note="Means over runs that trained with 95 % intervals, each for itself.",
        name="probes",
    )


def _by_place(study: StudySpec, found: InsideAnalysis) -> Iterator[tuple[str, tuple[str, ...], list[ProbeLine]]]:
    """Yield the networks that have the same stages and differ in the compared factor alone."""
    trained = found.trained()
    for (place, stages), specs in _grouped(study, found, lambda spec: tuple(trained[spec][0][1].probes)).items():
        lines = []
        for spec in specs:
            values = np.array([[record.probes[stage] for stage in stages] for _, record in trained[spec]])
            lines.append(ProbeLine(_line_label(study, found, spec), *_bands(values)))
        yield _title(study, place), stages, lines


def _trained_text(found: InsideAnalysis) -> str:
    """Say over which runs the means are taken."""
    every, kept = (sum(map(len, runs.values())) for runs in (found.runs, found.trained()))
    if kept == every:
        return "Means are over all runs; none collapsed."
    return f"Means are over the {kept} of {every} runs that did not collapse: in the others there is little to look at."


def _grouped(
    study: StudySpec, found: InsideAnalysis, key: Callable[[RunSpec], tuple[str, ...]]
) -> dict[tuple[Place, tuple[str, ...]], list[RunSpec]]:
    groups: dict[tuple[Place, tuple[str, ...]], list[RunSpec]] = {}
    for spec in found.trained():
        levels = cell_levels(spec, study)
        place = tuple((path, level) for path, level in levels.items() if path != found.declared.factor)
        groups.setdefault((place, key(spec)), []).append(spec)
    return groups


def _title(study: StudySpec, place: Place) -> str:
    return cell_text(study, dict(place)) if place else study.name


def _line_label(study: StudySpec, found: InsideAnalysis, spec: RunSpec) -> str:
    factor = found.declared.factor
    return level_label(factor, cell_levels(spec, study)[factor]) if factor else study.name


def _bands(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean, low and high (n,) of (runs, n) values; runs that are not finite are left out of a column."""
    intervals = [_mean_of(column) for column in values.T]
    mean, low, high = (np.array([getattr(each, name) for each in intervals]) for name in ("estimate", "low", "high"))
    return mean, np.clip(low, 0, 1), np.clip(high, 0, 1)


def _mean_of(values: NDArray[np.float64]) -> Interval:
    kept = values[np.isfinite(values)]
    return mean_interval(kept, 0.95) if len(kept) else Interval(math.nan, math.nan, math.nan, 0.95)


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
                    f"{_line_label(study, found, a)} and {_line_label(study, found, b)}",
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
        "With 95 % intervals, each for itself (jackknife over runs); none below three runs." if seeds else "",
        _elsewhere_text(study, similar),
        _dead_text(dead),
    )
    numbers = ("excess", "between", "within the first", "within the second") if seeds else ("between",)
    return Table(
        caption="How alike seeds and networks are",
        columns=("stage", "where", "networks", *numbers),
        rows=tuple(rows),
        note=" ".join(filter(None, notes)),
        left=(1, 2),
        name="similarity",
    )


def _runs_text(similar: StudySimilarity) -> str:
    """Say how many runs are compared, or why none are."""
    if not similar.runs:
        return "No run trained: there is nothing to compare."
    if not similar.layers:
        return f"How alike networks are is not measured: it takes {LEAST_IMAGES} validation images or more."
    shared = [runs for runs in similar.runs.values() if runs]
    if max(shared) > 1:
        return f"Compared: {_of_each(shared)}, which trained and are judged on the same images."
    why = "Only one run of a network trained"
    if any(not each.same_images for each in similar.layers):
        why = "Seeds vary the split, so no two runs of a network are judged on the same images"
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


def robustness_blocks(study: StudySpec, found: InsideAnalysis, folder: Path) -> Iterator[Block]:
    """Write up the accuracy on corrupted images, and the overconfidence."""
    first = next(iter(found.runs.values()))[0][1]
    yield Heading("How they stand up, and whether they know it", 2)
    yield Paragraph(
        f"Accuracy on the first {first.corrupted_images:,} validation images, corrupted before any scaling in "
        f"{SEVERITIES} severities, the same for all networks. Lost is the accuracy on the clean images less the mean "
        "over the severities: a network that was never right has nothing to lose. Overconfidence is the mean "
        "probability of the predicted class less the accuracy, on all validation images."
    )
    yield from whole_blocks(study, found)
    for picture in _robustness_pictures(study, found, folder):
        yield Figure(picture)


def _robustness_pictures(study: StudySpec, found: InsideAnalysis, folder: Path) -> Iterator[Picture]:
    trained, groups = found.trained(), _grouped(study, found, lambda _: ())
    for number, ((place, _), specs) in enumerate(groups.items(), start=1):
        examples = _examples(specs[0])
        panels = [
            RobustnessPanel(
                kind,
                tuple(
                    RobustnessLine(
                        _line_label(study, found, spec),
                        *_bands(np.array([record.corrupted[kind] for _, record in trained[spec]])),
                    )
                    for spec in specs
                ),
                *examples[kind],
            )
            for kind in CORRUPTIONS
        ]
        info = robustness_info(panels, "95 % interval of the mean over runs")
        path = save_figure(draw_robustness(info), folder / FIGURES, f"robustness-{number}")
        where = _title(study, place)
        yield Picture(path, f"Accuracy on corrupted validation images, {where}: mean over runs, by severity.")


def _examples(spec: RunSpec) -> dict[str, tuple[NDArray[np.uint8] | None, str]]:
    """Return of each corruption the first validation image at every severity, and the severest in words.

    Nothing where the data are not here.
    """
    dataset = dataset_here(spec.data.name)
    if dataset is None:
        return dict.fromkeys(CORRUPTIONS, (None, ""))
    image = dataset.images[split(len(dataset.labels), spec.parts).validation[:1]]
    return {
        kind: (
            np.stack(
                [
                    corrupt(image, kind, severity, np.random.default_rng([CORRUPTION_SEED, *kind.encode()]))[0]
                    for severity in range(SEVERITIES + 1)
                ]
            ),
            strength_in_words(kind, SEVERITIES, dataset.image_shape),
        )
        for kind in CORRUPTIONS
    }


def calibration_blocks(study: StudySpec, found: InsideAnalysis, folder: Path) -> Iterator[Block]:
    """Write up whether probabilities mean what they say."""
    panels = [
        reliability_panel(cell_label(spec, study), kept)
        for spec, tables in found.reliability.items()
        if (kept := [table for table in tables if table is not None])
    ]
    if not panels:
        yield Paragraph("There are no predictions on this machine to judge calibration by.", "note")
        return
    yield calibration_table(study, found, folder)
    path = save_figure(draw_reliability(panels), folder / FIGURES, "reliability")
    caption = "Reliability: accuracy of validation images by the confidence of the network, a thin line per run."
    yield Figure(Picture(path, caption))


def calibration_table(study: StudySpec, found: InsideAnalysis, folder: Path) -> Table:
    """Show the calibration of the run that stands for each network."""
    return Table(
        caption="Calibration of the run that stands for each network",
        columns=("network", "expected calibration error", "overconfidence, points", "Brier score", "log loss, nats"),
        rows=tuple((cell_label(spec, study), *_calibration_row(spec, found, folder)) for spec in found.runs),
        note="On its validation images, with 95 % intervals over images; the expected calibration error has 15 bins "
        f"and its bias taken off. The run is {TYPICAL}.",
        name="calibration",
    )


def _calibration_row(spec: RunSpec, found: InsideAnalysis, folder: Path) -> tuple[str, ...]:
    run = typical_run([result for result, _ in found.runs[spec]])
    path = run_folder(folder, run.run_id) / PREDICTIONS
    if not path.is_file():
        return (DASH,) * 4
    predictions = load_predictions(path)
    if not np.isfinite(predictions.probabilities).all():
        return (DASH,) * 4
    measured = calibration(predictions.probabilities, predictions.labels, np.random.default_rng(CALIBRATION_SEED))
    return (
        writer_of("error").interval(measured.error),
        writer_of("overconfidence").interval(measured.overconfidence, sign="+"),
        f"{measured.brier:.3f}",
        f"{measured.log_loss:.3f}",
    )
