"""What a study comes to, in about ten lines for the end of a run: verdicts, claims, the chosen network and its test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from regulens.report.conditions import conditions, family_of, margin_text
from regulens.report.pairs import pairs_of
from regulens.report.verdicts import RATES, Pair, runs_text, undoing_points
from regulens.report.wording import Unit, counted, percent, unit_of
from regulens.results import Opening, RunResult
from regulens.spec import StudySpec
from regulens.stats.estimates import Summary, summarize
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import cell_label
from regulens.study.store import Selection

_LINES = {"decided": 5, "undecided": 3, "chosen": 2}
_PLACES = 2
_NAMES = 8
_WORDS = {
    "mixed: better": "mixed: {a} is better than {b} when it trains, but trains less often",
    "mixed: better (size open)": "mixed: {a} is better than {b} when it trains (size open), but trains less often",
    "mixed: worse": "mixed: {a} is worse than {b} when it trains, but trains more often",
    "mixed: worse (size open)": "mixed: {a} is worse than {b} when it trains (size open), but trains more often",
    "better": "{a} is better than {b}",
    "worse": "{a} is worse than {b}",
    "equivalent": "{a} is practically equivalent to {b}",
    "better (size open)": "{a} is better than {b}, size open",
    "worse (size open)": "{a} is worse than {b}, size open",
}
"""The verdicts that are told line by line, by the word of each."""
_OPEN = ("undecided", "too few runs")


def answer_lines(
    study: StudySpec,
    found: StudyAnalysis,
    results: Sequence[RunResult],
    selections: Sequence[Selection],
    ledger: Sequence[Opening],
) -> list[str]:
    """Return what the analysis of a study says, the largest differences first; its report says the rest."""
    unit = unit_of(found.declared.response)
    pairs = [pair for _, pair in pairs_of(study, found) if pair is not None]
    lines = [_head(study, found, unit)] if pairs else []
    lines += _decided(pairs, unit)
    for verdict in _OPEN:
        lines += _open([pair for pair in pairs if pair.result.verdict == verdict], pairs, verdict, study.seeds)
    lines += _how_often(pairs)
    missing = len(found.analysis.comparisons) - len(pairs)
    if missing:
        lines.append(f"not compared, as runs are missing: {counted(missing, 'pair')}")
    return [*lines, *_claims(found), *_chosen(selections, accuracies_on_test(study, results, ledger))]


def _head(study: StudySpec, found: StudyAnalysis, unit: Unit) -> str:
    """Say what is compared, by which intervals, and what the verdicts hold for."""
    held = conditions(study, found)
    level = percent(1 - family_of(found).alpha_of_one)
    what = f"{unit.name}{runs_text(found.analysis.design)}"
    return f"{what}, {held}; {margin_text(found, unit)}, intervals of {level}:"


def accuracies_on_test(study: StudySpec, results: Sequence[RunResult], ledger: Sequence[Opening]) -> dict[str, Summary]:
    """Return the accuracies on the test part, by the label of each refitted network that was tested."""
    opened = {each.run_id: each.test_accuracy for each in ledger if math.isfinite(each.test_accuracy)}
    values: dict[str, list[float]] = {}
    for run in results:
        if run.run_id in opened:
            values.setdefault(cell_label(run.spec, study), []).append(opened[run.run_id])
    return {label: summarize(accuracies) for label, accuracies in values.items()}


def _word(pair: Pair) -> str:
    return f"mixed: {pair.result.verdict}" if pair.result.mixed else pair.result.verdict


def _decided(pairs: Sequence[Pair], unit: Unit) -> Iterator[str]:
    """Yield a line for each pair of levels that is decided, places of one verdict together."""
    places = _by_names(pairs)
    groups = [
        (names, word, [pair for pair in group if _word(pair) == word])
        for names, group in places.items()
        for word in _WORDS
    ]
    decided = sorted((group for group in groups if group[2]), key=lambda group: -_largest(group[2]))
    shown = len(decided) if len(decided) <= _LINES["decided"] else _LINES["decided"] - 1
    for names, word, group in decided[:shown]:
        yield _decided_line(group, _WORDS[word].format(a=names[0], b=names[1]), places[names], unit) + _undone(group)
    further: dict[str, list[str]] = {}
    for (a, b), word, _ in decided[shown:]:
        further.setdefault(f"{word} {'to' if word == 'equivalent' else 'than'} {b}", []).append(a)
    if further:
        yield "also " + "; ".join(f"{what}: {_listed(names)}" for what, names in further.items())


def _decided_line(group: Sequence[Pair], head: str, everywhere: Sequence[Pair], unit: Unit) -> str:
    if len(group) == 1:
        return f"{head}{_at(group[0])}: {group[0].size}"
    if len(group) <= _PLACES:
        return f"{head}: " + "; ".join(f"{pair.size}{_at(pair)}" for pair in group)
    by_size = sorted((pair.result.difference for pair in group), key=lambda interval: interval.estimate)
    least, most = (unit.difference(interval, word=False).partition(" ")[0] for interval in (by_size[0], by_size[-1]))
    return f"{head} at {len(group)} of {len(everywhere)} places: {least} to {most} {unit.word}".rstrip()


def _undone(group: Sequence[Pair]) -> str:
    """Say which difference of collapse rates would undo the most sensitive verdict of a group."""
    known = [pair for pair in group if pair.result.sensitivity and math.isfinite(pair.result.sensitivity.difference)]
    if not known:
        return ""
    first = min(known, key=lambda pair: abs(pair.result.sensitivity.difference) if pair.result.sensitivity else 0.0)
    return f"; undone by collapse rates {undoing_points(first)} points apart"


def _open(still_open: Sequence[Pair], pairs: Sequence[Pair], verdict: str, seeds: int) -> Iterator[str]:
    """Yield a line for each comparison of one verdict that decides nothing, or one for all if they are many."""
    start = f"{verdict} with {counted(seeds, 'seed')}: "
    more = max((pair.result.more for pair in still_open), default=0)
    end = f"; {more} more of each" if more else ""
    if len(still_open) <= _LINES["undecided"]:
        for pair in still_open:
            yield f"{start}{pair.a} against {pair.b}{_at(pair)}: {pair.size}{end}"
        return
    everywhere = _by_names(pairs)
    against: dict[str, list[str]] = {}
    for (a, b), group in _by_names(still_open).items():
        where = "" if len(group) == len(everywhere[a, b]) else _at(group[0])
        against.setdefault(b, []).append(f"{a} at {len(group)} places" if where and len(group) > 1 else f"{a}{where}")
    yield start + "; ".join(f"{_listed(names)} against {b}" for b, names in against.items()) + end


def _how_often(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield one line on how often networks train, where any run failed to or anything is decided."""
    rates = [(pair, pair.result.rate.verdict) for pair in pairs if pair.result.rate is not None]
    known = [(pair, verdict) for pair, verdict in rates if verdict not in {None, "undecided", "too few runs"}]
    if not known and not any(any(pair.failed) for pair, _ in rates):
        return
    said = [f"{RATES[verdict or 'undecided'].format(a=pair.a, b=pair.b)}{_at(pair)}" for pair, verdict in known]
    still_open = len(rates) - len(known)
    said = said[: _LINES["undecided"]] + [f"{len(said) - _LINES['undecided']} more"] * (len(said) > _LINES["undecided"])
    said += [f"open for {still_open} of {counted(len(rates), 'pair')}"] if still_open else []
    yield f"how often they train: {'; '.join(said)}"


