"""The tables of an analysis: cells, comparisons, effects, variance, claims."""

from __future__ import annotations

import math
from collections.abc import Iterator

from regulens.report.conditions import levels_text, rule_text, verdict_conditions
from regulens.report.document import Table
from regulens.report.pairs import failures_text, pairs_of
from regulens.report.verdicts import bounds_text, runs_text, undoing_points
from regulens.report.wording import DASH, Unit, bounded, cell_text, minus, p_text, percent, rate_difference, unit_of
from regulens.spec import StudySpec
from regulens.stats.analysis import CellSummary, NamedComparison
from regulens.stats.factorial import Estimated, FactorAnswers
from regulens.stats.intervals import Interval
from regulens.study.analysis import StudyAnalysis
from regulens.study.claim_results import UNSETTLED, AnsweredClaim
from regulens.study.grid import factor_label, level_label

_ORDER = {"trained": ("trained", "mean", "median"), "mean": ("mean", "trained", "median")}
_COLUMNS = {"trained": "mean, trained", "mean": "mean, all runs", "median": "median, all runs"}

_PARTIAL = "Partial: runs that a gap separates from all others, perhaps collapsed in part; they count as trained."


def cells_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
    """Show the runs of each network, what decides, how many failed to train, and the other means and the median."""
    selected = found.optimism.selected if found.optimism else None
    first, *others = _ORDER.get(found.declared.primary, ("median", "trained", "mean"))
    if not found.analysis.design.rates:
        others = [name for name in others if name != "trained"] if first != "trained" else ["median"]
    rows = [
        (
            cell_text(study, cell.levels),
            str(cell.runs),
            unit.interval(_estimate(cell, first)),
            failures_text(cell, found),
            *(unit.interval(_estimate(cell, name)) for name in others),
        )
        for cell in found.analysis.cells
    ]
    return Table(
        caption=f"{unit.name[0].upper()}{unit.name[1:]} of each network",
        columns=("network", "n", _COLUMNS[first], "failed", *(_COLUMNS[name] for name in others)),
        rows=tuple(rows),
        note="95 % confidence intervals, not adjusted for multiplicity; omitted where there are too few runs. The "
        "first estimate decides. Failed: runs that collapsed or diverged, with the 95 % interval of the rate, which "
        "is not zero where none was seen. The means of all runs allow for it; they are of no verdict"
        + (" but the declared one." if first != "trained" else ".")
        + (f" {_PARTIAL}" if any(cell.flagged for cell in found.analysis.cells) else "")
        + (" Marked: the network with the best mean of all runs." if selected is not None else ""),
        marked=() if selected is None else (selected,),
        name="cells",
    )


def _estimate(cell: CellSummary, name: str) -> Interval | None:
    return {"trained": cell.trained, "mean": cell.mean, "median": cell.median}[name]


def spread_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
    """Show the spread of each network, its middle half, the best of five runs and its gap."""
    rows = [
        (
            cell_text(study, cell.levels),
            unit.interval(cell.sd),
            unit.interval(cell.interquartile_mean),
            _best_of(cell, unit),
            unit_of("gap").difference(found.gaps[frozenset(cell.levels.items())], signed=False, word=False),
        )
        for cell in found.analysis.cells
    ]
    return Table(
        caption="Spread, middle half, best of five, and the gap between training and validation",
        columns=("network", "sd", "interquartile mean", "best of 5", "gap, percentage points"),
        rows=tuple(rows),
        note="Of all runs. Best of 5: the best that five runs are expected to have among them (of fewer, where there "
        "are not five). Gap: the mean of training minus validation accuracy, in percentage points.",
        name="spread",
    )


def _best_of(cell: CellSummary, unit: Unit) -> str:
    return unit.value(cell.best_of(min(5, cell.runs)))


def images_table(found: StudyAnalysis) -> Table:
    """Show where the spread between runs comes from, and accuracies on new seeds and new images."""
    rows = [
        (
            label,
            f"{100 * math.sqrt(each.split.observed):.2f}",
            f"{100 * math.sqrt(max(0.0, each.split.finite_test)):.2f}",
            "about 0" if each.split.about_zero else f"{100 * each.split.between_runs_sd:.2f}",
            f"{each.accuracy.estimate:.4f} ({each.accuracy.low:.4f} to {each.accuracy.high:.4f})",
        )
        for label, each in found.images.items()
    ]
    return Table(
        caption="Sources of the spread between runs that trained, and their accuracy on new seeds and new images",
        columns=("network", "sd observed", "of the finite images", "between runs", "over seeds and images"),
        rows=tuple(rows),
        note="Standard deviations in percentage points. The validation images are a sample too: on a different sample "
        "of images the SD between runs would be the value in column “between runs” (Jordan 2023). The last column is "
        "the mean with its 95 % interval over seeds and images together, not corrected for skewness.",
        name="images",
    )


