"""How often the look inside names a difference where there is none: a measured study with its labels shuffled.

Among the networks that differ in the compared factor alone, each run keeps its measures, and whether it collapsed, and
gets another's label: all that is named then is named by chance, and the false coverage rate is the share of shufflings
in which anything is named. The measures depend on each other as they do in the study.

    python benchmarks/false_coverage.py studies/lab
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from common import command, print_table
from regulens.api import load_study
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.stats.intervals import wilson
from regulens.study.declared import declared_analysis
from regulens.study.grid import cell_levels
from regulens.study.inside.analysis import analyse_inside
from regulens.study.inside.measuring import inside_records
from regulens.study.store import Store, open_store


def shuffled(study: StudySpec, store: Store, rng: np.random.Generator) -> list[RunResult]:
    """Return the compared runs, each with the spec of another that differs from it in the compared factor or seed."""
    factor = declared_analysis(study).factor
    places: dict[frozenset[tuple[str, object]], list[RunResult]] = {}
    for result in store.results():
        if result.spec.compared:
            levels = {path: level for path, level in cell_levels(result.spec, study).items() if path != factor}
            places.setdefault(frozenset(levels.items()), []).append(result)
    return [
        runs[at].model_copy(update={"spec": runs[other].spec})
        for runs in places.values()
        for at, other in enumerate(rng.permutation(len(runs)))
    ]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("study", type=Path, help="folder of a study that regulens inside has measured")
    options.add_argument("--shufflings", type=int, default=500)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    study, store = load_study(given.study).spec, open_store(given.study)
    records, rng = inside_records(store), np.random.default_rng(given.seed)
    analyses = [
        analyse_inside(study, shuffled(study, store, rng), records, given.study) for _ in range(given.shufflings)
    ]
    named = np.array([sum(each.holds for each in found.comparisons) for found in analyses])
    as_declared = analyse_inside(study, store.results(), records, given.study)
    rate = wilson(int((named > 0).sum()), len(named), 0.95)
    print(f"`{command()}`")
    print_table(
        ["labels", "comparisons", "named", "false coverage rate"],
        [
            ["as they are", as_declared.family, sum(each.holds for each in as_declared.comparisons), ""],
            [
                f"shuffled {len(named)} times",
                as_declared.family,
                f"{named.mean():.2f} on average",
                f"{rate.estimate:.3f} ({rate.low:.3f}..{rate.high:.3f})",
            ],
        ],
    )


if __name__ == "__main__":
    main()
