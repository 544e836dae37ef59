"""Whether native kernels, reference kernels and a GPU give the same science: validation accuracies over many seeds.

`run` trains the lab (scale 1/255) on one path and keeps each run's accuracy; `compare` holds two such files against
each other. Differences are B - A in points of accuracy, with 95 % intervals: Welch's in a cell, and over all cells the
mean of the cells' differences (equal weights, variances added, Satterthwaite's degrees of freedom). The two paths are
called equivalent where that interval lies within 0.5 points of zero. Shown over all runs, and over those that trained
(not collapsed in the sense of regulens.stats.estimates.chance_bound).

    python benchmarks/equivalence.py run --kernels native --out native.json
    python benchmarks/equivalence.py run --kernels reference --out reference.json
    python benchmarks/equivalence.py compare reference.json native.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from common import command, lab, machine, print_table, shared_data, timed_stage
from regulens.executors.local import LocalExecutor
from regulens.kernels.paths import kernels_in_use
from regulens.study.grid import cell_label
from regulens.study.table import is_collapsed
from regulens.study.workers import check_workers

MARGIN = 0.5  # points
Sample = list[float]  # accuracies of one cell on one path, in points


def run(given: argparse.Namespace) -> None:
    """Train on one path and write what came of it."""
    if given.device != "cpu" and given.kernels != "reference":
        sys.exit("on a GPU the kernels are the reference ones: --kernels reference")
    os.environ["REGULENS_KERNELS"] = given.kernels  # read at the first use, here and in the workers, which inherit it
    study = lab(given.seeds, given.epochs, given.images, scaled=True)
    if not kernels_in_use().startswith(given.kernels):
        sys.exit(f"the kernels in use are {kernels_in_use()}, not {given.kernels}")
    with shared_data(study) as data, LocalExecutor(check_workers(given.workers, given.device)) as executor:
        _, results = timed_stage(study, data, executor, given.device)
    environments = {result.environment for result in results}
    used = {environment.kernels.split()[0] for environment in environments}
    if len(environments) != 1 or used != {given.kernels}:
        sys.exit(f"the runs were not all trained as asked for: {environments}")
    content = {
        "command": command(),
        "machine": machine(given.device),
        "study": study.model_dump(mode="json", include={"data", "model", "train", "factors"}),
        "runs": [
            {
                "cell": cell_label(result.spec, study),
                "seed": result.spec.seed,
                "val_accuracy": result.val_accuracy,
                "collapsed": is_collapsed(result),
            }
            for result in results
        ],
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def interval(pairs: list[tuple[Sample, Sample]]) -> tuple[float, float, float]:
    """Return the mean over the pairs of mean(B) - mean(A), and the ends of its 95 % interval."""
    difference = float(np.mean([np.mean(b) - np.mean(a) for a, b in pairs]))
    samples = [sample for pair in pairs for sample in pair]
    variances = [float(np.var(sample, ddof=1)) / len(sample) / len(pairs) ** 2 for sample in samples]
    total = sum(variances)
    if total == 0:
        return difference, difference, difference
    freedom = total**2 / sum(v**2 / (len(sample) - 1) for v, sample in zip(variances, samples, strict=True))
    half = float(t.ppf(0.975, freedom)) * math.sqrt(total)
    return difference, difference - half, difference + half


def accuracies(content: dict[str, Any], cell: str, trained: bool) -> Sample:
    """Return a cell's accuracies in points, of all runs or of those that ``trained``."""
    runs = [run for run in content["runs"] if run["cell"] == cell]
    return [100 * run["val_accuracy"] for run in runs if not (trained and run["collapsed"])]


def compare(given: argparse.Namespace) -> None:
    """Print the tables of differences and the verdicts."""
    a, b = (json.loads(path.read_text(encoding="utf-8")) for path in (given.a, given.b))
    if a["study"] != b["study"] or _identities(a) != _identities(b):
        sys.exit("the two files are of other studies or other seeds")
    print(f"`{command()}`\n\n- A: `{a['command']}` on {a['machine']}\n- B: `{b['command']}` on {b['machine']}")
    for trained in (False, True):
        rows, pairs = [], []
        for cell in dict.fromkeys(run["cell"] for run in a["runs"]):
            pair = accuracies(a, cell, trained), accuracies(b, cell, trained)
            lost = [sum(run["collapsed"] for run in of["runs"] if run["cell"] == cell) for of in (a, b)]
            if min(map(len, pair)) < 2:
                rows.append([cell, "", "", *lost, "too few runs"])
                continue
            pairs.append(pair)
            rows.append([cell, *(f"{np.mean(sample):.2f}" for sample in pair), *lost, _text(interval([pair]))])
        over = "the runs that trained" if trained else "all runs"
        print_table([f"over {over}", "mean A, %", "mean B, %", "collapsed A", "collapsed B", "B - A, points"], rows)
        if not pairs:
            print("\nNo network has two runs on both paths.")
            continue
        mean, low, high = interval(pairs)
        verdict = "equivalent" if max(-low, high) <= MARGIN else "not shown to be equivalent"
        print(f"\nOver {len(pairs)} of {len(rows)} networks, {over}: {_text((mean, low, high))} points: {verdict}.")


def _identities(content: dict[str, Any]) -> list[tuple[str, int]]:
    return sorted((run["cell"], run["seed"]) for run in content["runs"])


def _text(found: tuple[float, float, float]) -> str:
    return f"{found[0]:+.2f} ({found[1]:+.2f}..{found[2]:+.2f})"


def main() -> None:
    """Parse and do."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(required=True)
    running = commands.add_parser("run", help="train on one path")
    running.add_argument("--kernels", choices=["native", "reference"], required=True)
    running.add_argument("--device", default="cpu", help="on a GPU the kernels are the reference ones")
    running.add_argument("--seeds", type=int, default=10)
    running.add_argument("--epochs", type=int, help="(default: those of the lab)")
    running.add_argument("--images", type=int, help="train, validation and test together (default: all)")
    running.add_argument("--workers", type=int)
    running.add_argument("--out", type=Path, required=True)
    running.set_defaults(do=run)
    comparing = commands.add_parser("compare", help="hold two paths against each other")
    comparing.add_argument("a", type=Path)
    comparing.add_argument("b", type=Path)
    comparing.set_defaults(do=compare)
    given = options.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
