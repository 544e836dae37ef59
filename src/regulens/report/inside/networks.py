"""What the layers of a study's networks hold, how they stand up to corrupted images, and whether they know it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.split import split
from regulens.figures.calibration import draw_reliability, reliability_panel
from regulens.figures.probes import ProbeLine, ProbePanel, draw_probes, probes_info
from regulens.figures.robustness import RobustnessLine, RobustnessPanel, draw_robustness, robustness_info
from regulens.figures.style import save_figure
from regulens.interpret.corruptions import CORRUPTIONS, SEVERITIES, corrupt, strength_in_words
from regulens.report.document import Block, Figure, Heading, Paragraph, Table
from regulens.report.inside.measures import whole_blocks, writer_of
from regulens.report.inside.scene import dataset_here
from regulens.report.pictures import FIGURES, Picture
from regulens.report.wording import DASH, bounded, cell_text
from regulens.spec import Level, RunSpec, StudySpec
from regulens.stats.calibration import calibration
from regulens.stats.intervals import Interval
from regulens.stats.means import mean_interval
from regulens.study.grid import cell_label, cell_levels, level_label
from regulens.study.inside.analysis import CALIBRATION_SEED, TYPICAL, InsideAnalysis, typical_run
from regulens.study.inside.measuring import CORRUPTION_SEED
from regulens.study.runner import run_folder
from regulens.training.predictions import PREDICTIONS, load_predictions

Place = tuple[tuple[str, Level], ...]


def probe_blocks(study: StudySpec, found: InsideAnalysis, folder: Path) -> Iterator[Block]:
    """Write up what a linear classifier reads off each stage of the networks."""
    first = next(iter(found.runs.values()))[0][1]
    yield Heading("Linear probes and similarity of representations", 2)
    yield Paragraph(
        "A linear probe is multinomial logistic regression on what a stage of a network hands on, fitted on "
        f"{first.probe_images[0]:,} training images and scored on {first.probe_images[1]:,} validation images; on the "
        "pixels themselves it is the same for all networks. Wide stages are averaged over areas first and so "
        "understated by up to three percentage points: a stage that lies further below the pixels has lost what a "
        "linear classifier could use. " + _trained_text(found)
    )
    if not found.trained():
        return
    yield probe_table(study, found)
    panels = [ProbePanel(title, stages, tuple(lines)) for title, stages, lines in _by_place(study, found)]
    path = save_figure(draw_probes(probes_info(panels)), folder / FIGURES, "probes")
    yield Figure(
        Picture(
            path, "Validation accuracy of linear probes by stage, mean over non-collapsed runs with its 95 % interval."
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
        note="Means over non-collapsed runs with unadjusted 95 % intervals.",
        name="probes",
    )


def _by_place(study: StudySpec, found: InsideAnalysis) -> Iterator[tuple[str, tuple[str, ...], list[ProbeLine]]]:
    """Yield the networks that have the same stages and differ in the compared factor alone."""
    trained = found.trained()
    for (place, stages), specs in _grouped(study, found, lambda spec: tuple(trained[spec][0][1].probes)).items():
        lines = []
        for spec in specs:
            values = np.array([[record.probes[stage] for stage in stages] for _, record in trained[spec]])
            lines.append(ProbeLine(line_label(study, found, spec), *_bands(values)))
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


def line_label(study: StudySpec, found: InsideAnalysis, spec: RunSpec) -> str:
    """Name a network among those that differ from it in the compared factor alone."""
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


def robustness_blocks(study: StudySpec, found: InsideAnalysis, folder: Path) -> Iterator[Block]:
    """Write up the accuracy on corrupted images, and the overconfidence."""
    first = next(iter(found.runs.values()))[0][1]
    yield Heading("Robustness and calibration", 2)
    yield Paragraph(
        f"Accuracy on the first {first.corrupted_images:,} validation images, corrupted before any scaling in "
        f"{SEVERITIES} severities, the same for all networks. The accuracy drop is the accuracy on the clean images "
        "minus the mean over the severities. Overconfidence is the mean probability of the predicted class minus the "
        "accuracy, on all validation images."
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
                        line_label(study, found, spec),
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
    """Show the calibration of each network's representative run."""
    return Table(
        caption="Calibration of each network's representative run",
        columns=(
            "network",
            "expected calibration error",
            "overconfidence, percentage points",
            "Brier score",
            "log loss, nats",
        ),
        rows=tuple((cell_label(spec, study), *_calibration_row(spec, found, folder)) for spec in found.runs),
        note="On its validation images, with 95 % intervals over images; the expected calibration error has 15 bins "
        f"and is bias-corrected. Each network is represented by {TYPICAL}.",
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
