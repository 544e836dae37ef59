"""What every verdict of a study depends on: what it is over, at which error, by which rule, and what nobody tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regulens.report.wording import Unit, counted, percent
from regulens.spec import Population, Response, StudySpec
from regulens.stats.autocorrelation import autocorrelation_power
from regulens.stats.cells import LEAST_RUNS
from regulens.stats.shape import DOUBT, RUNS_IF_SUSPECT
from regulens.study.analysis import StudyAnalysis

_ONE_LOOK = 0.95 + 1e-9  # level of a study that is looked at once
_CORRELATION = 0.5  # of successive seeds, for which the power of a test is given


@dataclass(frozen=True)
class Family:
    """The comparisons of a study as one family.

    Attributes:
        comparisons: how many were declared.
        answers: how many statements each of them makes.
        alpha: what the family may err by.
        alpha_of_one: what one statement may err by.
    """

    comparisons: int
    answers: int
    alpha: float
    alpha_of_one: float


def family_of(found: StudyAnalysis) -> Family:
    """Return the family of a study's comparisons."""
    design, count = found.analysis.design, max(1, len(found.analysis.comparisons))
    return Family(count, design.answers, design.alpha, design.alpha_of_one(count))


def populations(found: StudyAnalysis) -> tuple[Population, ...]:
    """Return what the verdicts are over: what is declared, or seeds alone where no scores of images are known."""
    data = found.analysis.data
    among = {data.over({key: 1.0}) for key in data.samples}
    return among.pop() if len(among) == 1 else found.declared.over


def conditions(
    study: StudySpec,
    found: StudyAnalysis,
    over: tuple[Population, ...] | None = None,
    response: Response | None = None,
) -> str:
    """Say what a verdict holds for: what is drawn anew, the number of images, and what is held.

    Args:
        study: as declared.
        found: its analysis.
        over: what the verdict is over; by default that of the comparisons.
        response: which it is on; by default the declared one.
    """
    over = populations(found) if over is None else over
    images = _images(found, response or found.declared.response)
    split = "these splits" if "data.split_seed" in study.factors else "this split"
    if "split" in over:
        return f"over new seeds and splits of the data ({images} in each)"
    if found.declared.paired:
        return f"over new seeds, which vary the split ({images} in each)"
    if "images" in over:
        return f"over new seeds and images ({images}), for {split}"
    return f"over new seeds, for {split} and these {images}" if images else "over new seeds, on this machine"


def _images(found: StudyAnalysis, response: Response) -> str:
    parts = {"validation": found.val_images, "training": found.train_images}
    used = {"val": ["validation"], "gap": ["training", "validation"], "train": ["training"]}
    names = [] if response == "train_seconds" else used[response.partition("_")[0]]
    counts = [f"{' or '.join(f'{count:,}' for count in sorted(parts[name]))} {name}" for name in names]
    return f"{' and '.join(counts)} images" if counts else ""


def margin_text(found: StudyAnalysis, unit: Unit) -> str:
    """Name the region of practical equivalence."""
    rope = found.declared.rope
    return f"ROPE ±{unit.size(rope)}" if rope else "no ROPE"


def verdict_conditions(study: StudySpec, found: StudyAnalysis, unit: Unit) -> str:
    """Say once for a table what its verdicts hold for."""
    text = f"Verdicts are {conditions(study, found)}; {margin_text(found, unit)}."
    if found.analysis.design.rates:
        text += f" How often networks train is judged over new seeds, with a ROPE of ±{_points(found)} of the rate."
    return text


def _points(found: StudyAnalysis) -> str:
    return f"{100 * found.declared.rope_rate:g} percentage points"


def levels_text(found: StudyAnalysis) -> str:
    """Say at which level the intervals of comparisons are, and what holds together."""
    family = family_of(found)
    every = counted(family.comparisons, "comparison") + (", each with two answers," if family.answers > 1 else "")
    text = (
        f"Two-sided {percent(1 - family.alpha_of_one)} intervals: the {every} "
        f"hold{'s' * (family.comparisons == 1)} together with {percent(1 - family.alpha)} (Bonferroni)"
    )
    text += f"; {_share_text(found)}." if found.claims else "."
    kept = "The rest of the error of 5 % belongs to other looks at a study that grows."
    return f"{text} {kept}" if found.level > _ONE_LOOK else text


