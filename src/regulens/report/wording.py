"""How the numbers of a response, and the names of networks, are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from regulens.spec import Level, Response, StudySpec
from regulens.stats.intervals import Interval
from regulens.study.declared import DeclaredAnalysis
from regulens.study.grid import level_label

NAMES: dict[Response, str] = {
    "val_accuracy": "validation accuracy",
    "train_accuracy": "training accuracy",
    "val_loss": "validation loss (NLL)",
    "train_loss": "training loss (NLL)",
    "gap": "gap between training and validation accuracy",
    "train_seconds": "seconds of training",
}
_SHARES: set[str] = {"val_accuracy", "train_accuracy", "gap"}
DASH = "–"


def bounded(interval: Interval | None, form: str, *, factor: float = 1, sign: str = "", word: str = "") -> str:
    """Write an estimate with its bounds in one number format, each times a factor; a dash where there is none."""
    if interval is None or not math.isfinite(interval.estimate):
        return DASH
    text = minus(f"{factor * interval.estimate:{sign}{form}}") + (f" {word}" if word else "")
    if not math.isfinite(interval.low):
        return text
    low, high = (minus(f"{factor * bound:{form}}") for bound in (interval.low, interval.high))
    return f"{text} ({low} to {high})"


def decimals(width: float, least: int = 0) -> int:
    """Return as many decimals as tell the bounds of an interval apart: two figures of half its width."""
    if not math.isfinite(width) or width <= 0:
        return 2
    return min(4, max(least, 1 - math.floor(math.log10(width / 2))))


@dataclass(frozen=True)
class Unit:
    """How a response and its differences are written: accuracies as shares, their differences in percentage points."""

    name: str
    points: bool
    word: str

    def value(self, number: float) -> str:
        """Write a value of the response."""
        return f"{number:.4f}" if math.isfinite(number) else DASH

    def interval(self, interval: Interval | None) -> str:
        """Write a value with its bounds."""
        return bounded(interval, ".4f")

    def difference(self, interval: Interval, signed: bool = True, word: bool = True) -> str:
        """Write a difference with its bounds, in points where the response is a share."""
        sign, form = "+" if signed else "", f".{self._digits(interval)}f"
        return bounded(interval, form, factor=self._factor, sign=sign, word=self.word if word else "")

    def bound(self, number: float, interval: Interval, edge: float) -> str:
        """Write a bound of a difference with the decimals of its interval, or as many as tell it from an edge."""
        digits = self._digits(interval)
        if round(self._factor * abs(number), digits) == round(self._factor * edge, digits):
            digits += 2
        return minus(f"{self._factor * number:+.{digits}f}")

    @property
    def _factor(self) -> int:
        return 100 if self.points else 1

    def _digits(self, interval: Interval) -> int:
        return decimals(self._factor * (interval.high - interval.low), least=1)

    def size(self, number: float) -> str:
        """Write a width, such as that of the region of practical equivalence."""
        return f"{100 * number:g} {self.word}" if self.points else f"{number:g}"


def unit_of(response: Response) -> Unit:
    """Return how a response is written."""
    shares = response in _SHARES
    return Unit(NAMES[response], shares, "percentage points" if shares else "s" if response == "train_seconds" else "")


def minus(text: str) -> str:
    """Write a true minus sign, and no minus before a zero."""
    return text.lstrip("-+") if float(text) == 0 else text.replace("-", "−")


def percent(share: float) -> str:
    """Write a level or an error rate in percent: four figures above one half, three below."""
    return f"{100 * share:.{4 if share > 0.5 else 3}g} %"


def rate_difference(interval: Interval, word: str = "") -> str:
    """Write a difference of two collapse rates in percentage points."""
    return bounded(interval, ".0f", factor=100, sign="+", word=word)


def p_text(p: float) -> str:
    """Write a p value; a dash where there is none."""
    if math.isnan(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def cell_text(study: StudySpec, levels: Mapping[str, Level]) -> str:
    """Return a network's name in tables, of all levels, or of some: a place."""
    return ", ".join(level_label(path, levels[path]) for path in study.factors if path in levels) or study.name


def counted(number: int, noun: str) -> str:
    """Write a number of things: 1 seed, 2 seeds."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def bound_text(declared: DeclaredAnalysis) -> str:
    """Say what a run must be above to count as trained."""
    if declared.trained_above is None:
        return "the 99.9 % bound of guessing"
    return f"the {declared.trained_above:g} that the study declares"
