"""The commands about this machine: what trains on it, and how fast."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from regulens.cli.opening import open_study
from regulens.cli.options import MaxCells, Source, Workers
from regulens.cli.tables import benchmark_table
from regulens.cli.terminal import console, print_wide


def doctor() -> None:
    """Show what trainings run on here: kernels, instruction set, versions, cores, devices, data."""
    from regulens.doctor import examine

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, finding in examine():
        table.add_row(name, finding)
    print_wide(table)


def bench(
    source: Source = "lab",
    *,
    seeds: Annotated[int, typer.Option(help="Number of seeds to estimate for.")] = 10,
    workers: Workers = None,
    max_cells: MaxCells = None,
) -> None:
    """Time a study's training step on this machine, kernel by kernel, and say how long the study will take."""
    study = open_study(source, max_cells=max_cells)
    from regulens.api import bench_study

    benchmark = bench_study(study, seeds=seeds, workers=workers, max_cells=max_cells)
    print_wide(benchmark_table(benchmark))
    console.print(
        f"kernels: {benchmark.kernels}; {benchmark.runs} runs of {source} at {seeds} seeds, then refits: about "
        f"{benchmark.minutes:.1f} minutes with {benchmark.workers} workers",
        soft_wrap=True,
    )
