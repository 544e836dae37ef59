"""What a report says before all else: what its tables show, and what a reader must know before trusting them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from regulens.report.networks import CellReport, RefitReport
from regulens.report.sentences import verdict_counts
from regulens.report.wording import bound_text, counted
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.stats.estimates import Summary
from regulens.stats.ties import joined
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import cells
from regulens.study.rescoring import unknown_losses
from regulens.study.runner import environment_differences
from regulens.study.store import Selection


def summary_sentences(
    reports: Sequence[CellReport],
    selections: Sequence[Selection],
    refits: Sequence[RefitReport],
    found: StudyAnalysis,
) -> list[str]:
    """State what the tables show, and no more."""
    said = [_extremes(reports)] if len(reports) > 1 else []
    collapsed = [cell for cell in reports if cell.collapsed]
    if collapsed:
        listed = "; ".join(f"“{cell.label}” {cell.collapsed} of {cell.accuracy.n}" for cell in collapsed)
        said.append(f"Runs that collapsed (accuracy not above {bound_text(found.declared)}): {listed}.")
    else:
        said.append(f"No run collapsed: all are above {bound_text(found.declared)}.")
    for selection in selections:
        among = f" on {selection.among}" if selection.among else ""
        said.append(
            f"Selected on validation{among}: “{selection.label}” (mean {selection.mean_val_accuracy:.4f} over "
            f"{counted(selection.seeds, 'seed')})."
        )
    said += [_test_sentence(refit.label, refit.test) for refit in refits if refit.test is not None]
    counts = verdict_counts(found)
    return [*said, f"{counts[0].upper()}{counts[1:]}"] if counts else said


def _test_sentence(label: str, test: Summary) -> str:
    values = (
        f"from {test.low:.4f} to {test.high:.4f}, mean {test.mean:.4f}, over {test.n} refits"
        if test.n > 1
        else f"{test.mean:.4f} in its one refit"
    )
    return f"Test accuracy of “{label}”, refitted on train + validation: {values}."


def _extremes(reports: Sequence[CellReport]) -> str:
    medians = joined([np.array([cell.accuracy.median for cell in reports])])[0].tolist()
    high, low = max(medians), min(medians)
    if high == low:
        return f"All {len(reports)} networks have the same median validation accuracy ({high:.4f})."
    best, worst = (
        " and ".join(f"“{cell.label}”" for cell, median in zip(reports, medians, strict=True) if median == extreme)
        for extreme in (high, low)
    )
    return (
        f"Of {len(reports)} networks, the highest median validation accuracy is that of {best} ({high:.4f}), the "
        f"lowest that of {worst} ({low:.4f})."
    )


def notes(study: StudySpec, results: Sequence[RunResult], selections: Sequence[Selection]) -> list[str]:
    """Say what a reader must know before trusting the rest."""
    said = []
    missing = len(cells(study)) * study.seeds - sum(run.spec.compared for run in results)
    if missing > 0:
        said.append(f"The study is not finished: {missing} of its runs are missing.")
    differences = environment_differences([run.environment for run in results])
    if differences:
        count = len(Counter(run.environment for run in results))
        said.append(f"The runs come from {count} environments, which differ in: {differences}.")
    said += [f"{text[0].upper()}{text[1:]}." for text in unknown_losses(results)]
    said += _changed_selections(selections)
    if "split" in study.vary:
        said.append(
            "Seeds vary the split: an image that is held out under one seed may be trained on under another. Within a "
            "seed all networks have the same images, and runs of one seed are compared as pairs."
        )
    if "data.split_seed" in study.factors:
        said.append(
            "The cells differ in their split: an image that is held out for one may be trained on by another, so a "
            "cell "
            "is selected for each split, and test accuracies are to be read within one."
        )
    return said


def _changed_selections(selections: Sequence[Selection]) -> Iterator[str]:
    for among in dict.fromkeys(selection.among for selection in selections):
        for before, after in pairwise([selection for selection in selections if selection.among == among]):
            if before.cell_id != after.cell_id:
                yield (
                    f"The selection changed when the study grew from {before.seeds} to {after.seeds} seeds: "
                    f"“{before.label}” before, “{after.label}” now. The test-set access log lists every evaluation, "
                    f"including those of the earlier selection."
                )
