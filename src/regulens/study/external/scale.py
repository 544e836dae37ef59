"""What the numbers of a response are: fractions such as accuracies, percentages, or anything else."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from regulens.errors import UserError
from regulens.study.external.names import words
from regulens.study.external.values import in_percent, number
from regulens.study.own_rows import Rows

Scale = Literal["fraction", "percent", "none"]

_ROUNDING = 1e-9
_PLAIN = 10.0  # some accuracy in percent is at least that
_ACCURACY = re.compile(r"accura|acc(?![a-z])")
_DIFFERENCES = re.compile("gap|diff|delta|drop|gain|improvement|change")  # in the unit of accuracies, but not in 0..1
_NO_ACCURACY = {
    *(
        "loss",
        "time",
        "times",
        "timing",
        "sec",
        "secs",
        "second",
        "seconds",
        "minutes",
        "hour",
        "hours",
        "days",
        "hours",
        "ms",
        "duration",
    ),
    *("latency", "speed", "speedup", "flops", "energy", "cost", "watt", "joule", "to", "until", "per", "count", "rank"),
    *("relative", "rel", "ratio", "normalized", "normalised", "scaled", "std", "sd", "var", "variance", "log", "logit"),
}
_PLAINLY_ACCURACY = {
    *("acc", "accuracy", "accuracies", "val", "valid", "validation", "test", "train", "training", "dev", "eval"),
    *("evaluation", "best", "final", "last", "max", "min", "mean", "avg", "average", "median", "top", "balanced"),
    *("categorical", "sparse", "binary", "metrics", "metric", "summary", "model", "overall", "macro", "micro", "clean"),
    *("robust", "in", "percent", "pct", "percentage", "perc", "%", "ood", "iid", "of", "the"),
}
_IF_NONE = "if it is not an accuracy, use --scale none"
_PERCENT = {"percent", "pct", "percentage", "perc", "%"}


@dataclass(frozen=True)
class Response:
    """The values of a response as they are analysed.

    Attributes:
        values: one of each row; percentages are divided by 100.
        scale: what they were: ``fraction`` or ``percent`` of a whole that is 1, or ``none`` of these.
        accuracy: whether they are accuracies, or differences of them, as far as the names and the user tell.
        bounds: the least and the greatest that is possible.
        notes: what was decided in the user's place.
    """

    values: list[float]
    scale: Scale
    accuracy: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)
    notes: tuple[str, ...] = ()


def response_on_scale(rows: Rows, column: str, scale: Scale | None, accuracy: bool) -> Response:
    """Return the values of a response that has no ``response_problems``, and what they are.

    Without a ``scale`` a response is a fraction if it is an accuracy by its name and all of its values are between 0
    and 1 (a difference of accuracies: between -1 and 1), and a percentage if it is plainly one: all values have a
    percent sign, or are between 1 and 100 in a column such as ``val_accuracy``.

    Args:
        rows: the runs.
        column: of the response.
        scale: what the user says it is.
        accuracy: whether the user says that it is one: the accuracy of guessing is given.

    Raises:
        UserError: naming the rows that do not fit, and how to say what they are.
    """
    written = [number(value) for value in rows.columns[column]]
    signed = all(map(in_percent, rows.columns[column]))
    named = accuracy or named_accuracy(column)
    if scale == "none" or not (scale or signed or named):
        return Response(written, "none")
    if scale == "percent" or signed:
        found = _percentages(rows, column, written, accuracy=scale is not None or named)
        return replace(found, notes=_on_percent(column, written, signed=signed))
    return _fractions(rows, column, written) if scale else _guessed(rows, column, written, plainly=accuracy)


def _guessed(rows: Rows, column: str, values: list[float], *, plainly: bool) -> Response:
    plainly = plainly or all(word in _PLAINLY_ACCURACY or word.isdigit() for word in words(column))
    percent = bool(_PERCENT.intersection(words(column)))
    if max(map(abs, values)) <= 1 + _ROUNDING and not (percent and any(values)):
        return _fractions(rows, column, values)
    extremes = f"the values of {column} ({min(values):g} to {max(values):g})"
    in_range = all(value == 0 or 1 < value <= 100 for value in values) and (percent or max(values) >= _PLAIN)
    if (plainly or percent) and in_range and not _is_difference(column, values):
        said = f"{extremes} were read as percentages and divided by 100; if they are not percentages, use --scale none"
        return replace(_percentages(rows, column, values, accuracy=True), notes=(said,))
    if plainly or percent or _mixed(values):
        raise _misfit(rows, column, values)
    said = f"{extremes} were not read as accuracies; if they are percentages, use --scale percent"
    return Response(values, "none", notes=(said,))


def _fractions(rows: Rows, column: str, values: list[float]) -> Response:
    if max(map(abs, values)) > 1 + _ROUNDING:
        raise _misfit(rows, column, values)
    return Response(values, "fraction", True, _bounds(column, values))


def _percentages(rows: Rows, column: str, values: list[float], *, accuracy: bool) -> Response:
    """Return percentages as fractions; what is no accuracy may be anything, such as a change by 120 %."""
    largest = max(range(len(values)), key=lambda row: abs(values[row]))
    if accuracy and abs(values[largest]) > 100 * (1 + _ROUNDING):
        raise rows.refuse(largest, f"{column} {values[largest]:g} is above 100 %; {_IF_NONE}")
    bounds = _bounds(column, values) if accuracy else (-math.inf, math.inf)
    return Response([value / 100 for value in values], "percent", accuracy, bounds)


def _on_percent(column: str, values: Sequence[float], *, signed: bool) -> tuple[str, ...]:
    if signed:
        return (f"the values of {column} have percent signs and were divided by 100",)
    few = max(map(abs, values)) <= 1 and not _is_difference(column, values)
    return (f"--scale percent was given, but no value of {column} is above 1: are they fractions?",) if few else ()


def _is_difference(column: str, values: Sequence[float]) -> bool:
    return bool(_DIFFERENCES.search(column.lower())) or min(values) < 0


def _bounds(column: str, values: Sequence[float]) -> tuple[float, float]:
    """Return what an accuracy can be; none for a difference of accuracies."""
    return (-math.inf, math.inf) if _is_difference(column, values) else (0.0, 1.0)


def named_accuracy(column: str) -> bool:
    """Tell whether a column is an accuracy by its name."""
    return bool(_ACCURACY.search(column.lower())) and not _NO_ACCURACY.intersection(words(column))


def _mixed(values: Sequence[float]) -> bool:
    """Tell whether the values above 1 are, divided by 100, like those below."""
    small = [value for value in values if 0 < value <= 1]
    large = [value for value in values if value > 1]
    return bool(small and large) and max(large) <= 100 and any(min(small) / 2 <= value / 100 for value in large)


def _misfit(rows: Rows, column: str, values: Sequence[float]) -> UserError:
    """Return the error of values that are neither all fractions nor all percentages, naming the first."""
    above = [row for row, value in enumerate(values) if abs(value) > 1 + _ROUNDING]
    if not above:
        says = f"{column} says percent, but none of its values is above 1"
        return UserError(f"{rows.place}: {says}; use --scale fraction, or --scale percent if they are so small")
    outside = [row for row in above if not 0 <= values[row] <= 100]
    row = outside[0] if outside else above[0]
    value, divided = values[row], f"{values[row] / 100:g}"
    small = [other for other, each in enumerate(values) if 0 < each <= 1]
    side = "below 0" if value < 0 else "above 100" if value > 100 else "above 1"
    count = f"; {len(above)} of {len(values)} rows are like this" if len(above) > 1 else ""
    if outside:
        what = f"which no accuracy can be, not even in percent; {_IF_NONE}"
    elif small:
        what = f"but that of {rows.names[small[0]]} is {values[small[0]]:g}: a mix of scales; accuracies in percent "
        what += f"must be divided by 100 ({divided}); {_IF_NONE}"
    else:
        what = f"which no fraction is; use --scale percent if these are percentages ({divided}); {_IF_NONE}"
    return rows.refuse(row, f"{column} {value:g} is {side}, {what}{count}")
