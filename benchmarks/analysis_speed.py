"""What the analysis of many runs costs: CPU seconds of each part, and memory, on made-up accuracies.

Designs: 10 cells of 30 runs; 1,000 cells of 5 runs in two factors, 100 levels at 10 depths; 2 cells of 2,000; 510
comparisons of 9 runs with one control. No images. Each design has a process of its own; memory is the most that it
took, and in brackets what it had taken before the analysis, once everything was imported.

    python benchmarks/analysis_speed.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from common import command, print_table
from regulens.stats.analysis import Cell, analyse, declared_pairs
from regulens.stats.anova import analyse_variance
from regulens.stats.cells import Cells
from regulens.stats.design import Design
from regulens.stats.factorial import Layout, answer_factor
from regulens.stats.samples import sample
from regulens.stats.selection import selection_optimism, single_run_ranking
from regulens.study.analysis_json import analysis_dict

DESIGNS = {
    "10 cells x 30 runs": (10, 1, 30),
    "1,000 cells x 5 runs": (100, 10, 5),
    "2 cells x 2,000 runs": (2, 1, 2000),
    "510 comparisons x 9 runs": (511, 1, 9),
}
"""Levels, depths, runs of a cell."""
PARTS = ("cells", "comparisons", "factors", "shares of variance", "winner's curse", "single runs", "JSON")


def made_up(levels: int, depths: int, runs: int) -> list[Cell]:
    """Draw accuracies of four decimals whose means differ by up to half a standard deviation."""
    rng = np.random.default_rng(0)
    return [
        Cell(
            {"level": level, "depth": depth},
            sample(np.round(rng.normal(0.9 + 0.0025 * level / levels, 0.005, runs), 4)),
        )
        for depth in range(depths)
        for level in range(levels)
    ]


def megabytes() -> float:
    """Return the most memory this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measured(levels: int, depths: int, runs: int) -> tuple[list[float], float, float]:
    """Return the CPU seconds of each of ``PARTS``, and the memory taken before and in all, in megabytes."""
    cells, design, rng = made_up(levels, depths, runs), Design(rope=0.005), np.random.default_rng(1)
    samples, pairs = [cell.sample for cell in cells], declared_pairs(list(range(levels)), 0)
    values = {(cell.levels["level"], cell.levels["depth"]): cell.sample.values for cell in cells}
    data = Cells(dict(zip(values, samples, strict=True)), design)
    layout, factors = Layout(("level", "depth"), tuple(values)), ["level", *(["depth"] if depths > 1 else [])]
    calls: tuple[Callable[[], object], ...] = (
        lambda: analyse(cells, "level", [], design, rng),
        lambda: analyse(cells, "level", pairs, design, rng),
        lambda: [answer_factor(layout, factor, 0, data.primary, 0.95) for factor in factors],
        lambda: analyse_variance(layout.factors, values),
        lambda: selection_optimism(samples, rng),
        lambda: single_run_ranking(samples, rng),
    )
    before, seconds, results = megabytes(), [], []
    for call in calls:
        started = time.process_time()
        results.append(call())
        seconds.append(time.process_time() - started)
    started = time.process_time()
    analysis_dict(results[1])
    seconds.append(time.process_time() - started)
    seconds[1] -= seconds[0]  # the comparisons alone
    return seconds, before, megabytes()


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--design", choices=DESIGNS, action="append", help="only this one; may be repeated")
    chosen = options.parse_args().design or list(DESIGNS)
    rows = []
    for name in chosen:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            seconds, before, after = process.submit(measured, *DESIGNS[name]).result()
        parts = [f"{each:.2f}" for each in seconds]
        rows.append([name, f"{sum(seconds):.2f}", *parts, f"{after:.0f} ({before:.0f}) MB"])
    print(f"`{command()}`: CPU seconds")
    print_table(["design", "all", *PARTS, "memory"], rows)


if __name__ == "__main__":
    main()
