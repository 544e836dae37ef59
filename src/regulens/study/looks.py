"""The looks at a growing study: which were taken, at which level intervals hold, and what is left of the error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from regulens.errors import UserError
from regulens.spec import StudySpec
from regulens.stats.analysis import declared_pairs
from regulens.stats.design import LEVEL
from regulens.stats.looks import Taken, share_at, spent
from regulens.study.claims import declared_claims
from regulens.study.declared import declared_analysis
from regulens.study.grid import levels_of, planned
from regulens.study.store import Look, Store, now

ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class StudyLooks:
    """The looks at one study.

    Attributes:
        taken: in order.
        declared: numbers of seeds named before the first of them was taken; empty where none were.
        tail: the one-sided error of the smallest statement of the study, over all looks.
    """

    taken: tuple[Taken, ...]
    declared: tuple[int, ...]
    tail: float

    def share(self, seeds: int) -> float:
        """Return the share of the error at which the intervals with so many seeds are made: of a look taken, or next.

        Before the next look is complete, its intervals are those of the look taken at as many seeds or more.
        """
        for look in self.taken:
            if look.seeds >= seeds:
                return look.share
        return share_at(seeds, self.taken, self.declared, self.tail)

    def level(self, seeds: int) -> float:
        """Return the simultaneous level of all statements together at a look at so many seeds."""
        return 1 - ALPHA * self.share(seeds)

    def after(self, seeds: int) -> StudyLooks:
        """Return the looks with one more taken; the same where it is no new one."""
        if self.taken and seeds <= self.taken[-1].seeds:
            return self
        return replace(self, taken=(*self.taken, Taken(seeds, self.share(seeds))))

    @property
    def spent(self) -> float:
        """Which part of the error the looks taken have spent together."""
        return spent(self.taken, self.tail)


def looks_of(store: Store | None, study: StudySpec) -> StudyLooks:
    """Return the looks at a study; without a store, of one that is not begun."""
    records = store.looks() if store is not None else []
    taken = tuple(Taken(look.seeds, _share(number, records)) for number, look in enumerate(records))
    return StudyLooks(taken, records[-1].declared if records else (), smallest_tail(study))


def look_level(store: Store, study: StudySpec) -> float:
    """Return the simultaneous level of all statements at the look at a study's seeds."""
    return looks_of(store, study).level(study.seeds)


def levels(store: Store, study: StudySpec) -> tuple[float, Callable[[int], float]]:
    """Return the level at the look at a study's seeds, and those of later looks, by their seeds."""
    looks = looks_of(store, study)
    return looks.level(study.seeds), looks.after(study.seeds).level


def record_look(store: Store, study: StudySpec, declared: tuple[int, ...] = ()) -> None:
    """Enter that all runs of a study's seeds are there to be looked at; the same number again is no new look.

    Args:
        store: of the study.
        study: with as many seeds as were run.
        declared: the numbers of seeds to look at, named before the first of them was taken; later ones are ignored.
    """
    before = looks_of(store, study)
    before = replace(before, declared=before.declared or declared)
    after = before.after(study.seeds)
    if after != before:
        share, total = after.taken[-1].share, after.spent
        store.save_look(Look(looked_at=now(), seeds=study.seeds, declared=after.declared, share=share, spent=total))


def note_look(store: Store, study: StudySpec) -> None:
    """Enter a look if all runs of the study are finished: whoever asks for the report looks."""
    finished = {result.spec for result in store.results() if result.spec.compared}
    if finished.issuperset(planned(study)):
        record_look(store, study)


def declared_looks(store: Store, asked: tuple[int, ...]) -> tuple[int, ...]:
    """Return the looks that hold for a study: those declared before, or those asked for that are still ahead.

    Raises:
        UserError: if others were declared, or all are past.
    """
    records = store.looks()
    held = records[-1].declared if records else ()
    if asked and held and asked != held:
        raise UserError(
            f"looks = {_and(asked)}: this study was begun with looks at {_and(held)} seeds, declared before the first; "
            "go on with these"
        )
    ahead = tuple(n for n in asked if not records or n > records[-1].seeds)
    if asked and not held and not ahead:
        raise UserError(
            f"looks = {_and(asked)}: this study was looked at with {records[-1].seeds} seeds; name larger numbers"
        )
    return held or ahead


