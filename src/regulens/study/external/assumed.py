"""What an analysis of results from elsewhere decides in the user's place, and what that rests on, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

from regulens.spec import CLAIMS_SHARE, ROPE
from regulens.stats.blocks import pairing_advice
from regulens.stats.cells import Cells
from regulens.stats.contrasts import Levels
from regulens.study.external.options import Asked
from regulens.study.external.runs import Runs
from regulens.study.external.scale import Response

ERROR = 0.05
ACCURACY_ROPE = ROPE["val_accuracy"]


def on_response(asked: Asked, read: Response, runs: Runs) -> Iterator[str]:
    """Yield what was decided of one response."""
    direction = runs.direction(asked)
    if asked.direction is None and direction == "lower":
        yield (
            f"lower values of {asked.response} are taken to be better, by its name; if higher ones are, use "
            "--direction higher"
        )
    if asked.rope is None and read.accuracy:
        yield f"no equivalence margin (ROPE) was given: the default for accuracies, {ACCURACY_ROPE}, is used"
    elif asked.rope is None:
        yield (
            "no equivalence margin (ROPE) was given: only the sign of a difference is judged, and nothing can be "
            "called equivalent"
        )
    yield from runs.failures.notes
    if runs.failures.of_rows is not None:
        return
    if read.accuracy and direction == "higher":
        yield "collapse was not checked: give the chance accuracy (--chance) to detect collapsed runs"
    else:
        yield "collapse was not checked: it is defined for accuracies only, unless a column tells (--collapsed)"


def on_runs(asked: Asked, runs: Runs, data: Cells[Levels]) -> Iterator[str]:
    """Yield what was decided of the runs, and whether those of one seed should have been paired."""
    options = runs.options
    diverged = sum(int(each.diverged.sum()) for each in data.samples.values())
    if diverged:
        stand = data.diverged_value
        in_mean = "leave it unknown" if math.isnan(stand) else f"stand at {stand:.6g} in it"
        yield (
            f"{diverged} run{'s' * (diverged > 1)} without a finite {asked.response} "
            f"count{'s' * (diverged == 1)} as collapsed: the last in P(better); of the mean of all runs they {in_mean}"
        )
    elif data.design.rates and data.collapse is None:
        yield (
            "no run collapsed, and what one would come to is unknown: the mean of all runs does not allow for "
            "collapses that were not seen"
        )
    if options.seed is None:
        yield "no column of seeds was given (--seed): a run that is listed twice goes unnoticed"
    flagged = sum(data.flagged.values())
    if flagged:
        yield (
            f"{flagged} run{'s lie' if flagged > 1 else ' lies'} far beyond a gap from the others of the cell, as if "
            "collapsed in part, and count as trained: a column (--collapsed) or --trained-above says otherwise"
        )
    if options.split is not None and options.split != options.seed:
        yield f"cells are compared within each {options.split}, by the means of their runs in it"
    elif options.design.paired:
        yield (
            "runs of one seed are compared as pairs: that must have been declared before the runs were seen; decided "
            "now, it is a deviation to report"
        )
    elif not options.design.paired and options.seed is not None:
        advice = pairing_advice(list(data.samples.values()))
        yield from [advice] if advice else []


def on_error(level: float, responses: int, claims: int) -> Iterator[str]:
    """Yield how the error of all that is judged is divided.

    Args:
        level: of all of it together.
        responses: whose comparisons are one family.
        claims: another.
    """
    of_comparisons = (1 - level) * (1 - CLAIMS_SHARE if claims else 1.0)
    if claims:
        yield (
            f"claims and comparisons share the error of {_percent(1 - level)}: the comparisons err with at most "
            f"{_percent(of_comparisons)}, the claims with {_percent((1 - level) * CLAIMS_SHARE)}"
        )
    if responses > 1:
        each = of_comparisons / responses
        yield (
            f"the comparisons of {responses} responses are one family: those of each err with at most "
            f"{_percent(each)}, all together with {_percent(of_comparisons)}"
        )
    if of_comparisons / responses < ERROR - 1e-9:
        yield f"so p (Holm) is to be compared with {_percent(of_comparisons / responses)}, not with {_percent(ERROR)}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
