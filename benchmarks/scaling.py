"""Whether the training stage takes time in proportion to the work: the lab (scale 1/255) with more seeds, more images.

All eight networks with a warmed executor (started once, torch imported), a new folder for each; the sizes in turn.
Through the medians a line is fitted by least squares, seconds = fixed + slope * n; the table shows each size's seconds
per unit beyond the fixed ones, relative to the largest size's, and its deviation from the line.

    python benchmarks/scaling.py
"""

from __future__ import annotations

from statistics import median

import numpy as np

from common import command, in_turn, lab, machine, parser, print_table, shared_data, spread, timed_stage, warm_executor
from regulens.executors.local import available_cores


def print_line(title: str, seconds: dict[int, list[float]]) -> None:
    """Print the table of one series of sizes, and how straight it is."""
    sizes = sorted(seconds)
    medians = np.array([median(seconds[size]) for size in sizes])
    slope, fixed = np.polyfit(sizes, medians, 1)
    per_unit = (medians - fixed) / np.array(sizes)
    deviations = 100 * (medians / (fixed + slope * np.array(sizes)) - 1)
    rows = [
        [f"{size:,}", spread(seconds[size]), f"{unit / per_unit[-1]:.3f}", f"{deviation:+.1f} %"]
        for size, unit, deviation in zip(sizes, per_unit, deviations, strict=True)
    ]
    print_table([title, "seconds", "per unit, relative to the largest", "off the line"], rows)
    worst = float(np.abs(deviations).max())
    print(f"\nseconds = {fixed:.2f} + {slope:.3g} * n; the largest deviation of a point from it is {worst:.1f} %.")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    options.add_argument("--images", type=int, default=15000, help="of the series over seeds")
    options.add_argument(
        "--limits",
        type=int,
        nargs="+",
        default=[6000, 15000, 30000, 60000],
        help="images (train, validation and test together) of the series over images, which has one seed",
    )
    options.add_argument("--workers", type=int, default=available_cores())
    given = options.parse_args()
    if min(len(set(given.seeds)), len(set(given.limits))) < 2:
        options.error("--seeds and --limits need two sizes each")
    studies = {("seeds", seeds): lab(seeds, given.epochs, given.images, scaled=True) for seeds in given.seeds}
    studies |= {("images", limit): lab(1, given.epochs, limit, scaled=True) for limit in given.limits}
    with shared_data(lab(1)) as data, warm_executor(given.workers) as executor:
        calls = {key: lambda study=study: timed_stage(study, data, executor)[0] for key, study in studies.items()}
        rounds = in_turn(calls, given.rounds)
    print(f"`{command()}` on {machine()}, {given.workers} workers")
    for series, title in (("seeds", f"seeds, of {given.images:,} images each"), ("images", "images, of 1 seed")):
        print_line(title, {n: [sample[kind, n] for sample in rounds] for kind, n in studies if kind == series})


if __name__ == "__main__":
    main()
