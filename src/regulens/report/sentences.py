"""The sentences of an analysis: each is made of a judged number and carries it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from regulens.report.conditions import ESTIMANDS, conditions, joined_words, levels_text, margin_text, rule_text
from regulens.report.document import Paragraph
from regulens.report.pairs import failures_text, pair_of
from regulens.report.verdicts import first_answer, second_answer, undone
from regulens.report.wording import NAMES, Unit, bound_text, cell_text, percent, unit_of
from regulens.spec import Population, StudySpec
from regulens.stats.analysis import NamedComparison
from regulens.stats.claims import ClaimVerdict
from regulens.stats.factorial import Estimated, FactorAnswers
from regulens.stats.verdicts import Verdict
from regulens.study.analysis import StudyAnalysis
from regulens.study.claim_results import AnsweredClaim
from regulens.study.grid import level_label

_VERDICTS = (*(f"mixed: {word}" for word in get_args(Verdict)), *get_args(Verdict))
_MADE_UP = {"equivalent, above zero": "equivalent", "equivalent, below zero": "equivalent"}
_NOT_TESTABLE = "not testable here"


def collapse_sentences(study: StudySpec, found: StudyAnalysis) -> list[str]:
    """Say which networks failed to train how often, and what follows for their means."""
    cells = [cell for cell in found.analysis.cells if cell.collapse is not None]
    failed = [cell for cell in cells if cell.collapse is not None and cell.collapse.estimate > 0]
    if not cells:
        return []
    if not failed:
        return [f"None of the {sum(cell.runs for cell in cells)} runs failed to train (collapsed or diverged)."]
    rates = "; ".join(
        f"{cell_text(study, cell.levels)} {failures_text(cell, found, f' of {cell.runs}')}" for cell in failed
    )
    return [
        f"Runs that failed to train (collapsed or diverged), with the 95 % interval of their rate: {rates}. A mean of "
        "all runs mixes this rate with the mean of the runs that trained, and its interval covers both, also for a "
        "network of which no run failed."
    ]


def comparison_sentence(study: StudySpec, each: NamedComparison, found: StudyAnalysis) -> Paragraph:
    """State the result of a comparison: both answers, what would undo it, and what it holds for."""
    cells = tuple(cell_text(study, {**each.where, each.factor: level}) for level in (each.a, each.b))
    pair = pair_of(study, each, found)
    if pair is None:
        start = f"At {cell_text(study, each.where)}, " if each.where else ""
        a, b = (level_label(each.factor, level) for level in (each.a, each.b))
        return Paragraph(f"{start}{a} and {b} cannot be compared: {each.reason}.", cells=cells)
    said = [first_answer(pair), second_answer(pair), undone(pair), _holds(study, pair.over, found)]
    return Paragraph(" ".join(filter(None, said)), cells=cells)


def interaction_sentences(found: StudyAnalysis, unit: Unit) -> list[str]:
    """Put the simple effects of a level side by side, with the estimate of how they differ: exploratory."""
    compared = [answers for answers in found.factors if answers.factor == found.declared.factor]
    sentences = [_interaction_sentence(each, answers, unit) for answers in compared for each in answers.interactions]
    return [sentence[0].upper() + sentence[1:] for sentence in sentences if sentence]


def _interaction_sentence(each: Estimated, answers: FactorAnswers, unit: Unit) -> str:
    """Say how a simple effect differs between two levels of one other factor; nothing where an estimate is missing."""
    if each.simultaneous is None or each.effect.by is None or each.effect.where:
        return ""
    path, level, reference = each.effect.by
    simple = {
        one.effect.where.get(path): one.simultaneous
        for one in answers.simple
        if one.effect.a == each.effect.a and len(one.effect.where) == 1
    }
    at, before = simple.get(level), simple.get(reference)
    if at is None or before is None:
        return ""
    return (
        f"{level_label(each.effect.factor, each.effect.a)} changes {unit.name} by {unit.difference(before)} at "
        f"{level_label(path, reference)} and by {unit.difference(at)} at {level_label(path, level)}, a "
        f"difference of {unit.difference(each.simultaneous)}."
    )


def claim_sentence(study: StudySpec, claim: AnsweredClaim, found: StudyAnalysis) -> Paragraph:
    """Say what became of a claim and of each of its parts, and for what that holds."""
    spec = claim.claim.spec
    if claim.judged is None:
        return Paragraph(f"{spec.id}: {_NOT_TESTABLE}: {claim.reason}.")
    parts = [
        f"{part.text}: {unit_of(each.response).difference(part.interval)}"
        + (f" in {NAMES[each.response]}" if each.response != found.declared.response else "")
        + ("" if part.verdict == claim.judged.verdict else f" ({part.verdict})")
        for each, part in zip(claim.claim.contrasts, claim.judged.parts, strict=True)
    ]
    reasons = dict.fromkeys(part.few.reason for part in claim.parts if part.few is not None)
    few = f" Too few runs: {'; '.join(reasons)}." if reasons and claim.judged.verdict == "too few runs" else ""
    return Paragraph(f"{spec.id}: {claim.judged.verdict}. {'; '.join(parts)}.{few} {_claim_holds(study, claim, found)}")


def _claim_holds(study: StudySpec, claim: AnsweredClaim, found: StudyAnalysis) -> str:
    """Say what a claim's verdict holds for, and its regions of equivalence."""
    held: dict[str, None] = {}
    for each, part in zip(claim.claim.contrasts, claim.parts, strict=True):
        unit = unit_of(each.response)
        rope = f"ROPE ±{unit.size(each.rope)}" if each.rope else "no ROPE"
        held[f"{conditions(study, found, part.over, each.response)}; {rope}"] = None
    text = "; ".join(held)
    return f"{text[0].upper()}{text[1:]}."


