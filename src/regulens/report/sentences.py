"""The sentences of an analysis: each is made of a judged number and carries it."""

from __future__ import annotations

from collections.abc import Sequence

from regulens.report.document import Paragraph
from regulens.report.wording import NAMES, Unit, cell_text, unit_of
from regulens.spec import StudySpec
from regulens.stats.analysis import NamedComparison
from regulens.stats.factorial import Estimated, FactorAnswers
from regulens.study.analysis import StudyAnalysis
from regulens.study.claim_results import AnsweredClaim
from regulens.study.grid import level_label

_ESTIMANDS = {
    "mean": "mean over all runs, including collapsed ones",
    "trained": "mean over the non-collapsed runs",
    "median": "median over all runs",
}


def collapse_sentences(study: StudySpec, found: StudyAnalysis) -> list[str]:
    """Say which networks collapsed how often, and what follows for their means."""
    cells = [cell for cell in found.analysis.cells if cell.collapse is not None]
    runs = sum(cell.runs for cell in cells)
    collapsed = [cell for cell in cells if cell.collapse is not None and cell.collapse.estimate > 0]
    if not cells:
        return []
    if not collapsed:
        return [f"None of the {runs} runs collapsed; the intervals assume that collapse does not occur."]
    rates = "; ".join(
        f"{cell_text(study, cell.levels)} {round(cell.collapse.estimate * cell.runs)} of {cell.runs} "
        f"({100 * cell.collapse.low:.0f} to {100 * cell.collapse.high:.0f} %)"
        for cell in collapsed
        if cell.collapse is not None
    )
    text = f"Runs collapsed, with the 95 % interval of the rate: {rates}."
    if found.declared.primary == "mean":
        text += (
            " The mean over all runs therefore mixes the collapse rate with the mean of the non-collapsed runs, and "
            "its "
            "interval covers both, also for a network without a collapse, which so few runs do not rule out."
        )
    return [text]


def comparison_sentence(study: StudySpec, each: NamedComparison, found: StudyAnalysis, unit: Unit) -> Paragraph:
    """Say what a comparison came to."""
    start = f"At {cell_text(study, each.where)}, " if each.where else ""
    a, b = (level_label(each.factor, level) for level in (each.a, each.b))
    cells = tuple(cell_text(study, {**each.where, each.factor: level}) for level in (each.a, each.b))
    if each.result is None:
        return Paragraph(f"{start}{a} and {b} cannot be compared: {each.reason}.", cells=cells)
    result = each.result
    size = unit.difference(result.difference)
    if result.verdict in {"better", "worse"}:
        text = f"{start}{a} is {result.verdict} than {b}: {size}."
    elif result.verdict == "equivalent":
        text = f"{start}{a} and {b} are practically equivalent: {size}, within ±{unit.size(found.declared.rope)}."
    else:
        text = f"{start}{a} against {b} is undecided: {size}; {result.reason}."
    if found.analysis.design.primary == "mean" and result.rate is not None:
        text += f" Among non-collapsed runs: {unit.difference(result.trained.interval)}."
    return Paragraph(text, cells=cells)


def interaction_sentences(found: StudyAnalysis, unit: Unit) -> list[str]:
    """Put the simple effects of a level side by side, and say whether they are shown to differ."""
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
    shown = "differ" if each.nonzero else "are not shown to differ"
    return (
        f"{level_label(each.effect.factor, each.effect.a)} changes {unit.name} by {unit.difference(before)} at "
        f"{level_label(path, reference)} and by {unit.difference(at)} at {level_label(path, level)}; the two "
        f"{shown}: {unit.difference(each.simultaneous)}."
    )


