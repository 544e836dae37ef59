"""What a study's analysis says, in words and tables: every sentence is made of a judged number and carries it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from regulens.report.document import Block, Bullets, Heading, Paragraph, Table
from regulens.spec import Level, Response, StudySpec
from regulens.stats.analysis import CellSummary, NamedComparison
from regulens.stats.factorial import Estimated, FactorAnswers
from regulens.stats.intervals import Interval
from regulens.study.analysis import AnsweredClaim, StudyAnalysis
from regulens.study.grid import level_label

NAMES: dict[Response, str] = {
    "val_accuracy": "validation accuracy",
    "train_accuracy": "training accuracy",
    "val_loss": "validation loss",
    "train_loss": "training loss",
    "gap": "gap between training and validation accuracy",
    "train_seconds": "seconds of training",
}
_SHARES: set[str] = {"val_accuracy", "train_accuracy", "gap"}
_ESTIMANDS = {
    "mean": "mean over all runs, collapsed ones included",
    "trained": "mean among the runs that trained",
    "median": "median over all runs",
}
DASH = "–"


@dataclass(frozen=True)
class Unit:
    """How a response and its differences are written: accuracies as shares, their differences in percentage points."""

    name: str
    points: bool
    word: str

    def value(self, number: float) -> str:
        """Write a value of the response."""
        return f"{number:.4f}" if math.isfinite(number) else DASH

    def interval(self, interval: Interval | None) -> str:
        """Write a value with its bounds."""
        if interval is None or not math.isfinite(interval.estimate):
            return DASH
        if not math.isfinite(interval.low):
            return self.value(interval.estimate)
        return f"{self.value(interval.estimate)} ({self.value(interval.low)} to {self.value(interval.high)})"

    def difference(self, interval: Interval, signed: bool = True, word: bool = True) -> str:
        """Write a difference with its bounds, in points where the response is a share."""
        if not math.isfinite(interval.estimate):
            return DASH
        factor = 100 if self.points else 1
        digits = self._digits(interval, factor)
        sign = "+" if signed else ""
        text = minus(f"{factor * interval.estimate:{sign}.{digits}f}")
        if word and self.word:
            text += f" {self.word}"
        if not math.isfinite(interval.low):
            return text
        low, high = (minus(f"{factor * bound:.{digits}f}") for bound in (interval.low, interval.high))
        return f"{text} ({low} to {high})"

    def size(self, number: float) -> str:
        """Write a width, such as that of the region of practical equivalence."""
        return f"{100 * number:g} {self.word}" if self.points else f"{number:g}"

    @staticmethod
    def _digits(interval: Interval, factor: int) -> int:
        """Return as many decimals as tell the bounds apart: two figures of the interval's half-width."""
        half = factor * (interval.high - interval.low) / 2
        if not math.isfinite(half) or half <= 0:
            return 2
        return min(4, max(1, 1 - math.floor(math.log10(half)))) if half < 10 else 1


def unit_of(response: Response) -> Unit:
    """Return how a response is written."""
    shares = response in _SHARES
    return Unit(NAMES[response], shares, "points" if shares else "s" if response == "train_seconds" else "")


def minus(text: str) -> str:
    """Write a true minus sign, and no minus before a zero."""
    return text.lstrip("-+") if float(text) == 0 else text.replace("-", "−")


def results_blocks(study: StudySpec, found: StudyAnalysis) -> Iterator[Block]:
    """Say what the cells came to and how they compare."""
    unit = unit_of(found.declared.response)
    yield Heading("Results")
    yield _cells_table(study, found, unit)
    yield from map(Paragraph, _collapse_sentences(study, found))
    yield _spread_table(study, found, unit)
    if found.images:
        yield _images_table(found)
    if found.analysis.comparisons:
        yield Heading("Comparisons", 2)
        yield _comparisons_table(study, found, unit)
        yield _tests_table(study, found)
    for answers in found.factors:
        yield from _factor_blocks(study, answers, found, unit)
    if found.anova.sources:
        yield _variance_table(found)


def analysis_blocks(study: StudySpec, found: StudyAnalysis) -> Iterator[Block]:
    """Say in sentences what holds, what does not and what is undecided."""
    unit = unit_of(found.declared.response)
    yield Heading("Analysis")
    sentences = [_comparison_sentence(study, each, found, unit) for each in found.analysis.comparisons]
    if sentences:
        yield Bullets(tuple(sentences))
    yield from map(Paragraph, _interaction_sentences(found, unit))
    if found.ranking is not None:
        yield Paragraph(
            "A study with a single run of each network, drawn from these, would put the network with the best mean "
            f"first with probability {found.ranking.best:.2f}, and rank all {len(found.analysis.cells)} as their means "
            f"do with probability {found.ranking.order:.2f}."
        )
    if found.claims:
        yield Heading("Claims", 2)
        yield _claims_table(found)
        yield Bullets(tuple(_claim_sentence(claim, found) for claim in found.claims))
    for text in [*found.left_out, *found.analysis.warnings]:
        said = _plain(study, text)
        yield Paragraph(said[0].upper() + said[1:] + ("" if said.endswith(".") else "."), "note")


