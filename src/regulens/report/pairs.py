"""The comparisons of a study as its report states them: names, counts and rules put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regulens.report.conditions import family_of
from regulens.report.verdicts import Pair
from regulens.report.wording import DASH, cell_text, unit_of
from regulens.spec import Level, StudySpec
from regulens.stats.analysis import CellSummary, NamedComparison
from regulens.stats.contrasts import Levels
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import level_label


def pair_of(study: StudySpec, each: NamedComparison, found: StudyAnalysis) -> Pair | None:
    """Return a comparison as the report states it, ``None`` where it could not be made."""
    if each.result is None:
        return None
    data = found.analysis.data
    a, b = (_key(found, {**each.where, each.factor: level}) for level in (each.a, each.b))
    alpha, weights = family_of(found).alpha_of_one, {a: 1.0, b: -1.0}
    few = data.too_few(weights, alpha)
    return Pair(
        a=level_label(each.factor, each.a),
        b=level_label(each.factor, each.b),
        result=each.result,
        design=found.analysis.design,
        alpha=alpha,
        unit=unit_of(found.declared.response),
        failed=(data.samples[a].collapses, data.samples[b].collapses),
        over=data.over(weights),
        doubted=few.doubted if few is not None else None,
        place=cell_text(study, each.where) if each.where else "",
    )


def pairs_of(study: StudySpec, found: StudyAnalysis) -> Iterator[tuple[NamedComparison, Pair | None]]:
    """Yield every comparison as the report states it, ``None`` for one that could not be made."""
    for each in found.analysis.comparisons:
        yield each, pair_of(study, each, found)


def _key(found: StudyAnalysis, levels: Mapping[str, Level]) -> Levels:
    """Return the levels of a cell in the order of the analysis."""
    return tuple(levels[factor] for factor in found.analysis.cells[0].levels)


def failures_text(cell: CellSummary, found: StudyAnalysis, of: str = "") -> str:
    """Write how many runs of a network failed to train, how many of them diverged, and the interval of the rate.

    Partial collapses are those that a gap separates from the other runs (``stats.gaps``); they count as trained.
    """
    if cell.collapse is None:
        return DASH
    runs = found.analysis.data.samples[cell.key]
    diverged = int(runs.diverged.sum())
    interval = f"{100 * cell.collapse.low:.0f} to {100 * cell.collapse.high:.0f} %"
    partial = f"; {cell.flagged} partial" if cell.flagged else ""
    return f"{runs.collapses}{of}{f', {diverged} diverged' if diverged else ''} ({interval}){partial}"
