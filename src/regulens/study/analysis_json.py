"""An analysis as JSON has it, and as DataFrames: plain numbers, ``None`` and a reason for what is unavailable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from regulens.stats.analysis import Analysis, CellSummary, NamedComparison
from regulens.stats.comparison_posteriors import comparison_posteriors
from regulens.stats.comparisons import Answer, Comparison, Sensitivity
from regulens.stats.contrasts import Level
from regulens.stats.estimates import expected_best_curve
from regulens.stats.factorial import Estimated, FactorAnswers
from regulens.stats.intervals import Interval
from regulens.study.datasets_json import datasets_dict
from regulens.study.json_numbers import finite
from regulens.study.posterior_text import posterior_numbers

if TYPE_CHECKING:  # results from elsewhere are analysed without torch
    from regulens.study.analysis import StudyAnalysis
    from regulens.study.claim_results import AnsweredClaim

_DECIDES = (
    *("difference", "low", "high", "low95", "high95", "p", "p_holm"),
    *("probability_of_improvement", "poi_low", "poi_high", "verdict"),
)


def analysis_dict(analysis: Analysis) -> dict[str, list[Any]]:
    """Return ``{"cells": [...], "comparisons": [...], "claims": [], "warnings": [...]}``, free of NaN.

    Differences are a - b in the response's unit; ``low`` and ``high`` bound the simultaneous interval, ``low95`` and
    ``high95`` the unadjusted one. Where a number is ``None``, ``reason`` says why; what stands behind ``reason`` in a
    comparison never decides, and is left out where there is none.
    """
    return {
        "cells": [_cell(cell) for cell in analysis.cells],
        "comparisons": _comparisons(analysis),
        "claims": [],
        "warnings": list(analysis.warnings),
    }


def study_analysis_dict(found: StudyAnalysis) -> dict[str, Any]:
    """Return a study's analysis as ``analysis_dict`` does, with its claims.

    A claim has its ``id``, ``text``, ``verdict`` (``None`` where it is not testable in the study, ``reason`` saying
    why), the ``parts`` that must all hold, each with an interval at the level that supports it, and for an undecided
    one ``seeds`` (recommended), ``seeds_low`` and ``seeds_high``, ``None`` being more than ``seeds_max``, and
    ``seeds_never``, whether no number decides. Where the data set is a factor, ``datasets`` holds what is said across
    data sets (``datasets_dict``).
    """
    claims, effects = claims_list(found.claims), effects_list(found.factors)
    return analysis_dict(found.analysis) | {"claims": claims, "effects": effects} | datasets_dict(found.datasets)


def claims_list(claims: Sequence[AnsweredClaim]) -> list[dict[str, Any]]:
    """Return claims as JSON has them."""
    return [_claim(each) for each in claims]


def effects_list(factors: Sequence[FactorAnswers]) -> list[dict[str, Any]]:
    """Return what each factor does: exploratory estimates, with intervals that hold together within each kind.

    ``kind`` is ``marginal mean``, ``main effect``, ``interaction`` or ``simple effect``; the effect is that of level
    ``a`` against level ``b``, at ``where``; of an interaction at the second of the two levels in ``by`` less the third.
    """
    kinds = (("marginal mean", "marginal"), ("main effect", "main"), ("interaction", "interactions"))
    every = (*kinds, ("simple effect", "simple"))
    return [_effect(kind, each) for answers in factors for kind, name in every for each in getattr(answers, name)]


def _effect(kind: str, each: Estimated) -> dict[str, Any]:
    effect, interval = each.effect, each.simultaneous
    found = {"kind": kind, "factor": effect.factor, "a": effect.a, "b": effect.b, "where": dict(effect.where)}
    by = None if effect.by is None else list(effect.by)
    bounds = {"estimate": _number(interval, "estimate")} | _bounds("", interval)
    return found | {"by": by} | bounds | {"level": interval.level if interval else None, "reason": each.reason}


def _claim(answered: AnsweredClaim) -> dict[str, Any]:
    declared, judged, seeds = answered.claim.spec, answered.judged, answered.seeds
    parts = [
        {"text": part.text, "verdict": part.verdict, "difference": finite(part.interval.estimate)}
        | {"low": finite(part.interval.low), "high": finite(part.interval.high), "level": part.interval.level}
        for part in (judged.parts if judged else ())
    ]
    found: dict[str, Any] = {"id": declared.id, "text": declared.text, "parts": parts}
    found["verdict"] = judged.verdict if judged else None
    if seeds is not None:
        found |= {"seeds": seeds.recommended, "seeds_low": seeds.low, "seeds_high": seeds.high}
        found |= {"seeds_max": seeds.max_seeds, "seeds_never": seeds.never}
    return found | {"reason": answered.reason or None}


def cells_frame(analysis: Analysis) -> pd.DataFrame:
    """Return the cells, indexed by their levels."""
    return _indexed(list(map(_cell, analysis.cells)), "levels", [cell.levels for cell in analysis.cells])


def comparisons_frame(analysis: Analysis) -> pd.DataFrame:
    """Return the comparisons, indexed by the levels of the factors that are not compared, if there are any."""
    return _indexed(_comparisons(analysis), "where", [each.where for each in analysis.comparisons])


def _indexed(records: list[dict[str, Any]], key: str, places: list[Mapping[str, Level]]) -> pd.DataFrame:
    """Return records without their levels, which become the index: no level's name can hide a number's."""
    frame = pd.DataFrame([{name: value for name, value in record.items() if name != key} for record in records])
    factors = list(places[0]) if places else []
    if len(factors) == 1:
        frame.index = pd.Index([place[factors[0]] for place in places], name=factors[0])
    elif factors:
        frame.index = pd.MultiIndex.from_tuples([tuple(place.values()) for place in places], names=factors)
    return frame


def _cell(cell: CellSummary) -> dict[str, Any]:
    found: dict[str, Any] = {"levels": dict(cell.levels), "n": cell.runs}
    found["collapsed"] = None if cell.collapse is None else round(cell.collapse.estimate * cell.runs)
    found["flagged"] = cell.flagged
    trained = None if cell.collapse is None else cell.trained
    for name, interval in (
        ("collapse_rate", cell.collapse),
        ("mean", cell.mean),
        ("trained_mean", trained),
        ("median", cell.median),
        ("sd", cell.sd),
        ("iqm", cell.interquartile_mean),
    ):
        found |= {name: _number(interval, "estimate")} | _bounds(name, interval)
    best_of = [finite(value) for value in expected_best_curve(cell.sample.values, cell.direction).tolist()]
    return found | {"best_of": best_of, "reason": _why_not_all(cell)}


def _why_not_all(cell: CellSummary) -> str | None:
    """Say why a number of the cell is missing, ``None`` if none is."""
    if cell.runs == 1:
        reasons = ["one run: no spread, and no interval"]
    else:
        intervals = {
            "mean": cell.mean,
            "mean among runs that trained": None if cell.collapse is None else cell.trained,
            "median": cell.median,
            "sd": cell.sd,
            "interquartile mean": cell.interquartile_mean,
        }
        missing = [name for name, interval in intervals.items() if interval is not None and math.isnan(interval.low)]
        reasons = [f"too few runs, or no spread, for an interval of {', '.join(missing)}"] if missing else []
        reasons += ["an interquartile mean needs 4 runs"] if cell.interquartile_mean is None else []
    reasons += (
        ["runs diverged, and the value to count them with is unknown"] if math.isnan(cell.median.estimate) else []
    )
    reasons += ["no run trained"] if cell.trained is None else []
    reasons += ["collapse was not checked"] if cell.collapse is None else []
    return "; ".join(reasons) or None


def _comparisons(analysis: Analysis) -> list[dict[str, Any]]:
    runs = {frozenset(cell.levels.items()): cell.runs for cell in analysis.cells}
    return [
        _comparison(each, runs, analysis) | posterior_numbers(posterior)
        for each, posterior in zip(analysis.comparisons, comparison_posteriors(analysis), strict=True)
    ]


def _comparison(
    named: NamedComparison, runs: Mapping[frozenset[tuple[str, Level]], int], analysis: Analysis
) -> dict[str, Any]:
    n_a, n_b = (runs.get(frozenset({**named.where, named.factor: level}.items()), 0) for level in (named.a, named.b))
    head = {"factor": named.factor, "a": named.a, "b": named.b, "where": dict(named.where), "n_a": n_a, "n_b": n_b}
    design, result = analysis.design, named.result
    declared: dict[str, Any] = {"estimand": design.primary, "direction": design.direction, "rope": design.rope}
    declared |= {"rope_rate": design.rope_rate if design.rates else None, "over": _over(named, analysis)}
    if result is None:
        return head | dict.fromkeys(_DECIDES) | {"reason": named.reason} | declared
    reason = result.reason or None
    return head | _judged(result) | {"reason": reason} | declared | _answers(result) | _beside(result, design.rates)


def _over(named: NamedComparison, analysis: Analysis) -> list[str]:
    """Return what a verdict is over: seeds alone where images were declared, but are not known or do not count."""
    if named.result is None:
        return list(analysis.design.over)
    factors = tuple(analysis.cells[0].levels)
    pair = [{**named.where, named.factor: level} for level in (named.a, named.b)]
    a, b = (tuple(levels[factor] for factor in factors) for levels in pair)
    return list(analysis.data.over({a: 1.0, b: -1.0}))


def _judged(result: Comparison) -> dict[str, Any]:
    return {
        "difference": finite(result.difference.estimate),
        "low": finite(result.difference.low),
        "high": finite(result.difference.high),
        "low95": finite(result.unadjusted.low),
        "high95": finite(result.unadjusted.high),
        "p": finite(result.p),
        "p_holm": finite(result.p_holm),
        "probability_of_improvement": finite(result.improvement.estimate),
        "poi_low": finite(result.improvement.low),
        "poi_high": finite(result.improvement.high),
        "verdict": result.verdict,
        "mixed": result.mixed,
        "above_zero": result.above_zero,
        "more_runs": result.more,
    }


def _answers(result: Comparison) -> dict[str, Any]:
    """Return how good each is when it trains, how often it fails to, and both together."""
    rate = None if result.rate is None else _answer(result.rate)
    return {
        "trained": _answer(result.trained),
        "rate": rate,
        "overall": _answer(result.overall),
        "sensitivity": None if result.sensitivity is None else _sensitivity(result.sensitivity),
    }


def _answer(answer: Answer) -> dict[str, Any]:
    n_a, n_b = answer.runs
    bounds = {"low": finite(answer.interval.low), "high": finite(answer.interval.high)}
    difference = finite(answer.interval.estimate)
    return {"n_a": n_a, "n_b": n_b, "difference": difference, **bounds, "verdict": answer.verdict}


def _sensitivity(sensitivity: Sensitivity) -> dict[str, Any]:
    """Return the difference of collapse rates that would undo a verdict, and what was seen of that difference."""
    (collapsed_a, _), (collapsed_b, _) = sensitivity.seen
    return {
        "rate_difference": finite(sensitivity.difference),
        "collapsed_a": collapsed_a,
        "collapsed_b": collapsed_b,
        "low": finite(sensitivity.interval.low),
        "high": finite(sensitivity.interval.high),
    }


def _beside(result: Comparison, collapse_looked_for: bool) -> dict[str, Any]:
    """Return what never decides, as far as there is any."""
    found: dict[str, Any] = {
        "level": result.difference.level,
        "effect_size": finite(result.effect_size),
        "p_permutation": finite(result.p_permutation),
        "p_brunner_munzel": finite(result.p_brunner_munzel),
    }
    trained = result.trained.interval if collapse_looked_for else None
    for name, interval in (("trained", trained), ("collapse", result.rate.interval if result.rate else None)):
        found |= {f"{name}_difference": _number(interval, "estimate")} | _bounds(name, interval)
    return {name: value for name, value in found.items() if value is not None}


def _bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
    prefix = f"{name}_" if name else ""
    return {f"{prefix}low": _number(interval, "low"), f"{prefix}high": _number(interval, "high")}


def _number(interval: Interval | None, name: str) -> float | None:
    return None if interval is None else finite(getattr(interval, name))