def comparisons_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
    """Show every comparison with the interval and the bound that decide it, and its verdict."""
    design, pairs = found.analysis.design, list(pairs_of(study, found))
    bounds = ["bound"] if any(pair is not None and bounds_text(pair) for _, pair in pairs) else []
    other = [] if not design.rates else ["all runs"] if design.primary == "trained" else ["trained runs"]
    rows: list[tuple[str, ...]] = []
    for each, pair in pairs:
        name = _name(study, each)
        if pair is None:
            rows.append((*name, *[DASH] * (2 + len(bounds) + len(other)), each.reason))
            continue
        result = pair.result
        beside = result.overall if design.primary == "trained" else result.trained
        intervals = [result.difference, result.unadjusted, *([beside.interval] if other else [])]
        first, *rest = (unit.difference(one, word=False) for one in intervals)
        rows.append((*name, first, *([bounds_text(pair) or DASH] if bounds else []), *rest, pair.word))
    return Table(
        caption=f"Differences in {unit.name}{runs_text(design)}" + (", in percentage points" if unit.points else ""),
        columns=("where", "", "difference", *bounds, "unadjusted 95 %", *other, "verdict"),
        rows=tuple(rows),
        note=f"{levels_text(found)} {rule_text(found, unit)} {verdict_conditions(study, found, unit)}",
        left=(1, 4 + len(bounds) + len(other)),
        name="comparisons",
    )


def rates_table(study: StudySpec, found: StudyAnalysis) -> Table:
    """Show how often each pair of networks fails to train, the verdict on that, and what would undo the first one."""
    rows: list[tuple[str, ...]] = []
    for each, pair in pairs_of(study, found):
        if pair is None or pair.result.rate is None:
            rows.append((*_name(study, each), *[DASH] * 4, each.reason))
            continue
        rate = pair.result.rate
        rows.append(
            (
                *_name(study, each),
                *pair.failures,
                rate_difference(rate.interval),
                undoing_points(pair),
                str(rate.verdict),
            )
        )
    return Table(
        caption="Runs that failed to train, of each pair",
        columns=("where", "", "first", "second", "difference, points", "undone at", "verdict"),
        rows=tuple(rows),
        note="The second answer of every comparison, in the same family and by the same rule: fewer failures are "
        f"better; ROPE ±{100 * found.declared.rope_rate:g} percentage points, over new seeds. Undone at: the "
        "difference of these rates, in percentage points, at which the means of all runs no longer agree with the "
        "verdict on the runs that trained: they are equal or, of equivalent networks, the ROPE apart.",
        left=(1, 6),
        name="rates",
    )


def tests_table(study: StudySpec, found: StudyAnalysis) -> Table:
    """Show every comparison by what stands beside the verdict."""
    rows: list[tuple[str, ...]] = []
    for each in found.analysis.comparisons:
        result = each.result
        if result is None:
            rows.append((*_name(study, each), *[DASH] * 6))
            continue
        better = result.improvement
        rows.append(
            (
                *_name(study, each),
                bounded(better, ".2f"),
                minus(f"{result.effect_size:.2f}") if math.isfinite(result.effect_size) else DASH,
                *map(p_text, (result.p, result.p_holm, result.p_permutation, result.p_brunner_munzel)),
            )
        )
    return Table(
        caption="The same comparisons, exploratory: probability of superiority, effect size and tests",
        columns=("where", "", "P(better)", "Hedges' g", "p", "p (Holm)", "p (perm.)", "p (B.-M.)"),
        rows=tuple(rows),
        note="P(better): probability of superiority of a run of the first over one of the second, ties half (A12), "
        "failures to train included, with its 95 % interval. Hedges' g: standardized difference of the runs that "
        "trained. p: of no difference, the interval of the verdict inverted; Holm: adjusted over the family; perm.: "
        "permutation test of equal means of all runs, of few runs only; B.-M.: Brunner and Munzel's test. These are "
        "reported for information; verdicts do not depend on them.",
        left=(1,),
        name="tests",
    )


def _name(study: StudySpec, each: NamedComparison) -> tuple[str, str]:
    """Return the place of a comparison and its name."""
    place = cell_text(study, each.where) if each.where else DASH
    return place, f"{level_label(each.factor, each.a)} against {level_label(each.factor, each.b)}"


