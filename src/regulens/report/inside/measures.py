"""The second part of a report: what the networks learned, and what regularization did to that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulens.figures.measures import MeasurePanel, MeasureRow, draw_measures, measures_info
from regulens.figures.style import save_figure
from regulens.report.document import Block, Bullets, Figure, Heading, Paragraph, Table
from regulens.report.pictures import FIGURES, Picture
from regulens.report.wording import DASH, bounded, cell_text, counted, decimals, minus
from regulens.spec import Level, StudySpec
from regulens.stats.intervals import Interval
from regulens.study.grid import cell_levels, level_label
from regulens.study.inside.analysis import NETWORK, TITLES, InsideAnalysis, MeasureComparison, Measured

_POINTS = frozenset({"importance", "noise", "blur", "shift", "contrast", "overconfidence"})
_SHAPES = ("l2_norm", "sparsity", "total_variation")
_VARIETY = ("effective_rank", "redundancy", "orientation")
_ACTIVITY = ("dead", "selectivity", "importance")
_WHOLE = ("noise", "blur", "shift", "contrast", "overconfidence")
_HUGE = 1e5
"""Weights of diverged networks reach any size: numbers beyond this are written with an exponent."""
_NAMED = 5
"""Differences that are written out for each pair: the largest, in standard deviations among non-collapsed runs."""


@dataclass(frozen=True)
class Writer:
    """How the values of a measure are written: shares of accuracy in points, dead filters as a number of them."""

    factor: float
    word: str

    def value(self, number: float) -> str:
        """Write a value without its unit."""
        return minus(f"{self.factor * number:.3g}") if math.isfinite(number) else DASH

    def interval(self, interval: Interval | None, word: bool = False, sign: str = "") -> str:
        """Write an estimate with its bounds, as many decimals as tell the bounds apart."""
        if interval is None:
            return DASH
        largest = max(map(abs, (interval.estimate, interval.low, interval.high)))
        width = self.factor * (interval.high - interval.low)
        form = ".2g" if self.factor * largest >= _HUGE else f".{decimals(width)}f"
        return bounded(interval, form, factor=self.factor, sign=sign, word=self.word if word else "")


def writer_of(measure: str, filters: int | None = None) -> Writer:
    """Return how a measure is written; ``filters`` of the layer, so that dead ones are counted."""
    if measure == "dead" and filters is not None:
        return Writer(filters, f"of {counted(filters, 'filter')}")
    return Writer(100, "percentage points") if measure in _POINTS else Writer(1, "")


def measure_blocks(study: StudySpec, found: InsideAnalysis, folder: Path) -> Iterator[Block]:
    """Write up the measures of kernels and filters."""
    yield Heading("Effects of regularization on the filters", 2)
    yield Paragraph(family_text(found))
    yield Bullets(tuple(difference_paragraphs(study, found, whole=False)))
    for caption, names in (
        ("Kernels", _SHAPES),
        ("How kernels of a layer differ", _VARIETY),
        ("Filters at work", _ACTIVITY),
    ):
        table = _table(study, found, caption, names, _layers(found))
        if table.rows:
            yield table
    picture = measures_picture(study, found, folder)
    if picture is not None:
        yield Figure(picture)
    yield _definitions((*_SHAPES, *_VARIETY, *_ACTIVITY))


def whole_blocks(study: StudySpec, found: InsideAnalysis) -> Iterator[Block]:
    """Write up what is measured of whole networks: robustness and overconfidence."""
    yield Bullets(tuple(difference_paragraphs(study, found, whole=True)))
    yield robustness_table(study, found)


def robustness_table(study: StudySpec, found: InsideAnalysis) -> Table:
    """Show what corruptions cost each network, and its overconfidence."""
    return _table(
        study, found, "Accuracy drop under corruptions, and overconfidence, in percentage points", _WHOLE, [NETWORK]
    )


Cell = frozenset[tuple[str, Level]]
Filters = Mapping[tuple[Cell, str], int]
"""The number of filters of each layer, by the levels of the network's cell."""


def _layers(found: InsideAnalysis) -> list[str]:
    """Return the names of all layers, in the order of the deepest network."""
    records = [runs[0][1] for runs in found.runs.values()]
    deepest = max(records, key=lambda record: len(record.layers))
    return list(dict.fromkeys(layer.layer for record in (deepest, *records) for layer in record.layers))


def _filters(study: StudySpec, found: InsideAnalysis) -> Filters:
    return {
        (frozenset(cell_levels(spec, study).items()), layer.layer): layer.shape[0]
        for spec, runs in found.runs.items()
        for layer in runs[0][1].layers
    }