def _claims(found: StudyAnalysis) -> Iterator[str]:
    """Yield the verdicts on the claims, those of one verdict together."""
    verdicts: dict[str, list[str]] = {}
    for claim in found.claims:
        verdict = claim.judged.verdict if claim.judged is not None else "not testable here"
        verdicts.setdefault(verdict, []).append(claim.claim.spec.id)
    if verdicts:
        yield "claims " + "; ".join(f"{verdict}: {_listed(names)}" for verdict, names in verdicts.items())


def _chosen(selections: Sequence[Selection], tested: Mapping[str, Summary]) -> Iterator[str]:
    """Yield a line for each chosen network: where a study chooses on several sets of images, of the first."""
    for selection in selections[: _LINES["chosen"]]:
        among = f" on {selection.among}" if selection.among else ""
        yield f"chosen on validation{among}: {selection.label}; {_tested(tested.get(selection.label))}"
    if len(selections) > _LINES["chosen"]:
        yield f"and {len(selections) - _LINES['chosen']} more, for other images"


def _tested(test: Summary | None) -> str:
    if test is None:
        return "not tested yet"
    spread = f"{test.low:.4f} to {test.high:.4f} in {test.n} refits" if test.n > 1 else "one refit"
    return f"test accuracy {test.mean:.4f} ({spread})"


def _by_names(pairs: Iterable[Pair]) -> dict[tuple[str, str], list[Pair]]:
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.a, pair.b), []).append(pair)
    return groups


def _largest(group: Sequence[Pair]) -> float:
    return max(abs(pair.result.difference.estimate) for pair in group)


def _at(pair: Pair) -> str:
    return f" at {pair.place}" if pair.place else ""


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMES:
        return f"{', '.join(names[: _NAMES - 1])} and {len(names) - _NAMES + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
