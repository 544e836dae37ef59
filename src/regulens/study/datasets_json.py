"""What an analysis says across data sets, as JSON has it: plain numbers, ``None`` where there is none."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from regulens.stats.intervals import Interval
from regulens.stats.profiles import Profile
from regulens.stats.ranks import Ranks
from regulens.study.datasets import AcrossSets, LevelOverSets, PlaceOverSets, PooledComparison
from regulens.study.json_numbers import finite


def datasets_dict(found: AcrossSets | None) -> dict[str, Any]:
    """Return ``{"datasets": {...}}``, or nothing where there are no data sets to compare on.

    ``comparisons`` hold the difference a - b of each set, pooled with each set counting the same (``equal_weights``)
    and by inverse variance (``random_effects``), each with the bounds of its mean and of its prediction for a new set;
    ``levels`` the interquartile means and profiles of all runs; ``ranks`` the average ranks and tests.
    """
    if found is None:
        return {}
    numbers = {
        "column": found.column,
        "sets": list(found.sets),
        "estimand": found.design.primary,
        "direction": found.design.direction,
        "comparisons": [_comparison(each, found.compared) for each in found.comparisons],
        "levels": [_level(each, place, found.compared) for place in found.places for each in place.levels],
        "ranks": [_ranks(place.ranks, place) for place in found.places],
        "warnings": list(found.warnings),
    }
    return {"datasets": numbers}


def _comparison(each: PooledComparison, factor: str) -> dict[str, Any]:
    equal, weighted = each.equal, each.weighted
    weights = [None] * len(each.sets) if weighted is None else weighted.weights.tolist()
    return {
        "factor": factor,
        "a": each.a,
        "b": each.b,
        "where": dict(each.where),
        "n_sets": len(each.sets),
        "equal_weights": equal
        and _interval(equal.mean, "difference")
        | _bounds(equal.new, "new_")
        | {"sd": equal.sd, "level": equal.mean.level},
        "random_effects": weighted
        and _interval(weighted.mean, "difference")
        | _bounds(weighted.new, "new_")
        | _interval(weighted.spread, "spread", "spread_")
        | {"q": weighted.q, "level": weighted.mean.level},
        "sets": [
            {"set": name, "variance": finite(effect.variance), "weight": weight}
            | _interval(effect.difference, "difference")
            for name, effect, weight in zip(each.sets, each.effects, weights, strict=True)
        ],
        "reason": "; ".join(each.reasons) or None,
    }


def _level(each: LevelOverSets, place: PlaceOverSets, factor: str) -> dict[str, Any]:
    return {
        "factor": factor,
        "level": each.level,
        "where": dict(place.where),
        "n": each.runs,
        "n_sets": len(place.sets),
        "iqm": each.middle and _interval(each.middle, "mean"),
        "iqm_gain": each.gain and _interval(each.gain, "mean"),
        "profile": _profile(each.profile),
        "gain_profile": each.gains and _profile(each.gains),
    }


def _ranks(ranks: Ranks, place: PlaceOverSets) -> dict[str, Any]:
    levels = [each.level for each in place.levels]
    return {
        "where": dict(place.where),
        "sets": list(place.sets),
        "average": [{"level": level, "rank": rank} for level, rank in zip(levels, ranks.average.tolist(), strict=True)],
        "friedman": finite(ranks.friedman),
        "friedman_p": finite(ranks.friedman_p),
        "pairs": [
            {"a": levels[pair.a], "b": levels[pair.b], "p": pair.p, "p_holm": pair.p_holm} for pair in ranks.pairs
        ],
        "cliques": [[levels[number] for number in clique] for clique in ranks.cliques],
    }


def _profile(profile: Profile) -> dict[str, list[float]]:
    names: dict[str, NDArray[Any]] = {
        "thresholds": profile.thresholds,
        "share": profile.share,
        "low": profile.low,
        "high": profile.high,
    }
    return {name: values.tolist() for name, values in names.items()}


def _interval(interval: Interval, name: str, prefix: str = "") -> dict[str, float | None]:
    return {name: finite(interval.estimate)} | _bounds(interval, prefix)


def _bounds(interval: Interval, prefix: str) -> dict[str, float | None]:
    return {f"{prefix}low": finite(interval.low), f"{prefix}high": finite(interval.high)}
