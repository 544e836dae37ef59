"""Declared looks at results from elsewhere: what the present one may err by."""

from __future__ import annotations

import math

from regulens.errors import UserError
from regulens.spec import CLAIMS_SHARE
from regulens.stats.design import LEVEL
from regulens.stats.looks import declared_share
from regulens.study.external.runs import Runs

_ANSWERS = 2  # at most, of a comparison


def level_now(runs: Runs) -> tuple[float, str]:
    """Return the simultaneous level of all that is judged, and what is to be said of it.

    All declared looks together err by the error of one analysis (``stats.looks``). Numbers of seeds between two looks
    are judged as the later of them, which they take the place of; more than the last one are an extension.

    Raises:
        UserError: if looks were declared, and nothing tells the seeds.
    """
    looks = runs.options.looks
    if not looks:
        return LEVEL, ""
    if runs.blocks is None:
        raise UserError("looks are numbers of seeds: name their column with seed")
    seeds = _seeds(runs)
    level = 1 - (1 - LEVEL) * declared_share(seeds, looks, _smallest_tail(runs))
    what = "splits" if runs.options.split else "seeds"
    declared = f"looks at {', '.join(map(str, looks))} {what} were declared, so the error is divided among them"
    if len(looks) == 1:
        declared = f"one look was declared, at {looks[0]} {what}, with something kept for an extension"
    place = _at(f"{seeds} {what}", seeds, looks)
    return level, f"{declared}: {place} all intervals hold together with {100 * level:.4g} %"


def _smallest_tail(runs: Runs) -> float:
    """Return the one-sided error of the smallest statement of all looks together."""
    places = math.prod(len(known) for factor, known in runs.order.items() if factor != runs.factor)
    comparisons = max(1, len(runs.pairs) * places * len(runs.options.asked))
    return (1 - LEVEL) * (1 - CLAIMS_SHARE) / (_ANSWERS * comparisons) / 2


def _at(named: str, seeds: int, looks: tuple[int, ...]) -> str:
    if seeds > looks[-1]:
        return f"{named} are beyond the last, an extension that was not declared, judged with what is left for it;"
    if seeds in looks:
        return f"at {named}"
    following = next(size for size in looks if size > seeds)
    return f"{named} are judged as the look at {following}, whose place they take;"


def _seeds(runs: Runs) -> int:
    """Return the seeds, or blocks, of the cell that has the most."""
    assert runs.blocks is not None
    of_cell: dict[tuple[object, ...], set[object]] = {}
    for key, block in zip(zip(*runs.levels.values(), strict=True), runs.blocks, strict=True):
        of_cell.setdefault(key, set()).add(block)
    return max(map(len, of_cell.values()))