def begun_text(store: Store, study: StudySpec, declared: tuple[int, ...]) -> str:
    """Say what it costs to declare looks for a study that was looked at before; empty where it costs nothing."""
    before = looks_of(store, study)
    if before.declared or before.spent == 0:
        return ""
    here, anew = replace(before, declared=declared), replace(before, taken=(), declared=declared)
    for seeds in declared[:-1]:
        here, anew = here.after(seeds), anew.after(seeds)
    last = declared[-1]
    return (
        f"this study was begun without declared looks, and its report at {before.taken[-1].seeds} seeds spent "
        f"{_percent(before.spent)} of the error: the looks at {_and(declared)} seeds share the rest, so the intervals "
        f"at {last} seeds hold together with {_level(here.share(last))}; had they been declared before the first "
        f"report they would with {_level(anew.share(last))}, and be narrower"
    )


def looks_text(store: Store, study: StudySpec) -> str:
    """Say which looks were taken, at which levels, and what is left of the error."""
    looks = looks_of(store, study).after(study.seeds)
    levels = _and(
        [f"{_level(look.share)} at {look.seeds} seed{'' if look.seeds == 1 else 's'}" for look in looks.taken]
    )
    plan = "No looks were declared beforehand"
    if looks.declared:
        first = looks.taken[0].seeds
        after = f" after the one at {first}" if first < looks.declared[0] else ""
        plan = f"Looks at {_and(looks.declared)} seeds were declared{after}"
    many = len(looks.taken) > 1
    return (
        f"{plan}. The intervals hold together with {levels}: error spending over the looks at a growing study (Lan and "
        f"DeMets 1983), which by now {'have' if many else 'has'} spent {_percent(looks.spent)} of the error of "
        f"{100 * ALPHA:.2g} %; {_percent(max(1 - looks.spent, 0.0))} are left for later looks."
    )


def looks_list(store: Store) -> list[dict[str, Any]]:
    """Return the looks taken, as JSON has them: seeds, time, those declared, level, and error spent so far, of 0.05."""
    records = store.looks()
    return [
        {
            "seeds": look.seeds,
            "looked_at": look.looked_at,
            "declared": list(look.declared),
            "level": 1 - ALPHA * _share(number, records),
            "spent": None if look.spent is None else ALPHA * look.spent,
        }
        for number, look in enumerate(records)
    ]


def smallest_tail(study: StudySpec) -> float:
    """Return the one-sided error of the smallest statement of a study: one of its comparisons, or a part of a claim."""
    declared = declared_analysis(study)
    claims = [len(claim.contrasts) for claim in declared_claims(study) if claim.contrasts]
    comparisons = comparisons_of(study) * answers_of(study)
    shares = [(1 - declared.claims_share) / comparisons] if comparisons and declared.claims_share < 1 else []
    shares += [declared.claims_share / len(claims) / max(claims)] if claims else []
    return ALPHA * min(shares, default=1.0) / 2


def comparisons_of(study: StudySpec) -> int:
    """Return how many comparisons a study declares."""
    declared = declared_analysis(study)
    if declared.factor is None:
        return 0
    pairs = declared_pairs(declared.levels, declared.control, declared.comparisons)
    return len(pairs) * math.prod(len(levels_of(study, path)) for path in study.factors if path != declared.factor)


def answers_of(study: StudySpec) -> int:
    """Return how many answers each comparison has: seconds have no collapse rate beside them."""
    return 1 if declared_analysis(study).response == "train_seconds" else 2


def _share(number: int, records: Sequence[Look]) -> float:
    """Return the share of a look; those of versions that did not record it were made at fixed shares."""
    look = records[number]
    if look.share is not None:
        return look.share
    if look.seeds in look.declared:
        return 0.9 * look.seeds / sum(look.declared)
    undeclared = sum(each.seeds not in each.declared for each in records[:number])
    return 1.0 if not look.declared and not undeclared else 0.1 * 0.5 ** (undeclared + bool(look.declared))


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %"


def _level(share: float) -> str:
    return f"{100 * (1 - ALPHA * share):.2f} %"


def _and(words: Sequence[object]) -> str:
    *most, last = map(str, words)
    return f"{', '.join(most)} and {last}" if most else last
