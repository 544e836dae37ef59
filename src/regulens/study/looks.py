"""How often a study was looked at as it grew, and at which level its intervals must hold for that."""

from __future__ import annotations

from regulens.errors import UserError
from regulens.stats.power import Looks
from regulens.study.store import Look, Store, now

LEVEL = 0.95


def record_look(store: Store, seeds: int, declared: tuple[int, ...] = ()) -> None:
    """Enter that all runs of so many seeds are there to be looked at; the same number again is no new look.

    Args:
        store: of the study.
        seeds: of every network.
        declared: the numbers of seeds to look at, named before the first look; later ones are not listened to.
    """
    looks = store.looks()
    if not looks or seeds > looks[-1].seeds:
        store.save_look(Look(looked_at=now(), seeds=seeds, declared=looks[0].declared if looks else declared))


def declared_looks(store: Store, asked: tuple[int, ...]) -> tuple[int, ...]:
    """Return the looks that hold for a study: those declared before its first one.

    Raises:
        UserError: if others are asked for now.
    """
    looks = store.looks()
    held = looks[0].declared if looks else asked
    if asked and held and asked != held:
        raise UserError(
            f"looks = {', '.join(map(str, asked))}: this study was begun with looks at {', '.join(map(str, held))} "
            "seeds, declared before the first; go on with these"
        )
    return held or asked


def look_level(store: Store, seeds: int) -> float:
    """Return the simultaneous level of a family at the look at so many seeds; 0.95 for the only look of a study.

    A look that was not declared, such as a study extended later, takes what is kept for those (see ``Looks``).
    """
    looks = store.looks()
    if not looks:
        return LEVEL
    if len(looks) == 1 and not looks[0].declared and seeds <= looks[0].seeds:
        return LEVEL
    declared = looks[0].declared or (max(2, looks[0].seeds),)
    boundaries = Looks(declared, LEVEL)
    if seeds in declared:
        return boundaries.level_at(declared.index(seeds))
    undeclared = [look.seeds for look in looks if look.seeds not in declared and look.seeds <= seeds]
    if not undeclared:  # an unfinished study between two looks
        later = [number for number, size in enumerate(declared) if size > seeds]
        return boundaries.level_at(later[0] if later else len(declared))
    return boundaries.level_at(len(declared) + len(undeclared) - 1)


def looks_text(store: Store, seeds: int) -> str:
    """Say what the looks cost, for the methods; empty for a study with one look."""
    looks, level = store.looks(), look_level(store, seeds)
    if not looks or level == LEVEL:
        return ""
    declared = looks[0].declared
    before = ", ".join(str(look.seeds) for look in looks)
    plan = (
        f"Looks at {', '.join(map(str, declared))} seeds were declared, and the error divided among them"
        if declared
        else "The study was extended after it had been looked at"
    )
    return f"{plan} (looked at: {before}); so the intervals of a family hold together with {100 * level:.4g} %."
