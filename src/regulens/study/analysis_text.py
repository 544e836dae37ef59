"""An analysis as tables of text, and the sentences that say how to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from regulens.stats.analysis import Analysis, NamedComparison
from regulens.stats.comparisons import Comparison
from regulens.stats.contrasts import place_text
from regulens.stats.design import ESTIMANDS, Design
from regulens.stats.factorial import Estimated, FactorAnswers
from regulens.stats.intervals import Interval
from regulens.study.claim_results import AnsweredClaim
from regulens.study.text_table import NOTHING, TextTable, fixed, p_text, with_bounds


def cell_table(analysis: Analysis) -> TextTable:
    """Return each cell's runs, mean with its 95 % interval, median and sd.

    Where collapse is looked for, the mean over runs that trained comes first, then the mean over all runs.
    """
    digits = _digits(analysis)
    factors = tuple(analysis.cells[0].levels)
    rows = []
    for cell in analysis.cells:
        row = [*map(str, cell.levels.values()), str(cell.runs)]
        if cell.collapse is not None:
            row.append(str(round(cell.collapse.estimate * cell.runs)))
        if cell.collapse is not None:
            row.append(with_bounds(cell.trained, digits) if cell.trained else NOTHING)
        row.append(with_bounds(cell.mean, digits))
        rows.append((*row, fixed(cell.median.estimate, digits), fixed(cell.sd.estimate, digits)))
    collapse = analysis.design.rates
    means = ("collapsed", "trained [95 %]", "all runs [95 %]") if collapse else ("mean [95 %]",)
    columns = ("n", *means, "median", "sd")
    return TextTable(len(factors), (*factors, *columns), tuple(rows))


def comparison_table(analysis: Analysis) -> TextTable:
    """Return each comparison's difference, P(better), p and verdict, and below it the further answers.

    Where collapse is looked for these are the collapse rates, and the means that do not decide.
    """
    digits = _digits(analysis)
    factors = tuple(analysis.comparisons[0].where)
    rows: list[tuple[str, ...]] = []
    for each in analysis.comparisons:
        name = (*map(str, each.where.values()), _pair(each))
        if each.result is None:
            rows.append((*name, *[NOTHING] * 3, "no runs"))
            continue
        result = each.result
        rows.append(
            (
                *name,
                with_bounds(result.difference, digits, "+"),
                with_bounds(result.improvement, 2),
                p_text(result.p_holm),
                result.word,
            )
        )
        rows += [(*[""] * len(factors), *row) for row in _further_answers(result, analysis.design, digits)]
    columns = (
        analysis.comparisons[0].factor,
        f"difference [simult. {_level_of(analysis)}]",
        "P(better) [95 %]",
        "p (Holm)",
        "verdict",
    )
    return TextTable(len(factors) + 1, (*factors, *columns), tuple(rows))


def _further_answers(result: Comparison, design: Design, digits: int) -> Iterator[tuple[str, ...]]:
    """Yield how often it fails to train, and of runs that trained and of all runs what does not decide."""
    if result.rate is None:
        return
    if design.primary != "trained":
        yield "  among trained", with_bounds(result.trained.interval, digits, "+"), "", "", ""
    yield "  collapse rate", with_bounds(result.rate.interval, 2, "+"), "", "", f"{result.rate.verdict}"
    if design.primary != "mean":
        yield "  all runs", with_bounds(result.overall.interval, digits, "+"), "", "", ""


def effect_table(factors: Sequence[FactorAnswers], analysis: Analysis) -> TextTable:
    """Return marginal means, main effects and interactions, with intervals that hold together within each kind.

    The compared factor comes first; an interaction of two factors is told once, under the first of them.
    """
    digits = _digits(analysis)
    compared = analysis.comparisons[0].factor if analysis.comparisons else ""
    rows: list[tuple[str, ...]] = []
    told: set[frozenset[str]] = set()
    for answers in sorted(factors, key=lambda each: each.factor != compared):
        rows += [_effect_row("mean", each, digits, "") for each in answers.marginal]
        rows += [_effect_row("main effect", each, digits, "+") for each in answers.main]
        new = [each for each in answers.interactions if _factors_of(each) not in told]
        rows += [_effect_row("interaction", each, digits, "+") for each in new]
        told |= {_factors_of(each) for each in new}
    return TextTable(3, ("kind", "effect", "where", "estimate [simultaneous 95 %]"), tuple(rows))


def _factors_of(each: Estimated) -> frozenset[str]:
    return frozenset((each.effect.factor, each.effect.by[0] if each.effect.by else ""))


def _effect_row(kind: str, each: Estimated, digits: int, sign: str) -> tuple[str, ...]:
    shown = with_bounds(each.simultaneous, digits, sign) if each.simultaneous else NOTHING
    return kind, *_effect_name(each), shown


def _effect_name(each: Estimated) -> tuple[str, str]:
    effect = each.effect
    name = f"{effect.factor} {effect.a}" + ("" if effect.b is None else f" – {effect.b}")
    if effect.by is None:
        return name, place_text(effect.where)
    path, level, reference = effect.by
    held = f", {place_text(effect.where)}" if effect.where else ""
    return name, f"{path} {level} – {reference}{held}"


def claim_table(claims: Sequence[AnsweredClaim]) -> TextTable:
    """Return each claim with its verdict, and its parts below it."""
    rows: list[tuple[str, ...]] = []
    for claim in claims:
        verdict = claim.judged.verdict if claim.judged else "not testable"
        rows.append((claim.claim.spec.id, claim.claim.spec.text, "", verdict))
        rows += [("", f"  {claim.reason}", "", "")] if claim.reason else []
        parts = claim.judged.parts if claim.judged else ()
        rows += [("", f"  {part.text}", _significant(part.interval), part.verdict) for part in parts]
    return TextTable(2, ("claim", "", "difference", "verdict"), tuple(rows))


def _significant(interval: Interval) -> str:
    """Return an interval with three digits of what it leaves open."""
    open_by = max(interval.high - interval.estimate, interval.estimate - interval.low)
    if math.isnan(open_by):
        return NOTHING if math.isnan(interval.estimate) else f"{interval.estimate:+.4g}"
    return with_bounds(interval, max(0, 2 - math.floor(math.log10(open_by))) if open_by > 0 else 4, "+")


def notes(analysis: Analysis) -> list[str]:
    """Return in sentences how to read the tables, why verdicts are open, and what to beware of."""
    made = [each.result for each in analysis.comparisons if each.result is not None]
    said = [_on_verdict(analysis.design)]
    if made:
        said.append(_on_family(len(analysis.comparisons), made[0].difference.level, analysis.design))
    said += [
        "P(better) is the probability that a run of the first is better than a run of the second, ties counting half; "
        "p is the level at which the interval would just exclude zero.",
        _on_seeds(analysis.design),
    ]
    return [
        *said,
        *_sensitivities(analysis),
        *_open(analysis),
        *(f"{warning[0].upper()}{warning[1:]}." for warning in analysis.warnings),
    ]


def _level_of(analysis: Analysis) -> str:
    """Return the level at which the intervals of the comparisons hold together."""
    return f"{100 * (1 - analysis.design.alpha):.4g} %"


def _on_verdict(design: Design) -> str:
    judged = (
        f"The verdict on the first of each pair rests on the {ESTIMANDS[design.primary]} ({design.direction} is better)"
    )
    if not design.rope:
        return f"{judged}: better or worse if the interval excludes zero, otherwise undecided."
    return (
        f"{judged}: better or worse beyond ±{design.rope:g}, equivalent within it, each by a one-sided bound; size "
        "open if only the sign is shown, by the interval printed; otherwise undecided."
    )


def _on_family(comparisons: int, level: float, design: Design) -> str:
    together, each = f"{100 * (1 - design.alpha):.4g} %", f"{100 * level:.4g} %"
    if comparisons == 1 and design.answers == 1:
        return f"There is one comparison: its interval has level {together}."
    rates = ", of means and of collapse rates," if design.rates else ""
    what = f"The {comparisons} comparisons{rates} form" if comparisons > 1 else "Both answers of the comparison form"
    return (
        f"{what} one family: each interval has level {each}, so that all hold simultaneously with "
        f"{together} (Bonferroni)."
    )


def _sensitivities(analysis: Analysis) -> Iterator[str]:
    """Say of decided verdicts on runs that trained what difference in collapse rates would undo them."""
    for each in analysis.comparisons:
        if each.result is None or each.result.sensitivity is None:
            continue
        found, name = each.result.sensitivity, _pair(each) + (f" at {place_text(each.where)}" if each.where else "")
        (a, n_a), (b, n_b) = found.seen
        often = "less" if each.result.verdict.startswith("better") else "more"
        mixed = f"mixed, as it trains {often} often; " if each.result.mixed else ""
        failing, other = (each.a, each.b) if found.difference > 0 else (each.b, each.a)
        seen = f"{a}/{n_a} and {b}/{n_b} runs collapsed"
        if math.isnan(found.difference):
            yield f"{name}: {mixed}{seen}; the verdict is on the runs that trained."
        else:
            yield (
                f"{name}: {mixed}the verdict is on the runs that trained, and undone for all runs if {failing} fails "
                f"to train {100 * abs(found.difference):.2g} points more often than {other}; {seen}, a difference of "
                f"{100 * found.interval.low:.0f} to {100 * found.interval.high:.0f} points."
            )


def _on_seeds(design: Design) -> str:
    if "split" in design.over:
        return "Verdicts are about new seeds and new splits of this data set: cells are compared within each split."
    if not design.paired:
        return (
            "Verdicts are about new seeds, on these images: runs are taken to be independent, and what the seeds did "
            "not vary is not covered."
        )
    return (
        "Verdicts are about new seeds, on these images, and runs of the same seed are compared as pairs; medians, "
        "P(better) and means of all runs are compared as if runs were independent."
    )


def _open(analysis: Analysis) -> list[str]:
    """Say of which comparisons the verdict is open or p is missing, those of one reason together."""
    of_reason: dict[str, list[str]] = {}
    for each in analysis.comparisons:
        if each.result is not None:
            name = _pair(each) + (f" at {place_text(each.where)}" if each.where else "")
            if each.result.reason:
                verdict = each.result.verdict
                of_reason.setdefault(f"{verdict[0].upper()}{verdict[1:]}: {each.result.reason}", []).append(name)
    return [f"{reason}: {'; '.join(names)}." for reason, names in of_reason.items()]


def _pair(each: NamedComparison) -> str:
    return f"{each.a} – {each.b}"


def _digits(analysis: Analysis) -> int:
    """Return how many decimals show four digits of the largest mean, and three of what the runs differ by."""
    decisive = [cell.trained or cell.mean if analysis.design.rates else cell.mean for cell in analysis.cells]
    means = [x.estimate for x in (*decisive, *(cell.mean for cell in analysis.cells)) if not math.isnan(x.estimate)]
    spreads = [cell.sd.estimate for cell in analysis.cells if not math.isnan(cell.sd.estimate)]
    largest = max(map(abs, means), default=0.0)
    apart = max([max(means, default=0.0) - min(means, default=0.0), *spreads])
    wanted = [shown - math.ceil(math.log10(size) + 1e-9) for shown, size in ((4, largest), (3, apart)) if size > 0]
    return min(max([0, *wanted]), 12)
