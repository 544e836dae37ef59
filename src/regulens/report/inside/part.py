"""The look inside as the second part of a study's report, from what has been measured of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from regulens.data.catalog import is_here
from regulens.report.document import Block, Heading, Paragraph
from regulens.report.inside.measures import differences_table, measure_blocks
from regulens.report.inside.networks import calibration_blocks, probe_blocks, robustness_blocks
from regulens.report.inside.pictures import answer_blocks, kernel_blocks
from regulens.report.inside.pixels import pixel_blocks
from regulens.report.inside.similarity import similarity_blocks
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.study.inside.analysis import InsideAnalysis, analyse_inside
from regulens.study.inside.measuring import inside_records, measurable
from regulens.study.inside.similarity import similarities_of
from regulens.study.store import Store, selections_in_force

TITLE = "The look inside"


def inside_blocks(study: StudySpec, folder: Path, results: Sequence[RunResult], store: Store) -> list[Block]:
    """Write up what the networks learned; only how to measure it, where nothing is measured yet."""
    records = inside_records(store)
    found = analyse_inside(study, results, records, folder)
    if not found.runs:
        text = f"Not measured yet: regulens inside {folder} does so and adds it here."
        return [Heading(TITLE), Paragraph(text, "note")]
    selections = selections_in_force(store)
    blocks = [Heading(TITLE), *_filters(study, folder, results, found)]
    for section in (kernel_blocks, answer_blocks, pixel_blocks):
        blocks += section(study, folder, results, selections)
    return blocks + list(_networks(study, folder, found))


def _filters(study: StudySpec, folder: Path, results: Sequence[RunResult], found: InsideAnalysis) -> Iterator[Block]:
    measured, there = sum(map(len, found.runs.values())), len(measurable(results, folder))
    if measured < there:
        text = f"Measured in {measured} of {there} runs; regulens inside {folder} goes on."
        yield Paragraph(text, "note")
    yield from measure_blocks(study, found, folder)
    table = differences_table(study, found)
    if table.rows:
        yield table


def _networks(study: StudySpec, folder: Path, found: InsideAnalysis) -> Iterator[Block]:
    yield from probe_blocks(study, found, folder)
    if all(is_here(spec.data.name) for spec in found.runs):
        yield from similarity_blocks(study, found, similarities_of(found, folder), folder)
    else:
        yield Paragraph("How alike networks are is not measured: the data are not on this machine.", "note")
    yield from robustness_blocks(study, found, folder)
    yield from calibration_blocks(study, found, folder)