def _plain(study: StudySpec, text: str) -> str:
    """Name factors as the rest of the report does: depth, not model.depth."""
    for path in study.factors:
        text = text.replace(f"{path} ", f"{path.rpartition('.')[2].replace('_', ' ')} ")
    return text


def verdict_counts(found: StudyAnalysis) -> str:
    """Say in a sentence how many comparisons are decided, and how many claims."""
    results = [each.result for each in found.analysis.comparisons if each.result is not None]
    parts = []
    if results:
        decided = sum(each.verdict != "undecided" for each in results)
        parts.append(f"{decided} of {len(results)} comparisons are decided")
    judged = [claim.judged for claim in found.claims if claim.judged is not None]
    if found.claims:
        counts = {word: sum(each.verdict == word for each in judged) for word in ("supported", "refuted", "undecided")}
        words = [f"{count} {word}" for word, count in counts.items() if count]
        untested = len(found.claims) - len(judged)
        words += [f"{untested} not testable here"] if untested else []
        parts.append(f"of {len(found.claims)} claims, {', '.join(words)}")
    return "; ".join(parts) + "." if parts else ""


def cell_text(study: StudySpec, levels: Mapping[str, Level]) -> str:
    """Return a network's name in tables, of all levels, or of some: a place."""
    return ", ".join(level_label(path, levels[path]) for path in study.factors if path in levels) or study.name


def _place(study: StudySpec, where: Mapping[str, Level]) -> str:
    return f"at {cell_text(study, where)}" if where else ""


def _cells_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
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
        columns=("network", "n", "collapsed", "mean", "mean among trained", "median"),
        rows=tuple(rows),
        note="With 95 % intervals, each for itself; none where the runs are too few for one that holds."
        + (" Marked: the best mean." if selected is not None else ""),
        marked=() if selected is None else (selected,),
        name="cells",
    )


def _spread_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
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
        columns=("network", "sd", "interquartile mean", "best of 5", "gap, points"),
        rows=tuple(rows),
        note="Best of 5: the best that five runs are expected to have among them (of fewer, where there are not five). "
        "Gap: the mean of training minus validation accuracy over all runs, in points.",
        name="spread",
    )


def _best_of(cell: CellSummary, unit: Unit) -> str:
    return unit.value(cell.best_of[min(5, len(cell.best_of)) - 1])


def _collapse_sentences(study: StudySpec, found: StudyAnalysis) -> list[str]:
    cells = [cell for cell in found.analysis.cells if cell.collapse is not None]
    runs = sum(cell.runs for cell in cells)
    collapsed = [cell for cell in cells if cell.collapse is not None and cell.collapse.estimate > 0]
    if not cells:
        return []
    if not collapsed:
        return [f"None of the {runs} runs collapsed, and the intervals take it that these networks do not."]
    rates = "; ".join(
        f"{cell_text(study, cell.levels)} {round(cell.collapse.estimate * cell.runs)} of {cell.runs} "
        f"({100 * cell.collapse.low:.0f} to {100 * cell.collapse.high:.0f} %)"
        for cell in collapsed
        if cell.collapse is not None
    )
    text = f"Runs collapsed, with the 95 % interval of the rate: {rates}."
    if found.declared.primary == "mean":
        text += (
            " So the mean over all runs is a mixture of the collapse rate and the mean among runs that trained, and "
            "its interval carries both; of a network without a collapse, too, for so few runs do not exclude it."
        )
    return [text]


def _images_table(found: StudyAnalysis) -> Table:
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
        caption="Where the spread between runs that trained comes from, and their accuracy on new seeds and new images",
        columns=("network", "sd observed", "of the finite images", "between runs", "over seeds and images"),
        rows=tuple(rows),
        note="Standard deviations in points. The images of the validation part are a sample too: on other images runs "
        "would differ by the third figure (Jordan 2023). The last column is the mean with its 95 % interval over seeds "
        "and images together.",
        name="images",
    )


