"""An analysis as tables of text, and the sentences that say how to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from regulens.stats.analysis import Analysis, NamedComparison
from regulens.stats.comparisons import Comparison
from regulens.stats.contrasts import Level
from regulens.stats.design import Design
from regulens.stats.intervals import Interval

_NOTHING = "–"
_ESTIMANDS = {
    "mean": "the mean of all runs, collapses included",
    "trained": "the mean over non-collapsed runs",
    "median": "the median of all runs",
}


@dataclass(frozen=True)
class TextTable:
    """Column names and rows; the first ``names`` columns name a row, the others hold its numbers."""

    names: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def place_text(levels: Mapping[str, Level]) -> str:
    """Return levels in words: ``depth 1, regularizer none``."""
    return ", ".join(f"{factor} {level}" for factor, level in levels.items())


def cell_table(analysis: Analysis) -> TextTable:
    """Return each cell's runs, mean with its 95 % interval, median and sd; where collapse is looked for, that too."""
    digits = _digits(analysis)
    factors = tuple(analysis.cells[0].levels)
    rows = []
    for cell in analysis.cells:
        row = [*map(str, cell.levels.values()), str(cell.runs)]
        if cell.collapse is not None:
            row.append(str(round(cell.collapse.estimate * cell.runs)))
        row.append(_with_bounds(cell.mean, digits))
        if cell.collapse is not None:
            row.append(_fixed(cell.trained.estimate, digits) if cell.trained else _NOTHING)
        rows.append((*row, _fixed(cell.median.estimate, digits), _fixed(cell.sd.estimate, digits)))
    collapse = analysis.design.rates
    columns = ("n", *["collapsed"] * collapse, "mean [95 %]", *["among trained"] * collapse, "median", "sd")
    return TextTable(len(factors), (*factors, *columns), tuple(rows))


def comparison_table(analysis: Analysis) -> TextTable:
    """Return each comparison's difference, P(better), p and verdict.

    Where runs collapsed, the difference among those that trained stands below, labelled.
    """
    digits = _digits(analysis)
    factors = tuple(analysis.comparisons[0].where)
    rows: list[tuple[str, ...]] = []
    for each in analysis.comparisons:
        name = (*map(str, each.where.values()), _pair(each))
        if each.result is None:
            rows.append((*name, *[_NOTHING] * 3, "no runs"))
            continue
        result = each.result
        rows.append(
            (
                *name,
                _with_bounds(result.difference, digits, "+"),
                _with_bounds(result.improvement, 2),
                _p(result.p_holm),
                result.verdict,
            )
        )
        rows += [(*[""] * len(factors), *row) for row in _further_answers(result, analysis.design, digits)]
    columns = (
        analysis.comparisons[0].factor,
        "difference [simultaneous 95 %]",
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
        yield "  among trained", _with_bounds(result.trained.interval, digits, "+"), "", "", ""
    p = _p(result.rate.estimate.p)
    yield "  collapse rate", _with_bounds(result.rate.interval, 2, "+"), "", p, f"{result.rate.verdict}"
    if design.primary != "mean":
        yield "  all runs", _with_bounds(result.overall.interval, digits, "+"), "", "", ""


def notes(analysis: Analysis) -> list[str]:
    """Return in sentences how to read the tables, why verdicts are open, and what to beware of."""
    made = [each.result for each in analysis.comparisons if each.result is not None]
    said = [_on_verdict(analysis.design)]
    if made:
        said.append(_on_family(len(made), made[0].difference.level, analysis.design.alpha))
    said += [
        "P(better) is the probability that a run of the first is better than a run of the second, ties counting half; "
        "p is that of a permutation test of equal means.",
        _on_seeds(analysis.design),
    ]
    return [*said, *_open(analysis), *(f"{warning[0].upper()}{warning[1:]}." for warning in analysis.warnings)]


def _on_verdict(design: Design) -> str:
    bounds = (
        f"entirely beyond ±{design.rope:g}, equivalent if entirely within"
        if design.rope
        else "entirely on one side of zero"
    )
    return (
        f"The verdict on the first of each pair rests only on the simultaneous interval for "
        f"{_ESTIMANDS[design.primary]}: better or worse ({design.direction} is better) if it lies {bounds}, otherwise "
        "undecided."
    )


def _on_family(family: int, level: float, alpha: float) -> str:
    together = f"{100 * (1 - alpha):g} %"
    if family == 1:
        return f"There is one comparison: its interval has level {together}."
    return (
        f"The {family} comparisons form one family: each interval has level {100 * level:.2f} %, so that all hold "
        f"simultaneously with {together} (Bonferroni)."
    )


def _on_seeds(design: Design) -> str:
    if not design.paired:
        return "Runs are treated as independent: seeds are not paired. The intervals cover only what the seeds varied."
    return (
        "Runs of the same seed are paired in p and in intervals of means; medians, P(better), and means that include "
        "collapses are compared as if runs were independent."
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
    means = [cell.mean.estimate for cell in analysis.cells]
    spreads = [cell.sd.estimate for cell in analysis.cells if not math.isnan(cell.sd.estimate)]
    largest = max(map(abs, means))
    apart = max([max(means) - min(means), *spreads])
    wanted = [shown - math.ceil(math.log10(size) + 1e-9) for shown, size in ((4, largest), (3, apart)) if size > 0]
    return min(max([0, *wanted]), 12)


def _with_bounds(interval: Interval, digits: int, sign: str = "") -> str:
    estimate = _fixed(interval.estimate, digits, sign)
    if math.isnan(interval.low):
        return estimate
    return f"{estimate} [{_fixed(interval.low, digits, sign)}, {_fixed(interval.high, digits, sign)}]"


def _fixed(value: float, digits: int, sign: str = "") -> str:
    return _NOTHING if math.isnan(value) else f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # and no minus zero


def _p(value: float) -> str:
    if math.isnan(value):
        return _NOTHING
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