def claim_sentence(claim: AnsweredClaim, found: StudyAnalysis) -> Paragraph:
    """Say what became of a claim and of each of its parts."""
    spec = claim.claim.spec
    if claim.judged is None:
        return Paragraph(f"{spec.id}: not testable here: {claim.reason}.")
    parts = [
        f"{part.text}: {unit_of(each.response).difference(part.interval)}"
        + (f" in {NAMES[each.response]}" if each.response != found.declared.response else "")
        + ("" if part.verdict == claim.judged.verdict else f" ({part.verdict})")
        for each, part in zip(claim.claim.contrasts, claim.judged.parts, strict=True)
    ]
    return Paragraph(f"{spec.id}: {claim.judged.verdict}. {'; '.join(parts)}.")


def verdict_counts(found: StudyAnalysis) -> str:
    """Say in a sentence how many comparisons are decided, and how many claims."""
    results = [each.result for each in found.analysis.comparisons if each.result is not None]
    parts = []
    if results:
        decided = sum(each.verdict != "undecided" for each in results)
        parts.append(
            f"{decided or 'none'} of the {len(results)} comparisons {'is' if decided <= 1 else 'are'} conclusive"
        )
    judged = [claim.judged for claim in found.claims if claim.judged is not None]
    if found.claims:
        counts = {word: sum(each.verdict == word for each in judged) for word in ("supported", "refuted", "undecided")}
        words = [f"{count} {word}" for word, count in counts.items() if count]
        untested = len(found.claims) - len(judged)
        words += [f"{untested} not testable here"] if untested else []
        parts.append(f"of {len(found.claims)} claims, {', '.join(words)}")
    return "; ".join(parts) + "." if parts else ""


def methods_text(study: StudySpec, found: StudyAnalysis, sources: Sequence[str]) -> str:
    """Return the paragraph on statistics, ready to paste."""
    declared, unit = found.declared, unit_of(found.declared.response)
    text = (
        f"Each network was trained from {study.seeds} seed{'' if study.seeds == 1 else 's'}, which vary {_and(sources)}"
        + ("" if "split" in study.vary else "; the split is fixed, and every statement is conditional on it")
        + f". The response is the {unit.name} after the last epoch; {declared.direction} is better. The "
        f"{_ESTIMANDS[declared.primary]}, decides."
    )
    if found.analysis.comparisons:
        text += f" {_comparing_text(found, unit)}"
    if found.claims:
        text += (
            f" {len(found.claims)} claims fixed beforehand are a second family, judged by intersection-union tests at "
            f"{100 * (1 - found.level):.2g} % (Bonferroni over claims, and over the parts where one refutes)."
        )
    return text


def _comparing_text(found: StudyAnalysis, unit: Unit) -> str:
    """Say by which intervals comparisons are judged, and how."""
    rope = found.declared.rope
    region = f"a region of practical equivalence of ±{unit.size(rope)}, equivalent if wholly inside" if rope else "zero"
    return (
        f"The {len(found.analysis.comparisons)} comparisons declared beforehand are one family, with simultaneous "
        f"{100 * found.level:.4g} % intervals (Bonferroni): {_interval_text(found)}. A network is called better or "
        f"worse if the interval lies wholly beyond {region}, and undecided otherwise. p values (studentized "
        "permutation tests, Holm) are reported for information; verdicts do not depend on them."
    )


def _interval_text(found: StudyAnalysis) -> str:
    """Name the interval of a difference, which depends on the estimand, on collapses and on pairing."""
    if found.declared.primary == "median":
        return "of two medians by MOVER (Zou and Donner 2008), each median's made of order statistics"
    collapse = any(cell.collapse is not None and cell.collapse.estimate > 0 for cell in found.analysis.cells)
    if collapse and found.declared.primary == "mean":
        return (
            "where runs collapse, of the mixture of Wilson's interval of the collapse rate and of the mean of the "
            "non-collapsed runs (MOVER; Zou and Donner 2008, Donner and Zou 2012)"
        )
    if found.declared.paired:
        return "of the mean difference of pairs of runs of one seed"
    return "Welch's, widened by Hall's (1992) transformation where the runs are skewed"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
