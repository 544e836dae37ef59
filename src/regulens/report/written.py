"""What a study's analysis says, in the order of the report: tables of results, then sentences and claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from regulens.report.conditions import assumptions, exploratory_text
from regulens.report.document import Block, Bullets, Heading, Paragraph
from regulens.report.posterior import posterior_tables
from regulens.report.sentences import claim_sentence, collapse_sentences, comparison_sentence, interaction_sentences
from regulens.report.tables import (
    cells_table,
    claims_table,
    comparisons_table,
    factor_table,
    images_table,
    rates_table,
    spread_table,
    tests_table,
    variance_table,
)
from regulens.report.wording import Unit, counted, unit_of
from regulens.spec import StudySpec
from regulens.stats.selection import SingleRunRanking
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import factor_label

_FEW_RUNS = 5  # of a network


def results_blocks(study: StudySpec, found: StudyAnalysis) -> Iterator[Block]:
    """Say what the cells came to and how they compare."""
    unit = unit_of(found.declared.response)
    yield Heading("Results")
    yield cells_table(study, found, unit)
    yield from map(Paragraph, collapse_sentences(study, found))
    yield spread_table(study, found, unit)
    if found.images:
        yield images_table(found)
    if found.analysis.comparisons:
        yield Heading("Comparisons", 2)
        yield comparisons_table(study, found, unit)
        if found.analysis.design.rates:
            yield rates_table(study, found)
        yield tests_table(study, found)
        yield from posterior_tables(study, found, unit)
    for answers in found.factors:
        yield Heading(f"Effects of {factor_label(answers.factor)}", 2)
        yield factor_table(study, answers, found, unit)
    if found.anova.sources:
        yield variance_table(found)


def analysis_blocks(study: StudySpec, found: StudyAnalysis) -> Iterator[Block]:
    """Say in sentences what holds, what does not and what is undecided."""
    unit = unit_of(found.declared.response)
    yield Heading("Analysis")
    sentences = [comparison_sentence(study, each, found) for each in found.analysis.comparisons]
    if sentences:
        yield Bullets(tuple(sentences))
    if found.claims:
        yield Heading("Claims", 2)
        yield claims_table(found)
        yield Bullets(tuple(claim_sentence(study, claim, found) for claim in found.claims))
    yield from _exploratory(found, unit)
    yield Heading("What was not tested", 2)
    yield Bullets(tuple(map(Paragraph, assumptions(found))))
    for text in [*found.diverged, *found.analysis.warnings]:
        said = _plain(study, text)
        yield Paragraph(said[0].upper() + said[1:] + ("" if said.endswith(".") else "."), "note")


def _exploratory(found: StudyAnalysis, unit: Unit) -> Iterator[Block]:
    """Say what no verdict is made of: how effects differ between places, and what one run of each would have shown."""
    sentences = interaction_sentences(found, unit)
    if sentences or found.ranking is not None:
        yield Heading("Exploratory", 2)
    if sentences:
        yield Paragraph(exploratory_text(found))
        yield from map(Paragraph, sentences)
    if found.ranking is not None:
        yield Paragraph(ranking_sentence(found.ranking, [cell.runs for cell in found.analysis.cells]))


def ranking_sentence(ranking: SingleRunRanking, runs: Sequence[int]) -> str:
    """Say how well one run of each network would have ranked them, as far as these runs of each tell."""
    fewest, most = min(runs), max(runs)
    of_each = f"{most}" if fewest == most else f"{fewest} to {most}"
    text = (
        f"Had each network been trained only once, with one of its {of_each} runs, the one with the best mean would "
        f"have come out first in {_share(ranking.best)} of the possible choices, and the full ranking of {len(runs)} "
        f"would have been reproduced in {_share(ranking.order)}."
    )
    few = f" These are shares of the runs at hand: {counted(fewest, 'run')} of a network say little about further runs."
    return text + (few if fewest < _FEW_RUNS else "")


def _share(probability: float) -> str:
    """Write a probability as a percentage, without a false zero or certainty."""
    percent = 100 * probability
    if 0.5 <= percent <= 99.5:
        return f"{percent:.0f} %"
    return "fewer than 1 %" if percent < 0.5 else "more than 99 %"


def _plain(study: StudySpec, text: str) -> str:
    """Name factors as the rest of the report does: depth, not model.depth."""
    for path in study.factors:
        text = text.replace(f"{path} ", f"{factor_label(path)} ")
    return text
