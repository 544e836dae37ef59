"""The table of posterior shares in the report: beside the verdicts, and exploratory."""

from __future__ import annotations

from collections.abc import Iterator

from regulens.report.document import Table
from regulens.report.wording import DASH, Unit, cell_text
from regulens.spec import StudySpec
from regulens.stats.comparison_posteriors import comparison_posteriors
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import level_label
from regulens.study.posterior_text import share_columns, share_text, shares_explained


def posterior_tables(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Iterator[Table]:
    """Yield the table of the shares beside each verdict, where any comparison has some."""
    analysis = found.analysis
    posteriors = comparison_posteriors(analysis)
    known = [each for each in posteriors if each is not None]
    if not known:
        return
    columns = share_columns(analysis)
    rows = []
    for each, posterior in zip(analysis.comparisons, posteriors, strict=True):
        place = cell_text(study, each.where) if each.where else DASH
        name = f"{level_label(each.factor, each.a)} against {level_label(each.factor, each.b)}"
        verdict = each.result.word if each.result else DASH
        if posterior is None:
            rows.append((place, name, verdict, *[DASH] * len(columns)))
            continue
        within = [posterior.equivalent] if analysis.design.rope else []
        shares = map(share_text, (posterior.better, *within, posterior.worse, posterior.change))
        rows.append((place, name, verdict, *shares))
    yield Table(
        caption="Posterior shares beside the verdicts: Bayesian and exploratory",
        columns=("where", "", "verdict", *columns),
        rows=tuple(rows),
        note=shares_explained(known, analysis, unit.size(found.declared.rope), unit.size(known[0].prior.scale)),
        left=(1, 2),
        name="posterior",
    )
