"""How many seeds the comparisons of results from elsewhere need to decide an effect of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from regulens.errors import UserError
from regulens.stats.analysis import Analysis, NamedComparison
from regulens.stats.cells import LEAST_RUNS
from regulens.stats.power import Piloted, SeedsNeeded, piloted, seeds_needed_from_pilot
from regulens.stats.simulated import Question
from regulens.study.external.scale import Response
from regulens.study.text_table import TextTable
from regulens.study.thresholds import LARGEST_EFFECT, in_points

MAX_SEEDS = 200


@dataclass(frozen=True, eq=False)
class ComparisonSeeds:
    """The seeds of each cell that one comparison needs, or why they are not known."""

    comparison: NamedComparison
    seeds: SeedsNeeded | None
    reason: str = ""


def check_effect(effect: float, response: str, read: Response) -> None:
    """Refuse an effect on accuracies that is in points.

    Raises:
        UserError: saying how it is written.
    """
    if read.accuracy and effect >= LARGEST_EFFECT:
        raise UserError(in_points(f"effect {effect:g}", effect, response))


def seeds_of_comparisons(analysis: Analysis, effect: float, rng: np.random.Generator) -> tuple[ComparisonSeeds, ...]:
    """Return the seeds that each comparison needs to decide an effect with 80 % probability, the runs being the pilot.

    Args:
        analysis: whose family, level and region of practical equivalence are kept.
        effect: the true difference, in the response's unit.
        rng: consumed.
    """
    return tuple(_seeds(each, analysis, effect, rng) for each in analysis.comparisons)


def seeds_table(needed: tuple[ComparisonSeeds, ...]) -> TextTable:
    """Return the seeds that each comparison needs, one row each."""
    factors = tuple(needed[0].comparison.where)
    rows = tuple(
        (*map(str, each.comparison.where.values()), f"{each.comparison.a} – {each.comparison.b}", _text(each))
        for each in needed
    )
    return TextTable(len(factors) + 1, (*factors, needed[0].comparison.factor, "seeds"), rows)


def seeds_list(needed: tuple[ComparisonSeeds, ...]) -> list[dict[str, Any]]:
    """Return the seeds as JSON has them; without a reason, ``None`` is more than ``seeds_max``."""
    return [
        {"factor": each.comparison.factor, "a": each.comparison.a, "b": each.comparison.b}
        | {"where": dict(each.comparison.where)}
        | {"seeds": each.seeds.recommended if each.seeds else None}
        | {"seeds_low": each.seeds.low if each.seeds else None, "seeds_high": each.seeds.high if each.seeds else None}
        | {"seeds_max": each.seeds.max_seeds if each.seeds else None, "reason": each.reason or None}
        for each in needed
    ]


def _text(needed: ComparisonSeeds) -> str:
    if needed.seeds is None or needed.reason:
        return needed.reason
    most = needed.seeds.max_seeds
    seeds, low, high = (
        f"> {most}" if end is None else str(end)
        for end in (needed.seeds.recommended, needed.seeds.low, needed.seeds.high)
    )
    return seeds if low == high else f"{seeds} ({low} to {high})"


def _seeds(named: NamedComparison, analysis: Analysis, effect: float, rng: np.random.Generator) -> ComparisonSeeds:
    if named.result is None:
        return ComparisonSeeds(named, None, named.reason)
    cells, design = analysis.data, analysis.design
    if effect <= design.rope:
        reason = f"effect {effect:g} is not above the equivalence margin {design.rope:g}"
        return ComparisonSeeds(named, None, reason)
    places = {frozenset(cell.levels.items()): cell.key for cell in analysis.cells}
    a, b = (places[frozenset({**named.where, named.factor: level}.items())] for level in (named.a, named.b))
    if min(len(cells.samples[key].trained) for key in (a, b)) < LEAST_RUNS:
        return ComparisonSeeds(named, None, f"a pilot needs {LEAST_RUNS} runs of each cell that trained")
    question = Question(effect, design.rope, alpha=design.alpha_of_one(len(analysis.comparisons)))
    asked = piloted(cells, {a: 1.0, b: -1.0}, question)
    if asked is None:
        return ComparisonSeeds(named, None, "the runs of both cells have no spread")
    needed = seeds_needed_from_pilot(asked, rng, max_seeds=MAX_SEEDS)
    return ComparisonSeeds(named, needed, _never(asked) if needed.never else "")


def _never(asked: Piloted) -> str:
    """Say why no number of seeds decides."""
    if not asked.floor:
        return "no number of seeds decides: the effect lies on the edge of the equivalence margin"
    return f"no number of seeds decides: the overlap of the splits alone leaves a standard error of {asked.floor:.2g}"