def _comparisons_table(study: StudySpec, found: StudyAnalysis, unit: Unit) -> Table:
    rows: list[tuple[str, ...]] = []
    for each, place, name in _named(study, found):
        if each.result is None:
            rows.append((place, name, DASH, DASH, DASH, each.reason))
            continue
        intervals = (each.result.difference, each.result.unadjusted, each.result.trained)
        rows.append((place, name, *(unit.difference(one, word=False) for one in intervals), each.result.verdict))
    rope = found.declared.rope
    rule = f"beyond ±{unit.size(rope)} better or worse, within it equivalent" if rope else "the sign decides"
    return Table(
        caption=f"Differences in {unit.name}" + (", in points" if unit.points else ""),
        columns=("where", "", "difference", "95 % alone", "among trained", "verdict"),
        rows=tuple(rows),
        note=f"The {len(rows)} intervals of the difference hold together with {100 * found.level:.4g} % (Bonferroni), "
        f"so do those among trained; the verdict depends on the first alone: {rule}, otherwise undecided.",
        left=(1, 5),
        name="comparisons",
    )


def _tests_table(study: StudySpec, found: StudyAnalysis) -> Table:
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
                f"{better.estimate:.2f} ({better.low:.2f} to {better.high:.2f})",
                minus(f"{result.effect_size:.2f}") if math.isfinite(result.effect_size) else DASH,
                _p_text(result.p),
                _p_text(result.p_holm),
                _p_text(result.p_brunner_munzel),
            )
        )
    none = sorted({each.result.p_reason for each in found.analysis.comparisons if each.result and each.result.p_reason})
    return Table(
        caption="The same comparisons by probability, effect size and test",
        columns=("where", "", "P(better)", "g", "p", "p (Holm)", "p (Brunner-Munzel)"),
        rows=tuple(rows),
        note="P(better): of a run of the first against one of the second, ties half (Newcombe 2006). g: Hedges' "
        "standardised difference. p: studentised permutation test of equal means; by Holm's method over the family. "
        "None of these decides." + "".join(f" {reason[0].upper()}{reason[1:]}." for reason in none),
        left=(1,),
        name="tests",
    )


def _named(study: StudySpec, found: StudyAnalysis) -> Iterator[tuple[NamedComparison, str, str]]:
    """Yield each comparison with its place and its name."""
    for each in found.analysis.comparisons:
        place = cell_text(study, each.where) if each.where else DASH
        yield each, place, f"{level_label(each.factor, each.a)} against {level_label(each.factor, each.b)}"


