"""A study that grows, look by look, until its comparisons and claims are decided or its seeds are used up."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path

from regulens.errors import UserError, check_type
from regulens.executors.base import Executor
from regulens.spec import StudySpec
from regulens.stats.verdicts import DECIDED
from regulens.study.analysis import StudyAnalysis, analyse_study
from regulens.study.claim_results import UNSETTLED
from regulens.study.looks import begun_text, declared_looks, look_level, record_look
from regulens.study.protocol import run_protocol
from regulens.study.runner import Note, OnEvent
from regulens.study.store import DATABASE, Store

FIRST_LOOK = 5


def default_looks(max_seeds: int) -> tuple[int, ...]:
    """Return looks at 5 seeds, at twice as many each time, and at the most: 5, 10, 20, 29 for 29.

    Raises:
        UserError: if that is fewer than two seeds.
    """
    if max_seeds < 2:
        raise UserError(f"max-seeds = {max_seeds}: an interval needs two runs of a network; allow at least 2")
    looks, seeds = [], FIRST_LOOK
    while seeds < max_seeds:
        looks.append(seeds)
        seeds *= 2
    return (*looks, max_seeds)


def run_until_decided(
    study: StudySpec,
    folder: Path,
    looks: Sequence[int],
    *,
    executor: Executor,
    on_event: OnEvent,
    device: str = "cpu",
) -> StudySpec:
    """Train all networks to the next look, judge, and go on while something is undecided; then choose, refit and test.

    The looks are stored before the first, and the error is spent over them, so that one may stop early. An interrupted
    study goes on where it was. For one that was begun without declared looks they share what its report has left of
    the error; what that costs is said.

    Raises:
        UserError: if the study was begun with other looks, or they do not increase from 2 on.
    """
    if isinstance(looks, str | bytes) or not isinstance(looks, Sequence):
        raise UserError(f"looks must be a list of numbers of seeds, such as [5, 10, 20], got {type(looks).__name__}")
    for seeds in looks:
        check_type(seeds, Integral, "looks", "a list of whole numbers")
    if not looks or looks[0] < 2 or list(looks) != sorted(set(looks)):
        raise UserError(f"looks = {', '.join(map(str, looks))}: must be increasing numbers of seeds from 2 on")
    declared = tuple(map(int, looks))
    if (folder / DATABASE).is_file():
        store = Store(folder)
        declared = declared_looks(store, declared)
        cost = begun_text(store, study, declared)
        if cost:
            on_event(Note(cost))
    for seeds in declared:
        study = study.model_copy(update={"seeds": seeds})
        study = run_protocol(study, folder, executor, on_event, device, only_train=True)
        store = Store(folder)
        record_look(store, study, declared)
        found = analyse_study(study, store.results(), folder, look_level(store, study))
        still_open = undecided(found)
        on_event(Note(_look_text(study.seeds, found.level, still_open)))
        if not still_open:
            break
    else:
        on_event(
            Note(
                f"{len(still_open)} cannot be decided at this cost, {declared[-1]} seeds: they lie too near an "
                "edge, or spread too widely; `regulens plan --power` and the report say how many seeds they need"
            )
        )
    return run_protocol(study, folder, executor, on_event, device)


def undecided(found: StudyAnalysis) -> list[str]:
    """Name the comparisons and claims that are open, also those of which only the direction is known.

    What cannot be tested here is not waited for.
    """
    named = [
        f"{each.a} against {each.b}" + "".join(f", {factor} {level}" for factor, level in each.where.items())
        for each in found.analysis.comparisons
        if each.result is not None and each.result.verdict not in DECIDED
    ]
    return named + [
        f"claim {claim.claim.spec.id}" for claim in found.claims if claim.judged and claim.judged.verdict in UNSETTLED
    ]


def _look_text(seeds: int, level: float, still_open: Sequence[str]) -> str:
    what = f"{len(still_open)} open ({'; '.join(still_open[:3])}{' ...' if len(still_open) > 3 else ''})"
    return (
        f"interim analysis at {seeds} seeds, error of {100 * (1 - level):.3g} %: "
        f"{what if still_open else 'all is decided'}"
    )