def _share_text(found: StudyAnalysis) -> str:
    share, alpha = found.declared.claims_share, 1 - found.level
    return (
        f"comparisons and claims together err by {percent(alpha)} at most, {percent(alpha * (1 - share))} the "
        f"comparisons and {percent(alpha * share)} the claims"
    )


def rule_text(found: StudyAnalysis, unit: Unit) -> str:
    """Say in plain words how a verdict follows from an estimate."""
    least, most = min(times for _, times in DOUBT), max(times for _, times in DOUBT)
    few = (
        f"Too few runs: fewer than {LEAST_RUNS} of a network that trained (more where their numbers are unequal), or "
        f"fewer than {RUNS_IF_SUSPECT} that look skewed and decide nothing by bounds {least:g} to {most:g} times as "
        "far away."
    )
    mixed = "Mixed: better in one of the two answers, worse in the other." if found.analysis.design.rates else ""
    return " ".join(filter(None, (_size_rule(found, unit), few, mixed)))


def _size_rule(found: StudyAnalysis, unit: Unit) -> str:
    rope = found.declared.rope
    if not rope:
        return (
            "Better or worse: the interval excludes zero. Without a ROPE nothing is equivalent. Undecided: otherwise."
        )
    return (
        f"Better or worse: the difference lies beyond the ROPE (±{unit.size(rope)}); equivalent: within it. These are "
        "judged by one-sided bounds, which err as rarely as the interval and may clear an edge that the two-sided "
        "interval touches. Equivalent, above (below) zero: the interval excludes zero all the same. Size open: the "
        "interval excludes zero but extends on both sides of the edge, so the direction is shown and the size is not. "
        "Undecided: none of these."
    )


def exploratory_text(found: StudyAnalysis) -> str:
    """Say what all statements are that no verdict is made of."""
    covered = "comparisons and claims" if found.claims else "comparisons"
    return (
        f"Only {covered} are covered by the error of {percent(1 - found.level)}. What follows are estimates without "
        "verdicts; where there is no effect at all, some of their intervals exclude zero by chance."
    )


def assumptions(found: StudyAnalysis) -> list[str]:
    """Name what verdicts assume and these runs do not test."""
    return [_on_independence(found), *_on_unseen_failures(found)]


def _on_independence(found: StudyAnalysis) -> str:
    runs = [cell.runs for cell in found.analysis.cells]
    text = "Runs of different seeds are taken to be independent, as their random streams are by construction"
    power = autocorrelation_power(runs, _CORRELATION)
    if not power:
        return f"{text}; so few runs cannot be tested for it."
    often = "nearly all" if power > 0.995 else f"about {100 * power:.0f} %"
    return (
        f"{text}; this is not tested. A test of lag-1 autocorrelation would find one of {_CORRELATION:g} in {often} of "
        "such studies."
    )


def _on_unseen_failures(found: StudyAnalysis) -> list[str]:
    unseen = [cell for cell in found.analysis.cells if cell.collapse is not None and cell.collapse.estimate == 0]
    if not unseen:
        return []
    most = max(cell.collapse.high for cell in unseen if cell.collapse is not None)
    seeds = min(cell.runs for cell in unseen)
    total = len(found.analysis.cells)
    where = "No run" if len(unseen) == total else f"In {len(unseen)} of {counted(total, 'network')} no run"
    return [
        f"{where} failed to train. That does not show that none does: with {counted(seeds, 'run')} of a network, a "
        f"rate of up to {100 * most:.0f} % is within its 95 % interval. Differences among runs that trained do not "
        "depend on it; the means of all runs do, and their intervals allow for it."
    ]


def joined_words(words: Sequence[str]) -> str:
    """Write a list: a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
