"""The tables of an analysis: cells, comparisons, effects, variance, claims."""

from __future__ import annotations

import math
from collections.abc import Iterator

from regulens.report.document import Table
from regulens.report.wording import DASH, Unit, bounded, cell_text, minus, p_text, unit_of
from regulens.spec import StudySpec
from regulens.stats.analysis import CellSummary, NamedComparison
from regulens.stats.factorial import Estimated, FactorAnswers
from regulens.study.analysis import StudyAnalysis
from regulens.study.claim_results import AnsweredClaim
from regulens.study.grid import factor_label, level_label


def cells_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
    """Show the runs, collapses, means and median of each network."""
    selected = found.optimism.selected if found.optimism else None
    rows = [
        (
            cell_text(study, cell.levels),
            str(cell.runs),
            DASH if cell.collapse is None else f"{round(cell.collapse.estimate * cell.runs)}",
            unit.interval(cell.mean),
            unit.interval(cell.trained),
            unit.interval(cell.median),
        )
        for cell in found.analysis.cells
    ]
    return Table(
        caption=f"{unit.name[0].upper()}{unit.name[1:]} of each network",
        columns=("network", "n", "collapsed", "mean", "mean, non-collapsed", "median"),
        rows=tuple(rows),
        note="95 % confidence intervals, not adjusted for multiplicity; omitted where there are too few runs."
        + (" Marked: the best mean." if selected is not None else ""),
        marked=() if selected is None else (selected,),
        name="cells",
    )


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
        note="Best of 5: the best that five runs are expected to have among them (of fewer, where there are not five). "
        "Gap: the mean of training minus validation accuracy over all runs, in percentage points.",
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
        caption="Sources of the spread between non-collapsed runs, and accuracy on new seeds and new images",
        columns=("network", "sd observed", "of the finite images", "between runs", "over seeds and images"),
        rows=tuple(rows),
        note="Standard deviations in percentage points. The validation images are a sample too: on a different sample "
        "of images the SD between runs would be the value in column “between runs” (Jordan 2023). The last column is "
        "the mean with its 95 % interval over seeds and images together.",
        name="images",
    )


def comparisons_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
    """Show every comparison with the intervals that decide it and its verdict."""
    rows: list[tuple[str, ...]] = []
    for each, place, name in _named(study, found):
        if each.result is None:
            rows.append((place, name, DASH, DASH, DASH, each.reason))
            continue
        intervals = (each.result.difference, each.result.unadjusted, each.result.trained.interval)
        rows.append((place, name, *(unit.difference(one, word=False) for one in intervals), each.result.verdict))
    rope = found.declared.rope
    rule = f"beyond ±{unit.size(rope)} better or worse, within it equivalent" if rope else "the sign decides"
    return Table(
        caption=f"Differences in {unit.name}" + (", in percentage points" if unit.points else ""),
        columns=("where", "", "difference", "unadjusted 95 %", "non-collapsed", "verdict"),
        rows=tuple(rows),
        note=f"Difference: simultaneous {100 * found.level:.4g} % confidence intervals of {len(rows)} comparisons "
        "(Bonferroni), "
        f"likewise among non-collapsed runs; the verdict depends on the first alone: {rule}, otherwise undecided.",
        left=(1, 5),
        name="comparisons",
    )


def tests_table(study: StudySpec, found: StudyAnalysis) -> Table:
    """Show every comparison by what stands beside the verdict."""
    rows: list[tuple[str, ...]] = []
    for each, place, name in _named(study, found):
        result = each.result
        if result is None:
            rows.append((place, name, *[DASH] * 5))
            continue
        better = result.improvement
        rows.append(
            (
                place,
                name,
                bounded(better, ".2f"),
                minus(f"{result.effect_size:.2f}") if math.isfinite(result.effect_size) else DASH,
                p_text(result.p),
                p_text(result.p_holm),
                p_text(result.p_brunner_munzel),
            )
        )
    return Table(
        caption="The same comparisons: probability of superiority, effect size and tests",
        columns=("where", "", "P(better)", "Hedges' g", "p", "p (Holm)", "p (Brunner-Munzel)"),
        rows=tuple(rows),
        note="P(better): probability of superiority of a run of the first over one of the second, ties half (A12), "
        "with its 95 % interval. Hedges' g: standardized difference. p: of no difference, the interval inverted; "
        "Holm: adjusted over the family. These are reported for information; verdicts do not depend on them.",
        left=(1,),
        name="tests",
    )


def _named(study: StudySpec, found: StudyAnalysis) -> Iterator[tuple[NamedComparison, str, str]]:
    """Yield each comparison with its place and its name."""
    for each in found.analysis.comparisons:
        place = cell_text(study, each.where) if each.where else DASH
        yield each, place, f"{level_label(each.factor, each.a)} against {level_label(each.factor, each.b)}"


def factor_table(study: StudySpec, answers: FactorAnswers, found: StudyAnalysis, unit: Unit) -> Table:
    """Show the effects of one factor: simple ones where others stand beside it, interactions, marginal means."""
    name = factor_label(answers.factor)
    warning = (
        " The main effects are means of effects that differ (an interaction is shown): read the simple ones."
        if answers.interacting
        else ""
    )
    return Table(
        caption=f"Effects of {name} on {unit.name}" + (", differences in percentage points" if unit.points else ""),
        columns=("kind", "effect", "where", "estimate, with its interval"),
        rows=tuple(
            (kind, *_effect_row(study, each, unit)) for kind, each in _listed(answers, found, len(study.factors) > 1)
        ),
        note=f"Each kind is a family with simultaneous {100 * found.level:.4g} % confidence intervals (Bonferroni); "
        "means "
        f"are unweighted over networks.{warning}",
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
    return Table(
        caption="Proportions of the variance over all runs",
        columns=("source", "omega squared", "p"),
        rows=tuple(rows),
        note="Type III sums of squares; p of the ANOVA-type statistic, which is robust to unequal variances (Brunner, "
        "Dette "
        "and Munk 1997). A description of these networks and levels, unadjusted.",
        name="variance",
    )


def claims_table(found: StudyAnalysis) -> Table:
    """Show every claim with its verdict and the seeds that an undecided one needs."""
    rows = []
    for claim in found.claims:
        verdict = claim.judged.verdict if claim.judged else "not testable here"
        rows.append((claim.claim.spec.id, claim.claim.spec.text, verdict, seeds_text(claim)))
    return Table(
        caption="Claims declared before the runs, and their verdicts",
        columns=("id", "claim", "verdict", "seeds to decide"),
        rows=tuple(rows),
        note=f"A family of their own, with a type I error of at most {100 * (1 - found.level):.2g} %. A claim is "
        "supported if "
        "all its parts are and refuted if one is: if its interval lies wholly below the equivalence margin, "
        "so that the difference is of no practical size or goes the other way. Seeds: for each network, to a decision "
        "with 80 % probability if the effects are as they now look.",
        left=(1, 2, 3),
        name="claims",
    )


def seeds_text(claim: AnsweredClaim) -> str:
    """Write the seeds that an undecided claim needs."""
    if claim.judged is None or claim.judged.verdict != "undecided":
        return ""
    if claim.seeds is None:
        return "unknown: too few runs"
    low, high, most = claim.seeds.low, claim.seeds.high, claim.seeds.max_seeds
    if low is None:
        return f"> {most}"
    return f"{low} to {high}" if high is not None else f"{low} to > {most}"