def _holds(study: StudySpec, over: tuple[Population, ...], found: StudyAnalysis) -> str:
    """Say what a comparison's verdict holds for, and the region of equivalence."""
    text = conditions(study, found, over)
    return f"{text[0].upper()}{text[1:]}; {margin_text(found, unit_of(found.declared.response))}."


def verdict_counts(found: StudyAnalysis) -> str:
    """Say in a sentence which verdicts the comparisons have, and the claims."""
    results = [each.result for each in found.analysis.comparisons if each.result is not None]
    parts = []
    if results:
        counts = Counter(_MADE_UP.get(each.word, each.word) for each in results)
        parts.append(f"{_of('comparison', len(results))}, {_counted(counts, _VERDICTS)}")
    if found.claims:
        counts = Counter(claim.judged.verdict if claim.judged else _NOT_TESTABLE for claim in found.claims)
        parts.append(f"{_of('claim', len(found.claims))}, {_counted(counts, (*get_args(ClaimVerdict), _NOT_TESTABLE))}")
    return "; ".join(parts) + "." if parts else ""


def _of(noun: str, number: int) -> str:
    return f"of {number} {noun}s" if number > 1 else f"of one {noun}"


def _counted(counts: Counter[str], words: Sequence[str]) -> str:
    return ", ".join(f"{counts[word]} {'with ' * (word == 'too few runs')}{word}" for word in words if counts[word])


def methods_texts(study: StudySpec, found: StudyAnalysis, sources: Sequence[str]) -> list[str]:
    """Return the paragraphs on statistics, ready to paste: the design, the comparisons, the claims."""
    texts = [_design_text(study, found, sources)]
    if found.analysis.comparisons:
        texts.append(_comparing_text(found, unit_of(found.declared.response)))
    if found.claims:
        texts.append(_claiming_text(found))
    return texts


def _design_text(study: StudySpec, found: StudyAnalysis, sources: Sequence[str]) -> str:
    declared, unit = found.declared, unit_of(found.declared.response)
    text = (
        f"Each network was trained from {study.seeds} seed{'' if study.seeds == 1 else 's'}, which vary "
        f"{joined_words(sources)}. The response is the {unit.name} after the last epoch; {declared.direction} is "
        f"better. The {ESTIMANDS[declared.primary]} decides."
    )
    if found.analysis.design.rates:
        text += (
            f" A run fails to train if it collapses (its validation accuracy is not above {bound_text(declared)}) or "
            "diverges (a response is not finite); none is dropped."
        )
        if declared.primary == "trained":
            text += (
                " A comparison of the runs that trained is one of those runs, not the effect on every run; how often "
                "networks train is its second answer, with a verdict of its own."
            )
    return f"{text} Verdicts are {conditions(study, found)}; {margin_text(found, unit)}."


def _claiming_text(found: StudyAnalysis) -> str:
    alpha = (1 - found.level) * found.declared.claims_share
    return (
        f"The {len(found.claims)} claims fixed beforehand are a second family with an error of {percent(alpha)}, "
        "judged by intersection-union tests (Bonferroni over claims, and over the parts where one speaks against a "
        "claim)."
    )


def _comparing_text(found: StudyAnalysis, unit: Unit) -> str:
    """Say by which intervals comparisons are judged, and how."""
    return (
        f"The comparisons declared beforehand are one family. {levels_text(found)} The intervals are "
        f"{_interval_text(found)}. {rule_text(found, unit)} The three-way partition is that of Goeman, Solari and "
        "Stijnen (2010). p values are those of the same intervals inverted, reported for information."
    )


def _interval_text(found: StudyAnalysis) -> str:
    """Name the interval of a difference, which depends on the estimand, on collapses and on pairing."""
    declared = found.declared
    if declared.primary == "median":
        return "of two medians by MOVER (Zou and Donner 2008), each median's made of order statistics"
    if declared.primary == "mean" and found.analysis.data.collapse is not None:
        return (
            "of the mixture of Wilson's interval of the collapse rate and of the mean of the runs that trained (MOVER; "
            "Zou and Donner 2008, Donner and Zou 2012)"
        )
    if "split" in declared.over:
        return (
            "Student's, of one paired difference for each split, the variance corrected for overlapping splits (Nadeau "
            "and Bengio 2003)"
        )
    if declared.paired:
        return "Student's, of the differences of runs of one seed"
    kind = "Welch's, of runs and images together" if "images" in declared.over else "Welch's"
    return f"{kind}, stretched on the side to which the runs of all networks are skewed"
