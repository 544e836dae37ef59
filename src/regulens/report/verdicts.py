"""A comparison's verdict in words: what it says, by which bound, and what would undo it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from regulens.report.wording import DASH, Unit, counted, rate_difference
from regulens.stats.comparisons import Comparison
from regulens.stats.design import Design, Population
from regulens.stats.estimate import Estimate
from regulens.stats.intervals import Interval
from regulens.stats.verdicts import edge_alpha

RATES = {
    "better": "{a} trains more often than {b}",
    "better (size open)": "{a} trains more often than {b}, by how much is open",
    "worse": "{a} trains less often than {b}",
    "worse (size open)": "{a} trains less often than {b}, by how much is open",
    "equivalent": "{a} trains about as often as {b}",
    "undecided": "which trains more often is undecided",
    "too few runs": "too few runs to say which trains more often",
}
"""What the verdict on the collapse rates says of level a."""

_WHEN = {"trained": "when it trains", "mean": "in the mean of all runs", "median": "in the median of all runs"}
_WHEN_BOTH = _WHEN | {"trained": "when they train"}
_RUNS = {"trained": " of runs that trained", "mean": ", mean of all runs", "median": ", median of all runs"}
_TRAINS = {"better": "less", "worse": "more"}
"""How often a level trains of which the two answers contradict each other, by its verdict."""


@dataclass(frozen=True)
class Pair:
    """A comparison as reports state it: the names of both levels, the result, the rules, and the unit.

    Attributes:
        a: the name of the level that the verdict is on.
        b: of the one it is compared with.
        result: of the comparison.
        design: what was declared.
        alpha: what one statement may err by.
        unit: of the response.
        failed: how many runs of a and of b failed to train.
        over: what the verdict is over, which is seeds alone where scores of images are missing.
        doubted: the estimate with bounds further away, by which a few runs that look skewed are judged.
        place: the levels of the other factors, in words; empty where there are none.
    """

    a: str
    b: str
    result: Comparison
    design: Design
    alpha: float
    unit: Unit
    failed: tuple[int, int]
    over: tuple[Population, ...]
    doubted: Estimate | None = None
    place: str = ""

    @property
    def deciding(self) -> Estimate:
        """The estimate with the bounds that decide."""
        return self.result.estimate if self.doubted is None else self.doubted

    @property
    def failures(self) -> tuple[str, str]:
        """How many runs of a and of b failed to train, of how many."""
        (a, b), (n_a, n_b) = self.failed, self.result.runs
        return f"{a} of {n_a}", f"{b} of {n_b}"

    @property
    def word(self) -> str:
        """The verdict as tables and figures print it."""
        return self.result.word

    @property
    def size(self) -> str:
        """The difference with its simultaneous interval."""
        return self.unit.difference(self.result.difference)


def _but(result: Comparison) -> str:
    """Return how often a trains, ``less`` or ``more``, if that contradicts its verdict; else nothing."""
    return _TRAINS[result.verdict.partition(" ")[0]] if result.mixed else ""


def _side(result: Comparison) -> str:
    return "above" if result.difference.estimate > 0 else "below"


def when(design: Design, both: bool = False) -> str:
    """Say of which runs a verdict is, as the end of a clause; nothing where no run can fail to train."""
    if design.primary == "trained" and not design.rates:
        return ""
    return f" {(_WHEN_BOTH if both else _WHEN)[design.primary]}"


def runs_text(design: Design) -> str:
    """Say of which runs a difference is, behind the name of what differs; nothing where no run can fail to train."""
    return _RUNS[design.primary] if design.rates or design.primary != "trained" else ""


def first_answer(pair: Pair) -> str:
    """Say how good a is against b, as a sentence."""
    result, a, b = pair.result, pair.a, pair.b
    start = f"At {pair.place}, " if pair.place else ""
    word = result.verdict.partition(" ")[0]
    of_runs, of_both = when(pair.design), when(pair.design, both=True)
    if word == "equivalent":
        text = f"{start}{a} and {b} are practically equivalent{of_both}: {pair.size}{_doubt(pair)}{_bound(pair)}"
        return f"{text}; the difference is {_side(result)} zero all the same." if result.above_zero else f"{text}."
    if word in _TRAINS:
        but = _but(result)
        head = f"Mixed: {start[:1].lower()}{start[1:]}" if but else start
        trains = f", but trains {but} often" if but else ""
        size_open = " (size open)" if result.verdict != word else ""
        text = f"{head}{a} is {word} than {b}{of_runs}{trains}{size_open}: {pair.size}{_doubt(pair)}{_bound(pair)}"
        return f"{text}; the direction is shown, the size is not: {result.reason}." if size_open else f"{text}."
    if word == "too":
        more = f"; {counted(result.more, 'more run')} of each" if result.more else ""
        return f"{start}{a} against {b}{of_both}: {pair.size}; too few runs for a verdict ({result.reason}{more})."
    return f"{start}{a} against {b} is undecided{of_both}: {pair.size}; {result.reason}."


def _bound(pair: Pair) -> str:
    """Name the bound that decides, where it is not the two-sided interval's."""
    bounds = bounds_text(pair)
    if not bounds:
        return ""
    if pair.result.verdict == "equivalent":
        return f", {bounds} by the bounds that decide, within ±{pair.unit.size(pair.design.rope)}"
    return f", {bounds} by the bound that decides"