def _filters_of(each: MeasureComparison, filters: Filters) -> int | None:
    """Return how many filters the layer of a comparison has in both networks; ``None`` where they differ."""
    cells = (frozenset({**each.where, each.factor: level}.items()) for level in (each.a, each.b))
    counts = {filters.get((cell, each.place)) for cell in cells}
    return counts.pop() if len(counts) == 1 else None


def family_text(found: InsideAnalysis) -> str:
    """Say what the comparisons are, and when a difference is named."""
    runs = sum(len(each) for each in found.runs.values())
    text = (
        f"Measured in {counted(runs, 'run')} on validation images, which no network was trained on. A run is one "
        "replicate: the filters of a layer are averaged first. "
    )
    if not found.family:
        return text + "There is no second level to compare with."
    return text + (
        f"All {found.family} comparisons are one exploratory family, apart from those declared. A difference is named "
        "where its interval excludes zero both over all runs and over non-collapsed runs; at most 5 % of the named "
        f"ones are expected to be wrong, by intervals of {100 * found.level:.4g} % each (false coverage rate: "
        "Benjamini and Yekutieli 2005; for independent or positively dependent comparisons). Over all runs, the "
        "observed collapse rate is taken as given. sd: standard deviations among non-collapsed runs."
    )


def difference_paragraphs(study: StudySpec, found: InsideAnalysis, whole: bool) -> Iterator[Paragraph]:
    """Say of each pair of levels, at each place of the other factors, what differs and by how much.

    ``whole`` is of what is measured of whole networks, otherwise of their filters.
    """
    filters = _filters(study, found)
    groups: dict[tuple[object, ...], list[MeasureComparison]] = {}
    for each in found.comparisons:
        if (each.place == NETWORK) == whole:
            groups.setdefault((each.a, each.b, *each.where.items()), []).append(each)
    for group in groups.values():
        first = group[0]
        head = f"{level_label(first.factor, first.a)} against {level_label(first.factor, first.b)}"
        where = cell_text(study, first.where) if first.where else ""
        held = sorted((each for each in group if each.holds), key=lambda each: -abs(each.effect_size_trained))
        cells = tuple(cell_text(study, {**first.where, first.factor: level}) for level in (first.a, first.b))
        yield Paragraph(
            f"{head}{f', {where}' if where else ''}: {_held_text(found, held, len(group), filters)}", cells=cells
        )


def _held_text(found: InsideAnalysis, held: Sequence[MeasureComparison], of: int, filters: Filters) -> str:
    if not held:
        return f"no conclusive difference in {counted(of, 'measure')}."
    named = "; ".join(_difference_text(found, each, filters) for each in held[:_NAMED])
    more = len(held) - _NAMED
    rest = f"; and {more} more, see the table of all differences" if more > 0 else ""
    return f"{len(held)} of {counted(of, 'measure')} differ{'s' if len(held) == 1 else ''}: {named}{rest}."


def _difference_text(found: InsideAnalysis, each: MeasureComparison, filters: Filters) -> str:
    writer = writer_of(each.measure, _filters_of(each, filters))
    means = [_mean(found, each, level) for level in (each.a, each.b)]
    where = "" if each.place == NETWORK else f" of {each.place}"
    text = f"{TITLES[each.measure].title}{where} {writer.value(means[0])} against {writer.value(means[1])}"
    text += f", difference {writer.interval(each.all, word=True, sign='+')}"
    if math.isfinite(each.effect_size_trained):
        text += f", {minus(f'{each.effect_size_trained:+.1f}')} sd"
    return text


def _mean(found: InsideAnalysis, each: MeasureComparison, level: object) -> float:
    levels = {**each.where, each.factor: level}
    return next(
        row.all.estimate
        for row in found.measured
        if (row.place, row.measure) == (each.place, each.measure) and dict(row.levels) == levels
    )


def _table(study: StudySpec, found: InsideAnalysis, caption: str, names: Sequence[str], places: Sequence[str]) -> Table:
    """Return the means of some measures, a row for each network and layer."""
    filters = _filters(study, found)
    rows: dict[tuple[str, str], dict[str, Measured]] = {}
    for row in found.measured:
        if row.measure in names and row.place in places:
            rows.setdefault((cell_text(study, row.levels), row.place), {})[row.measure] = row
    whole = list(places) == [NETWORK]
    return Table(
        caption=caption,
        columns=("network", *(() if whole else ("layer",)), *(_column(name) for name in names)),
        rows=tuple(
            (
                label,
                *(() if whole else (place,)),
                *(_table_text(values[name], filters) if name in values else DASH for name in names),
            )
            for (label, place), values in rows.items()
        ),
        note="Means over all runs with unadjusted 95 % intervals; a run in which a measure is not defined is "
        "left out of its mean, which then says of how many runs it is."
        + (" Dead filters are counted." if "dead" in names else ""),
        left=() if whole else (1,),
        name=caption.partition(",")[0].lower().replace(" ", "-"),
    )


