"""Declared looks at results from elsewhere: what the present one may err by."""

from __future__ import annotations

from regulens.errors import UserError
from regulens.stats.power import Looks
from regulens.study.external.runs import Runs

LEVEL = 0.95


def level_now(runs: Runs) -> tuple[float, str]:
    """Return the simultaneous level of all that is judged, and what is to be said of it.

    Each declared look may err by a share of the error in all (``power.Looks``). Numbers of seeds between two looks are
    judged as the later of them, which they take the place of; more than the last one are an extension.

    Raises:
        UserError: if looks were declared, and nothing tells the seeds.
    """
    looks = runs.options.looks
    if not looks:
        return LEVEL, ""
    if runs.blocks is None:
        raise UserError("looks are numbers of seeds: name their column with seed")
    seeds = _seeds(runs)
    place = next((number for number, size in enumerate(looks) if size >= seeds), len(looks))
    level = Looks(looks, LEVEL).level_at(place)
    declared = f"looks at {', '.join(map(str, looks))} seeds were declared, so the error is divided among them"
    if len(looks) == 1:
        declared = f"one look was declared, at {looks[0]} seeds"
    return level, f"{declared}: {_at(seeds, looks, place)} all intervals hold together with {100 * level:.4g} %"


def _at(seeds: int, looks: tuple[int, ...], place: int) -> str:
    if place == len(looks):
        return (
            f"{seeds} seeds are beyond the last, an extension that was not declared, judged with what is kept for the "
            "first one;"
        )
    if seeds == looks[place]:
        return f"at {seeds} seeds"
    return f"{seeds} seeds are judged as the look at {looks[place]}, whose place they take;"


def _seeds(runs: Runs) -> int:
    """Return the seeds, or blocks, of the cell that has the most."""
    assert runs.blocks is not None
    of_cell: dict[tuple[object, ...], set[object]] = {}
    for key, block in zip(zip(*runs.levels.values(), strict=True), runs.blocks, strict=True):
        of_cell.setdefault(key, set()).add(block)
    return max(map(len, of_cell.values()))