def bounds_text(pair: Pair) -> str:
    """Write the bounds beyond or within the edges of the region of equivalence, nothing where none decides."""
    interval = pair.result.difference
    low, high = deciding_bounds(pair)
    ends = [pair.unit.bound(end, interval, pair.design.rope) for end in (low, high) if math.isfinite(end)]
    if len(ends) == 2:
        return " to ".join(ends)
    return f"{'at least' if math.isfinite(low) else 'at most'} {ends[0]}" if ends else ""


def deciding_bounds(pair: Pair) -> tuple[float, float]:
    """Return the one-sided bounds on which a verdict about the region of equivalence rests, NaN where none does."""
    design, estimate, verdict = pair.design, pair.deciding, pair.result.verdict
    if not design.rope or verdict not in {"better", "worse", "equivalent"}:
        return math.nan, math.nan
    if verdict == "equivalent":
        return estimate.lower(pair.alpha), estimate.upper(pair.alpha)
    edge = edge_alpha(pair.alpha, design.rope, estimate)
    if pair.result.difference.estimate > 0:
        return estimate.lower(edge), math.nan
    return math.nan, estimate.upper(edge)


def _doubt(pair: Pair) -> str:
    """Say by which interval a few runs that look skewed are judged; nothing of others."""
    if pair.doubted is None:
        return ""
    wide = pair.unit.difference(pair.doubted.interval(1 - pair.alpha), word=False).partition(" ")[2]
    return f" (judged by {wide.strip('()')}, as few runs look skewed)"


def second_answer(pair: Pair) -> str:
    """Say how often both train, as a sentence; nothing where no run can fail to train."""
    rate = pair.result.rate
    if rate is None:
        return ""
    said = RATES[rate.verdict or "undecided"].format(a=pair.a, b=pair.b)
    first, second = pair.failures
    difference = rate_difference(rate.interval, "percentage points")
    return f"{said[0].upper()}{said[1:]}: {first} against {second} runs failed to train, {difference}."


def undone(pair: Pair) -> str:
    """Say which difference of collapse rates would undo the verdict, as a sentence; nothing where none would."""
    found = pair.result.sensitivity
    if found is None or not math.isfinite(found.difference):
        return ""
    failing, other, seen, rates = _fails_more_often(pair)
    then = "differ by the ROPE" if pair.result.verdict == "equivalent" else "equal"
    return (
        f"Undone if {failing} fails to train {undoing_points(pair)} percentage points more often than {other} (means "
        f"of all runs then {then}); seen {seen}, {_seen_text(abs(found.difference), rates)}."
    )


def _seen_text(undoing: float, rates: Interval) -> str:
    """Say what was seen of a difference of collapse rates, beside the one that would undo a verdict."""
    if rates.estimate >= undoing:
        return "which undoes it"
    excluded = f"which excludes more than {100 * rates.high:.0f}"
    return excluded if undoing <= rates.high else f"{excluded}: no difference within the interval reaches that"


def undoing_points(pair: Pair) -> str:
    """Write the difference of collapse rates that would undo a verdict, in percentage points."""
    found = pair.result.sensitivity
    if found is None or not math.isfinite(found.difference):
        return DASH
    return f"{100 * abs(found.difference):.2g}"


def _fails_more_often(pair: Pair) -> tuple[str, str, str, Interval]:
    """Return which level must fail more often than which to undo a verdict, the counts of both, and the difference."""
    found, result = pair.result.sensitivity, pair.result
    assert found is not None
    (first, n_first), (second, n_second) = found.seen
    of_a, of_b = f"{first}/{n_first}", f"{second}/{n_second}"
    if found.difference > 0 if result.verdict == "equivalent" else result.verdict.startswith("better"):
        return pair.a, pair.b, f"{of_a} and {of_b}", found.interval
    return pair.b, pair.a, f"{of_b} and {of_a}", -found.interval