def _table_text(row: Measured, filters: Filters) -> str:
    text = writer_of(row.measure, filters.get((frozenset(row.levels.items()), row.place))).interval(row.all)
    return f"{text}, of {counted(row.runs.n, 'run')}" if row.undefined[0] else text


def _column(name: str) -> str:
    title = TITLES[name].title
    return f"{title}, percentage points" if name in _POINTS and name not in _WHOLE else title


def differences_table(study: StudySpec, found: InsideAnalysis, every: bool = False) -> Table:
    """Return the differences whose sign is sure, with and without the runs that collapsed; or ``every`` comparison."""
    filters = _filters(study, found)
    rows = [
        (*_difference_row(study, each, filters), *(("sure" if each.holds else "",) if every else ()))
        for each in found.comparisons
        if every or each.holds
    ]
    return Table(
        caption="All comparisons" if every else "Conclusive differences",
        columns=("pair", "measure", "all runs", "non-collapsed", "sd", *(("sign",) if every else ())),
        rows=tuple(rows),
        note=f"Of {found.family} comparisons, with intervals of {100 * found.level:.4g} %; dead filters are counted, "
        "or given as fractions where the two networks have different numbers of them. regulens measures prints "
        "every comparison.",
        left=(1, 5),
        name="differences",
    )


def _difference_row(study: StudySpec, each: MeasureComparison, filters: Filters) -> tuple[str, ...]:
    pair = f"{level_label(each.factor, each.a)} − {level_label(each.factor, each.b)}"
    writer = writer_of(each.measure, _filters_of(each, filters))
    points = ", percentage points" if each.measure in _POINTS else ""
    return (
        f"{pair}, {cell_text(study, each.where)}" if each.where else pair,
        f"{TITLES[each.measure].title}{points}, {each.place}",
        writer.interval(each.all, sign="+"),
        writer.interval(each.trained, sign="+"),
        minus(f"{each.effect_size_trained:+.1f}") if math.isfinite(each.effect_size_trained) else DASH,
    )


def _definitions(names: Sequence[str]) -> Table:
    rows = tuple((TITLES[name].title, TITLES[name].formula, TITLES[name].scale, TITLES[name].source) for name in names)
    return Table(
        caption="Definitions",
        columns=("measure", "formula", "scale", "source"),
        rows=rows,
        left=(1, 2, 3),
        name="definitions",
    )


def measures_picture(study: StudySpec, found: InsideAnalysis, folder: Path) -> Picture | None:
    """Draw the measures of all layers, every non-collapsed run a point; weights of diverged ones have no scale."""
    panels = measure_panels(study, found)
    if not panels:
        return None
    path = save_figure(draw_measures(measures_info(panels)), folder / FIGURES, "measures")
    return Picture(
        path,
        "Measures of kernels and filters by network and layer: a point per non-collapsed run, and their mean with its "
        "95 % interval.",
    )


def measure_panels(study: StudySpec, found: InsideAnalysis) -> list[MeasurePanel]:
    """Return the panels of the figure of all layers' measures: non-collapsed runs, NaN where one is not defined."""
    return [
        MeasurePanel(TITLES[name].title, TITLES[name].scale, rows)
        for name in (*_SHAPES, *_VARIETY, *_ACTIVITY)
        if (rows := tuple(_figure_rows(study, found, name)))
    ]


def _figure_rows(study: StudySpec, found: InsideAnalysis, name: str) -> Iterator[MeasureRow]:
    factor = found.declared.factor
    for row in found.measured:
        if row.measure == name and row.place != NETWORK and row.trained is not None:
            others = {path: level for path, level in row.levels.items() if path != factor}
            label = level_label(factor, row.levels[factor]) if factor else study.name
            group = f"{cell_text(study, others)}, {row.place}" if others else row.place
            interval = (row.trained.estimate, row.trained.low, row.trained.high)
            values = np.append(row.runs.trained, np.full(row.undefined[1], np.nan))
            yield MeasureRow(label, group, values, interval)