def factor_table(study: StudySpec, answers: FactorAnswers, found: StudyAnalysis, unit: Unit) -> Table:
    """Show the effects of one factor: simple ones where others stand beside it, interactions, marginal means."""
    name = factor_label(answers.factor)
    return Table(
        caption=f"Effects of {name} on {unit.name}" + (", differences in percentage points" if unit.points else ""),
        columns=("kind", "effect", "where", "estimate, with its interval"),
        rows=tuple(
            (kind, *_effect_row(study, each, unit)) for kind, each in _listed(answers, found, len(study.factors) > 1)
        ),
        note="Exploratory, without verdicts: the intervals of one kind are adjusted for each other "
        f"({percent(found.level)}, Bonferroni), not for all else in this report. Means are unweighted over networks; a "
        "main effect averages the simple effects, and says little where an interaction is large.",
        left=(1, 2),
        name=f"effects-{name.replace(' ', '-')}",
    )


def _listed(answers: FactorAnswers, found: StudyAnalysis, several: bool) -> Iterator[tuple[str, Estimated]]:
    """Yield the effects that the table of a factor lists, by kind.

    The simple effects of the compared factor are its comparisons, which have tables of their own; an interaction is
    listed once, with the compared factor.
    """
    compared = answers.factor == found.declared.factor
    kinds = {
        "simple effect": answers.simple if several and not compared else (),
        "interaction": answers.interactions if compared else (),
        "marginal mean": answers.marginal if several else (),
        "main effect": answers.main,
    }
    for kind, effects in kinds.items():
        for each in effects:
            yield kind, each


def _effect_row(study: StudySpec, each: Estimated, unit: Unit) -> tuple[str, str, str]:
    effect = each.effect
    name = level_label(effect.factor, effect.a)
    if effect.b is not None:
        name += f" against {level_label(effect.factor, effect.b)}"
    place = cell_text(study, effect.where) if effect.where else DASH
    if effect.by is not None:
        path, level, reference = effect.by
        place = f"at {level_label(path, level)} less that at {level_label(path, reference)}"
        place += f", {cell_text(study, effect.where)}" if effect.where else ""
    if each.simultaneous is None:
        return name, place, each.reason or DASH
    if effect.b is None:
        return name, place, unit.interval(each.simultaneous)
    return name, place, unit.difference(each.simultaneous, word=False)


def variance_table(found: StudyAnalysis) -> Table:
    """Show the share of the variance that each factor and interaction goes with."""
    rows = [
        (
            " x ".join(map(factor_label, source.factors)),
            f"{source.omega_squared:.3f}",
            p_text(source.robust_p),
        )
        for source in found.anova.sources
    ]
    robust = (
        "ANOVA-type statistic of repeated measures, runs of one seed being a block (Geisser and Greenhouse 1958)."
        if found.analysis.design.paired
        else "ANOVA-type statistic, which is robust to unequal variances (Brunner, Dette and Munk 1997)."
    )
    return Table(
        caption="Proportions of the variance over all runs",
        columns=("source", "omega squared", "p"),
        rows=tuple(rows),
        note="Exploratory: a description of these networks and levels, unadjusted. Type III sums of squares; p of the "
        + robust,
        name="variance",
    )


def claims_table(found: StudyAnalysis) -> Table:
    """Show every claim with its verdict and the seeds that an undecided one needs."""
    rows = []
    for claim in found.claims:
        verdict = claim.judged.verdict if claim.judged else "not testable here"
        rows.append((claim.claim.spec.id, claim.claim.spec.text, verdict, seeds_text(claim)))
    alpha = (1 - found.level) * found.declared.claims_share
    return Table(
        caption="Claims declared before the runs, and their verdicts",
        columns=("id", "claim", "verdict", "seeds to decide"),
        rows=tuple(rows),
        note=f"A family of their own, which errs by at most {percent(alpha)}; verdicts are over what is said with each "
        "claim below. Supported: every part lies beyond the ROPE in the claimed direction (of equality: within it). "
        "Refuted: one part lies on the other side of zero (of equality: beyond the ROPE). True, smaller than the ROPE: "
        "in the claimed direction, and within the ROPE. Smaller than the ROPE: at most that large, its direction being "
        "open. Undecided and too few runs: none of these. Seeds: for each network, to a decision with 80 % probability "
        "if the effects are as they now look.",
        left=(1, 2, 3),
        name="claims",
    )


def seeds_text(claim: AnsweredClaim) -> str:
    """Write the seeds that a claim needs which is not decided."""
    if claim.judged is None or claim.judged.verdict not in UNSETTLED:
        return ""
    if claim.seeds is None:
        return "unknown: too few runs"
    return "no number decides" if claim.seeds.never else claim.seeds.text
