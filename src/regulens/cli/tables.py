"""The tables that commands print, as rich draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from regulens.api import Benchmark, Study
    from regulens.interpret.kernel_summary import KernelSummary
    from regulens.report.document import Table as DocumentTable
    from regulens.study.plan import PlannedCell
    from regulens.study.power_plan import PowerRow
    from regulens.study.text_table import TextTable

_SHOWN_NUMBERS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_accuracy", "train_seconds")


def summary_table(study: Study) -> Table:
    """Show the validation accuracy of each network over the seeds that are compared."""
    frame = study.results()
    trained = frame[(frame["stage"] == "train") & (frame["seed"] < study.spec.seeds)]  # the rest are fresh seeds
    table = Table("network", "n", "median", "min", "max", "collapsed", box=None, pad_edge=False)
    for label, runs in trained.groupby("network", sort=False):
        values = runs["val_accuracy"]
        numbers = (f"{value:.4f}" for value in (values.median(), values.min(), values.max()))
        table.add_row(str(label), str(len(runs)), *numbers, str(int(runs["collapsed"].sum())))
    return table


def layers_table(layers: Iterable[KernelSummary]) -> Table:
    """Show the convolutions of a network in numbers, those of its weights that are finite."""
    table = Table("layer", "shape", box=None, pad_edge=False)
    for name in ("filters", "parameters", "mean", "sd", "max |w|", "zero filters", "not finite"):
        table.add_column(name, justify="right")
    for each in layers:
        counts = (str(each.zero_filters), f"{each.not_finite:,}")
        numbers = (f"{value:.3g}" for value in (each.mean, each.sd, each.greatest))
        table.add_row(each.layer, each.shape, str(each.filters), f"{each.parameters:,}", *numbers, *counts)
    return table


def plan_table(cells: Iterable[PlannedCell]) -> Table:
    """Show each network with its parameters and what it takes to train."""
    table = Table("network", box=None, pad_edge=False)
    for name in ("parameters", "trainable", "runs to do", "seconds per run"):
        table.add_column(name, justify="right")
    for cell in cells:
        seconds = f"{cell.seconds_per_run:.1f}" if cell.seconds_per_run is not None else ""
        table.add_row(
            cell.label, f"{cell.parameters_total:,}", f"{cell.parameters_trainable:,}", str(cell.pending), seconds
        )
    return table


def power_table(rows: Sequence[PowerRow], begun: bool) -> Table:
    """Show the seeds that each comparison needs; a dash where a row has a reason why there is no number.

    Args:
        rows: one for each comparison.
        begun: whether the study was looked at, so that one begun anew needs other numbers.
    """
    ranges = any(row.seeds is not None and row.seeds.low != row.seeds.high for row in rows)
    directions = any(row.direction != (row.seeds and row.seeds.recommended) for row in rows)
    table = Table("comparison", box=None, pad_edge=False)
    shown = {"seeds": True, "range": ranges, "direction alone": directions, "begun anew": begun}
    for name in (name for name, wanted in shown.items() if wanted):
        table.add_column(name, justify="right")
    for row in rows:
        found = row.seeds
        if found is None or found.never:
            table.add_row(f"{row.a} against {row.b}", "–")
            continue
        low, high, recommended, direction, fresh = (
            str(end) if end is not None else f"> {found.max_seeds}"
            for end in (found.low, found.high, found.recommended, row.direction, row.fresh)
        )
        between = low if low == high else f"{low} to {high}"
        numbers = zip(shown.values(), (recommended, between, direction, fresh), strict=True)
        table.add_row(f"{row.a} against {row.b}", *(number for is_shown, number in numbers if is_shown))
    return table


def results_table(rows: Iterable[Mapping[str, object]]) -> Table:
    """Show the numbers of runs, given as the rows of ``Study.result_rows``."""
    shown = ("run_id", "stage", "network", "seed", *_SHOWN_NUMBERS, "status", "collapsed")
    table = Table(*shown, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell_text(row[name]) for name in shown))
    return table


def text_table(text: TextTable) -> Table:
    """Show a table of text, its names to the left and its numbers to the right."""
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(text.columns):
        table.add_column(name, justify="left" if place < text.names else "right")
    for row in text.rows:
        table.add_row(*row)
    return table


def benchmark_table(benchmark: Benchmark) -> Table:
    """Show how fast each network trains here."""
    table = Table("network", box=None, pad_edge=False)
    for name in ("ms per step", "of it matrix products", "on plain torch", "times faster", "seconds per run"):
        table.add_column(name, justify="right")
    for row in benchmark.rows:
        table.add_row(
            row.label,
            f"{row.step_ms:.2f}",
            f"{row.floor_ms:.2f}",
            f"{row.reference_ms:.2f}",
            f"{row.reference_ms / row.step_ms:.1f}",
            f"{row.seconds_per_run:.1f}",
        )
    return table


def _cell_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else "–"
    return "–" if value is None else str(value)


def document_table(found: DocumentTable) -> Table:
    """Show a table of a report."""
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(found.columns):
        table.add_column(name, justify="left" if place == 0 or place in found.left else "right")
    for row in found.rows:
        table.add_row(*row)
    return table