def _p_text(p: float) -> str:
    if math.isnan(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _comparison_sentence(study: StudySpec, each: NamedComparison, found: StudyAnalysis, unit: Unit) -> Paragraph:
    place = _place(study, each.where)
    start = f"{place[0].upper()}{place[1:]}, " if place else ""
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
    if found.analysis.design.primary == "mean" and result.collapse is not None:
        text += f" Among the runs that trained: {unit.difference(result.trained)}."
    return Paragraph(text, cells=cells)


def _factor_blocks(study: StudySpec, answers: FactorAnswers, found: StudyAnalysis, unit: Unit) -> Iterator[Block]:
    """Give the effects of one factor: simple ones first where others stand beside it, then interactions, then means."""
    name = answers.factor.rpartition(".")[2].replace("_", " ")
    several = len(study.factors) > 1
    rows: list[tuple[str, ...]] = []
    if several and answers.factor != found.declared.factor:
        rows += [("simple effect", *_effect_row(study, each, unit)) for each in answers.simple]
    rows += [("interaction", *_effect_row(study, each, unit)) for each in answers.interactions if _once(answers, found)]
    rows += [("marginal mean", *_effect_row(study, each, unit)) for each in answers.marginal if several]
    rows += [("main effect", *_effect_row(study, each, unit)) for each in answers.main]
    warning = (
        " The main effects are means of effects that differ (an interaction is shown): read the simple ones."
        if answers.interacting
        else ""
    )
    yield Heading(f"What {name} does", 2)
    yield Table(
        caption=f"Effects of {name} on {unit.name}" + (", differences in points" if unit.points else ""),
        columns=("kind", "effect", "where", "estimate, with its interval"),
        rows=tuple(rows),
        note=f"Each kind is a family whose intervals hold together with {100 * found.level:.4g} %; means are "
        f"unweighted over networks.{warning}",
        left=(1, 2),
        name=f"effects-{name.replace(' ', '-')}",
    )


def _once(answers: FactorAnswers, found: StudyAnalysis) -> bool:
    """Tell whether interactions are listed with this factor: with the compared one only, each once."""
    return answers.factor == found.declared.factor


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


def _interaction_sentences(found: StudyAnalysis, unit: Unit) -> list[str]:
    """Put the simple effects of a level side by side, and say whether they are shown to differ."""
    sentences = []
    for answers in found.factors:
        if answers.factor != found.declared.factor:
            continue
        for each in answers.interactions:
            if each.simultaneous is None or each.effect.by is None or each.effect.where:
                continue
            path, level, reference = each.effect.by
            simple = {
                one.effect.where.get(path): one.simultaneous
                for one in answers.simple
                if one.effect.a == each.effect.a and len(one.effect.where) == 1
            }
            at, before = simple.get(level), simple.get(reference)
            if at is None or before is None:
                continue
            shown = "differ" if each.nonzero else "are not shown to differ"
            sentences.append(
                f"{level_label(each.effect.factor, each.effect.a)} changes {unit.name} by {unit.difference(before)} at "
                f"{level_label(path, reference)} and by {unit.difference(at)} at {level_label(path, level)}; the two "
                f"{shown}: {unit.difference(each.simultaneous)}."
            )
    return [sentence[0].upper() + sentence[1:] for sentence in sentences]


def _variance_table(found: StudyAnalysis) -> Table:
    rows = [
        (
            " x ".join(name.rpartition(".")[2].replace("_", " ") for name in source.factors),
            f"{source.omega_squared:.3f}",
            _p_text(source.robust_p),
        )
        for source in found.anova.sources
    ]
    return Table(
        caption="Shares of the variance over all runs",
        columns=("source", "omega squared", "p"),
        rows=tuple(rows),
        note="Type III sums of squares; p of the ANOVA-type statistic, which stands unequal variances (Brunner, Dette "
        "and Munk 1997). A description of these networks and levels, unadjusted.",
        name="variance",
    )


def _claims_table(found: StudyAnalysis) -> Table:
    rows = []
    for claim in found.claims:
        verdict = claim.judged.verdict if claim.judged else "not testable here"
        rows.append((claim.claim.spec.id, claim.claim.spec.text, verdict, seeds_text(claim)))
    return Table(
        caption="Claims, fixed before the runs, and what became of them",
        columns=("id", "claim", "verdict", "seeds to decide"),
        rows=tuple(rows),
        note=f"A family of their own, which errs with at most {100 * (1 - found.level):.2g} %. A claim is supported if "
        "all its parts are and refuted if one is: if its interval lies wholly below the edge of practical equivalence, "
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
        return "cannot be told from so few"
    low, high, most = claim.seeds.low, claim.seeds.high, claim.seeds.max_seeds
    if low is None:
        return f"> {most}"
    return f"{low} to {high}" if high is not None else f"{low} to > {most}"


def _claim_sentence(claim: AnsweredClaim, found: StudyAnalysis) -> Paragraph:
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


def methods_text(study: StudySpec, found: StudyAnalysis, sources: Sequence[str]) -> str:
    """Return the paragraph on statistics, ready to paste."""
    declared, unit = found.declared, unit_of(found.declared.response)
    collapse = any(cell.collapse is not None and cell.collapse.estimate > 0 for cell in found.analysis.cells)
    family = len(found.analysis.comparisons)
    text = (
        f"Each network was trained from {study.seeds} seed{'' if study.seeds == 1 else 's'}, which vary {_and(sources)}"
        + ("" if "split" in study.vary else "; the split is fixed, and every statement is conditional on it")
        + f". The response is the {unit.name} after the last epoch; {declared.direction} is better. The "
        f"{_ESTIMANDS[declared.primary]}, decides. "
    )
    if family:
        text += (
            f"The {family} comparisons declared beforehand are one family, with simultaneous {100 * found.level:.4g} % "
            "intervals (Bonferroni): "
            + (
                "where runs collapse, of the mixture of Wilson's interval of the collapse rate and of the mean among "
                "runs that trained (MOVER; Zou and Donner 2008, Donner and Zou 2012)"
                if collapse and declared.primary == "mean"
                else "of the mean difference of pairs of runs of one seed"
                if declared.paired
                else "Welch's, widened by Hall's (1992) transformation where the runs are skewed"
            )
            + ". A network is called better or worse if the interval lies wholly beyond "
            + (
                f"a region of practical equivalence of ±{unit.size(declared.rope)}, equivalent if wholly inside, "
                if declared.rope
                else "zero, "
            )
            + "and undecided otherwise; p values stand beside (studentised permutation tests, Holm) and decide "
            "nothing. "
        )
    if found.claims:
        text += (
            f"{len(found.claims)} claims fixed beforehand are a second family, judged by intersection-union tests at "
            f"{100 * (1 - found.level):.2g} % (Bonferroni over claims, and over the parts where one refutes). "
        )
    return text.strip()


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
