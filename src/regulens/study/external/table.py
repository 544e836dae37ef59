"""From rows to cells: which runs a cell has, which of them failed, and which factor is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from regulens.errors import UserError, suggestion
from regulens.stats.analysis import Cell
from regulens.stats.contrasts import Level
from regulens.stats.samples import sample
from regulens.study.external.levels import matching, ordered
from regulens.study.external.logs import what_differs
from regulens.study.external.options import Options
from regulens.study.external.problems import Problem
from regulens.study.own_rows import Rows
from regulens.study.text_table import place_text

CONTROL = "none"
_EXPLAINED = 3  # duplicates: no more are shown


def cells_of(
    values: Sequence[float],
    failed: Sequence[bool] | None,
    found: Mapping[str, Sequence[Level]],
    blocks: Sequence[Level] | None,
    order: Mapping[str, Sequence[Level]],
) -> list[Cell]:
    """Return the cells by their levels, their runs by block and value: nothing is left of the order of the rows."""
    numbers = {level: number for number, level in enumerate(ordered(blocks or []))}
    runs: dict[tuple[Level, ...], list[tuple[int, bool, float]]] = {}
    for row, key in enumerate(zip(*found.values(), strict=True)):
        run = numbers[blocks[row]] if blocks else 0, bool(failed and failed[row]), values[row]
        runs.setdefault(key, []).append(run)
    places = {factor: {level: place for place, level in enumerate(each)} for factor, each in order.items()}
    cells = []
    for key in sorted(runs, key=lambda key: [places[factor][level] for factor, level in zip(order, key, strict=True)]):
        of_block, collapsed, x = zip(*sorted(runs[key], key=_by_block_and_value), strict=True)
        levels = dict(zip(order, key, strict=True))
        cells.append(Cell(levels, sample(x, collapsed, of_block if blocks else None)))
    return cells


def _by_block_and_value(run: tuple[int, bool, float]) -> tuple[int, bool, float]:
    """Order runs; one that diverged comes first of its block."""
    block, collapsed, value = run
    return block, collapsed, -math.inf if math.isnan(value) else value


def refuse_duplicates(
    rows: Rows, found: Mapping[str, Sequence[Level]], seeds: Sequence[Level], options: Options
) -> None:
    """Refuse runs of the same levels and seed, and say what tells them apart."""
    first: dict[tuple[Level, ...], int] = {}
    problems: list[Problem] = []
    for row, key in enumerate(zip(*found.values(), seeds, strict=True)):
        earlier = first.setdefault(key, row)
        if earlier != row:
            same = place_text({**dict(zip(found, key, strict=False)), str(options.seed): key[-1]})
            what = f"is a duplicate of {rows.names[earlier]}, both {same}"
            fix = what_differs(rows, row, earlier, options.runs) if len(problems) < _EXPLAINED else ""
            problems.append(Problem(row, what, fix))
    if problems:
        raise rows.refuse_all(problems)


def compared_factor(rows: Rows, found: Mapping[str, Sequence[Level]], options: Options) -> tuple[str, Level | None]:
    """Return the compared factor and its control; where pairs or all are compared, it needs none."""
    if options.comparisons != "control" and options.control is None:
        named = options.compare or (options.factors[0] if len(options.factors) == 1 else None)
        if named is not None:
            if len(set(found[named])) == 1:
                raise UserError(
                    f"{rows.place}: {named} has one level only, {found[named][0]}: nothing to compare with it"
                )
            return named, next(iter(matching(found[named], CONTROL)), None)
    wanted = CONTROL if options.control is None else options.control
    among = [options.compare] if options.compare else list(found)
    controls = {factor: matching(found[factor], wanted) for factor in among}
    having = [factor for factor in among if controls[factor]]
    if not having:
        known = [str(level) for factor in among for level in ordered(found[factor])]
        where = options.compare or "any factor"
        fix = suggestion(str(wanted), known) if options.control is not None else _name_one(options, known)
        raise UserError(f'{rows.place}: control "{wanted}" is not a level of {where}{fix}')
    if len(having) > 1:
        both = " and ".join(having)
        raise UserError(f'{rows.place}: {both} have the level "{wanted}"; say which is compared: compare {having[0]}')
    factor = having[0]
    if len(controls[factor]) > 1:
        written = " and ".join(map(str, controls[factor]))
        raise UserError(f"{rows.place}: {factor} has the levels {written}; say which is the control")
    if len(set(found[factor])) == 1:
        raise UserError(f"{rows.place}: {factor} has one level only, {controls[factor][0]}: nothing to compare with it")
    return factor, controls[factor][0]


def _name_one(options: Options, known: Sequence[str]) -> str:
    what = "the control" if options.compare or len(options.factors) == 1 else "the compared factor and its control"
    if options.comparisons != "control":
        what = "the compared factor with compare"
    return f"; name {what} (levels: {', '.join(known)})"


def refuse_unpaired(  # noqa: PLR0917  # what a refusal names
    rows: Rows,
    found: Mapping[str, Sequence[Level]],
    seeds: Sequence[Level],
    compared: str,
    pairs: Sequence[tuple[Level, Level]],
    blocks: str,
) -> None:
    """Refuse the first run whose seed the cell it is paired with has not; a cell without runs is told of elsewhere."""
    runs = [dict(zip(found, key, strict=True)) for key in zip(*found.values(), strict=True)]
    seeds_of: dict[frozenset[tuple[str, Level]], set[Level]] = {}
    for levels_of_run, seed in zip(runs, seeds, strict=True):
        seeds_of.setdefault(frozenset(levels_of_run.items()), set()).add(seed)
    partners = [(a, b) for pair in pairs for a, b in (pair, pair[::-1])]
    for row, levels_of_run in enumerate(runs):
        for level, other in partners:
            partner = {**levels_of_run, compared: other}
            known = seeds_of.get(frozenset(partner.items()))
            if levels_of_run[compared] == level and known and seeds[row] not in known:
                raise rows.refuse(
                    row,
                    f"{blocks} {seeds[row]} of {place_text(levels_of_run)} is not among those of "
                    f"{place_text(partner)}; paired cells need the same {blocks}s",
                )
