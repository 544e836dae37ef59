"""What an analysis says across data sets as tables of text, and the sentences that say how to read them."""

from __future__ import annotations

import math

from regulens.study.datasets import AcrossSets
from regulens.study.text_table import NOTHING, TextTable, bounds_text, p_text, place_text, with_bounds


def effects_table(found: AcrossSets) -> TextTable:
    """Return each comparison's mean effect over sets, by both models, and its prediction for a new set."""
    digits = _digits(found)
    factors = tuple(found.comparisons[0].where)
    rows: list[tuple[str, ...]] = []
    for each in found.comparisons:
        name = (*map(str, each.where.values()), f"{each.a} – {each.b}", str(len(each.sets)))
        blank = ("",) * len(name)
        equal, weighted = each.equal, each.weighted
        if equal is None:
            rows.append((*name, *[NOTHING] * 4))
            continue
        means = with_bounds(equal.mean, digits, "+"), bounds_text(equal.new, digits, "+")
        rows.append((*name, "equal weights", *means, NOTHING))
        if weighted is not None:
            spread = with_bounds(weighted.spread, digits)
            means = with_bounds(weighted.mean, digits, "+"), bounds_text(weighted.new, digits, "+")
            rows.append((*blank, "random effects", *means, spread))
    heads = ("sets", "model", "mean effect [95 %]", "new set [95 %]", "SD between sets [95 %]")
    return TextTable(len(factors) + 3, (*factors, found.compared, *heads), tuple(rows))


def levels_table(found: AcrossSets) -> TextTable:
    """Return each level's average rank and the interquartile means of its runs over sets."""
    digits = _digits(found)
    factors = tuple(found.places[0].where)
    rows = [
        (
            *map(str, place.where.values()),
            str(each.level),
            str(len(place.sets)),
            str(each.runs),
            f"{rank:.2f}",
            with_bounds(each.middle, digits),
            with_bounds(each.gain, digits, "+"),
        )
        for place in found.places
        for each, rank in zip(place.levels, place.ranks.average.tolist(), strict=True)
    ]
    heads = ("sets", "n", "average rank", "IQM [95 %]", "IQM minus control [95 %]")
    return TextTable(len(factors) + 1, (*factors, found.compared, *heads), tuple(rows))


def pairs_table(found: AcrossSets) -> TextTable:
    """Return Wilcoxon's p of each pair of levels."""
    factors = tuple(found.places[0].where)
    rows = [
        (*map(str, place.where.values()), f"{levels[pair.a]} – {levels[pair.b]}", p_text(pair.p), p_text(pair.p_holm))
        for place in found.places
        for levels in [[str(each.level) for each in place.levels]]
        for pair in place.ranks.pairs
    ]
    return TextTable(len(factors) + 1, (*factors, found.compared, "signed-rank p", "p (Holm)"), tuple(rows))


def dataset_notes(found: AcrossSets) -> list[str]:
    """Return in sentences how to read the tables, and what to beware of."""
    said = [*effect_notes(), *rank_notes(found)]
    return [*said, *(f"{warning[0].upper()}{warning[1:]}." for warning in found.warnings)]


def effect_notes() -> list[str]:
    """Say what the pooled effects are."""
    return [
        "Across data sets everything is exploratory: estimates without verdicts. Runs are differenced within a data "
        "set first, and the data sets are taken as a sample of those of interest.",
        "Equal weights: the mean of the sets' differences with Student's interval, and Student's prediction interval "
        "for the difference that another set would show with as many runs. Random effects: weights by inverse variance "
        "(Paule and Mandel), Hartung and Knapp's interval, the t prediction interval for the true effect on another "
        "set (Higgins et al. 2009), and the standard deviation of true effects between sets (Q-profile). Where sets "
        "with small effects also have a small spread between runs, as near the ceiling of an accuracy, the weighted "
        "mean is biased towards zero: read the other.",
    ]


def rank_notes(found: AcrossSets) -> list[str]:
    """Say what ranks, tests and interquartile means are, with the result of Friedman's test at each place."""
    if not found.places:
        return []
    said = [
        "Ranks: 1 is the best level on a set. IQM: the mean of the middle half of the runs of all sets; minus control: "
        "of the runs minus the control's mean on their set. Both are about new runs on these sets. p: Wilcoxon's "
        "signed-rank test over sets, adjusted over the pairs (Holm)."
    ]
    for place in found.places:
        ranks = place.ranks
        if math.isfinite(ranks.friedman):
            where = place_text(place.where)
            said.append(
                f"Friedman's test of equal ranks{' at ' + where if where else ''}: chi-squared {ranks.friedman:.2f}, "
                f"p {p_text(ranks.friedman_p)} (approximate)."
            )
    return said


def _digits(found: AcrossSets) -> int:
    """Return how many decimals show two digits of the half-width of the narrowest mean."""
    widths = [each.equal.mean.high - each.equal.mean.low for each in found.comparisons if each.equal]
    known = [width / 2 for width in widths if math.isfinite(width) and width > 0]
    return min(12, max(0, 1 - math.floor(math.log10(min(known))))) if known else 4
