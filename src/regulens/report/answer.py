"""What a study comes to, in about ten lines for the end of a run: verdicts, claims, the chosen network and its test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from regulens.report.wording import Unit, cell_text, counted, unit_of
from regulens.results import Opening, RunResult
from regulens.spec import Level, StudySpec
from regulens.stats.analysis import NamedComparison
from regulens.stats.comparisons import Comparison
from regulens.stats.estimates import Summary, summarize
from regulens.study.analysis import StudyAnalysis
from regulens.study.grid import cell_label, level_label
from regulens.study.store import Selection

Judged = tuple[NamedComparison, Comparison]

_LINES = {"decided": 5, "undecided": 3, "chosen": 2}
_PLACES = 2
_NAMES = 8
_WORDS = {"better": "is better than", "worse": "is worse than", "equivalent": "is practically equivalent to"}


def answer_lines(
    study: StudySpec,
    found: StudyAnalysis,
    results: Sequence[RunResult],
    selections: Sequence[Selection],
    ledger: Sequence[Opening],
) -> list[str]:
    """Return what the analysis of a study says, the largest differences first; its report says the rest."""
    unit = unit_of(found.declared.response)
    judged = [(each, each.result) for each in found.analysis.comparisons if each.result is not None]
    margin = f", equivalence margin ±{unit.size(found.declared.rope)}" if found.declared.rope else ""
    lines = [f"{unit.name}, simultaneous {100 * found.level:.4g} % intervals{margin}:"] if judged else []
    lines += _decided(study, judged, unit)
    lines += _undecided(study, judged, unit)
    missing = len(found.analysis.comparisons) - len(judged)
    if missing:
        lines.append(f"not compared, as runs are missing: {counted(missing, 'pair')}")
    return [*lines, *_claims(found), *_chosen(selections, accuracies_on_test(study, results, ledger))]


def accuracies_on_test(study: StudySpec, results: Sequence[RunResult], ledger: Sequence[Opening]) -> dict[str, Summary]:
    """Return the accuracies on the test part, by the label of each refitted network that was tested."""
    opened = {each.run_id: each.test_accuracy for each in ledger if math.isfinite(each.test_accuracy)}
    values: dict[str, list[float]] = {}
    for run in results:
        if run.run_id in opened:
            values.setdefault(cell_label(run.spec, study), []).append(opened[run.run_id])
    return {label: summarize(accuracies) for label, accuracies in values.items()}


def _decided(study: StudySpec, judged: Sequence[Judged], unit: Unit) -> Iterator[str]:
    """Yield a line for each pair of levels that is decided, places of one verdict together."""
    places = _by_pair(judged)
    groups = [
        (pair, verdict, [each for each in group if each[1].verdict == verdict])
        for pair, group in places.items()
        for verdict in _WORDS
    ]
    decided = sorted((group for group in groups if group[2]), key=lambda group: -_largest(group[2]))
    shown = len(decided) if len(decided) <= _LINES["decided"] else _LINES["decided"] - 1
    for pair, verdict, group in decided[:shown]:
        yield _decided_line(
            study, group, f"{_names(group)[0]} {_WORDS[verdict]} {_names(group)[1]}", places[pair], unit
        )
    further: dict[str, list[str]] = {}
    for _, verdict, group in decided[shown:]:
        further.setdefault(f"{verdict} {'to' if verdict == 'equivalent' else 'than'} {_names(group)[1]}", []).append(
            _names(group)[0]
        )
    if further:
        yield "also " + "; ".join(f"{what}: {_listed(names)}" for what, names in further.items())


def _decided_line(
    study: StudySpec, group: Sequence[Judged], head: str, everywhere: Sequence[Judged], unit: Unit
) -> str:
    if len(group) == 1:
        return f"{head}{_at(study, group[0])}: {unit.difference(group[0][1].difference)}"
    if len(group) <= _PLACES:
        return f"{head}: " + "; ".join(f"{unit.difference(each[1].difference)}{_at(study, each)}" for each in group)
    by_size = sorted((each[1].difference for each in group), key=lambda interval: interval.estimate)
    least, most = (unit.difference(interval, word=False).partition(" ")[0] for interval in (by_size[0], by_size[-1]))
    return f"{head} at {len(group)} of {len(everywhere)} places: {least} to {most} {unit.word}".rstrip()


def _undecided(study: StudySpec, judged: Sequence[Judged], unit: Unit) -> Iterator[str]:
    """Yield a line for each undecided comparison, or one for all if they are many."""
    still_open = [each for each in judged if each[1].verdict == "undecided"]
    start = f"undecided with {counted(study.seeds, 'seed')}: "
    if len(still_open) <= _LINES["undecided"]:
        for each in still_open:
            a, b = _names([each])
            yield f"{start}{a} against {b}{_at(study, each)}: {unit.difference(each[1].difference)}"
        return
    everywhere = _by_pair(judged)
    against: dict[str, list[str]] = {}
    for pair, group in _by_pair(still_open).items():
        a, b = _names(group)
        where = "" if len(group) == len(everywhere[pair]) else _at(study, group[0])
        against.setdefault(b, []).append(f"{a} at {len(group)} places" if where and len(group) > 1 else f"{a}{where}")
    yield start + "; ".join(f"{_listed(names)} against {b}" for b, names in against.items())


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


def _by_pair(judged: Iterable[Judged]) -> dict[tuple[Level, Level], list[Judged]]:
    groups: dict[tuple[Level, Level], list[Judged]] = {}
    for each in judged:
        groups.setdefault((each[0].a, each[0].b), []).append(each)
    return groups


def _largest(group: Sequence[Judged]) -> float:
    return max(abs(result.difference.estimate) for _, result in group)


def _names(group: Sequence[Judged]) -> tuple[str, str]:
    """Return the two levels in words."""
    each = group[0][0]
    return level_label(each.factor, each.a), level_label(each.factor, each.b)


def _at(study: StudySpec, each: Judged) -> str:
    return f" at {cell_text(study, each[0].where)}" if each[0].where else ""


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMES:
        return f"{', '.join(names[: _NAMES - 1])} and {len(names) - _NAMES + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
