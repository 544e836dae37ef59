"""What is said across data sets as tables, sentences and figures: of a study, or of results from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulens.errors import UserError
from regulens.figures.critical_difference import critical_difference_info, draw_critical_difference
from regulens.figures.profile import ProfilePanel, draw_profiles, profile_info
from regulens.figures.sets_forest import PANELS, SetsForestPanel, draw_sets_forest, sets_forest_info
from regulens.figures.style import save_figure
from regulens.files import file_name
from regulens.report.document import Block, Figure, Heading, Paragraph, Table
from regulens.report.pictures import FIGURES, Picture
from regulens.report.wording import DASH, Unit, bounded, decimals, minus, p_text, unit_of
from regulens.spec import Level
from regulens.stats.intervals import Interval
from regulens.stats.profiles import Profile
from regulens.study.analysis import StudyAnalysis
from regulens.study.datasets import AcrossSets, PlaceOverSets, PooledComparison
from regulens.study.datasets_text import effect_notes, rank_notes
from regulens.study.grid import level_label
from regulens.study.own_numbers import OwnAnalysis


@dataclass(frozen=True)
class _Words:
    """How the response, levels and places of an analysis across data sets are written."""

    unit: Unit
    label: Callable[[str, Level], str]

    def place(self, where: Mapping[str, Level]) -> str:
        return ", ".join(self.label(factor, level) for factor, level in where.items())

    def pair(self, found: AcrossSets, each: PooledComparison, sign: str) -> str:
        return f"{self.label(found.compared, each.a)} {sign} {self.label(found.compared, each.b)}"

    @property
    def factor(self) -> int:
        """What differences are multiplied by."""
        return 100 if self.unit.points else 1


def datasets_blocks(analysis: StudyAnalysis, folder: Path) -> Iterator[Block]:
    """Say what a study says across data sets; nothing where these are no factor with two or more of them."""
    found = analysis.datasets
    if found is None:
        return
    words = _Words(unit_of(analysis.declared.response), level_label)
    yield Heading("Across data sets")
    for warning in found.warnings:
        yield Paragraph(f"{warning[0].upper()}{warning[1:]}.", "note")
    yield effects_table(found, words)
    yield from map(Figure, forest_pictures(found, words, folder / FIGURES))
    if found.places:
        yield levels_table(found, words)
        yield pairs_table(found, words)
        yield from map(Paragraph, rank_notes(found)[1:])
        yield from map(Figure, place_pictures(found, words, folder / FIGURES))


def draw_datasets(found: OwnAnalysis, out: str | Path) -> list[Picture]:
    """Draw what results from elsewhere say across data sets: effects, ranks and performance profiles.

    Args:
        found: from ``analyze`` with ``datasets``.
        out: the folder that the SVG and PNG files are written into.

    Raises:
        UserError: if no column of data sets was named.
    """
    if found.datasets is None:
        raise UserError("no column of data sets was named: give analyze datasets (--datasets)")
    folder = Path(out)
    points = found.scale != "none"
    unit = Unit(found.response, points, "percentage points" if points else "")
    words = _Words(unit, lambda factor, level: str(level) if factor == found.compared else f"{factor} {level}")
    return [*forest_pictures(found.datasets, words, folder), *place_pictures(found.datasets, words, folder)]


def effects_table(found: AcrossSets, words: _Words) -> Table:
    """Show each comparison's mean over sets, its prediction for a new set, and the spread between sets."""
    rows = [row for each in found.comparisons for row in _effect_rows(found, each, words)]
    unit = words.unit
    return Table(
        caption=f"Differences in {unit.name} over data sets" + (", in percentage points" if unit.points else ""),
        columns=("where", "", "sets", "model", "mean effect", "new set", "SD between sets"),
        rows=tuple(rows),
        note=" ".join(["95 % intervals.", *effect_notes()]),
        left=(1, 3),
        name="datasets",
    )


def _effect_rows(found: AcrossSets, each: PooledComparison, words: _Words) -> Iterator[tuple[str, ...]]:
    name = (words.place(each.where) or DASH, words.pair(found, each, "against"), str(len(each.sets)))
    if each.equal is None:
        yield (*name, *[DASH] * 4)
        return
    difference = words.unit.difference
    digits = decimals(words.factor * (each.equal.new.high - each.equal.new.low), least=1)
    yield (*name, "equal weights", difference(each.equal.mean, word=False), _range(each.equal.new, words, digits), DASH)
    if each.weighted is not None:
        spread = bounded(each.weighted.spread, f".{digits}f", factor=words.factor)
        mean = difference(each.weighted.mean, word=False)
        yield ("", "", "", "random effects", mean, _range(each.weighted.new, words, digits), spread)


def _range(interval: Interval, words: _Words, digits: int) -> str:
    if math.isnan(interval.low):
        return DASH
    low, high = (minus(f"{words.factor * bound:.{digits}f}") for bound in (interval.low, interval.high))
    return f"{low} to {high}"


def levels_table(found: AcrossSets, words: _Words) -> Table:
    """Show each level's average rank and interquartile means."""
    return Table(
        caption=f"Levels over data sets: ranks, and interquartile means of {words.unit.name}",
        columns=("where", "", "sets", "n", "average rank", "interquartile mean", "minus control"),
        rows=tuple(
            (
                words.place(place.where) or DASH,
                words.label(found.compared, each.level),
                str(len(place.sets)),
                str(each.runs),
                f"{rank:.2f}",
                words.unit.interval(each.middle),
                DASH if each.gain is None else words.unit.difference(each.gain, word=False),
            )
            for place in found.places
            for each, rank in zip(place.levels, place.ranks.average.tolist(), strict=True)
        ),
        note="95 % intervals. " + rank_notes(found)[0],
        left=(1,),
        name="datasets-levels",
    )


def pairs_table(found: AcrossSets, words: _Words) -> Table:
    """Show the signed-rank tests of all pairs of levels."""
    rows = []
    for place in found.places:
        names = [words.label(found.compared, each.level) for each in place.levels]
        where = words.place(place.where) or DASH
        rows += [(where, f"{names[p.a]} and {names[p.b]}", p_text(p.p), p_text(p.p_holm)) for p in place.ranks.pairs]
    return Table(
        caption="Wilcoxon's signed-rank tests over data sets, for each pair of levels",
        columns=("where", "", "p", "p (Holm)"),
        rows=tuple(rows),
        note="Two-sided; adjusted over the pairs of one place. For information: no verdict depends on them.",
        left=(1,),
        name="datasets-pairs",
    )


def forest_pictures(found: AcrossSets, words: _Words, folder: Path) -> list[Picture]:
    """Draw the effects on every set, at most three comparisons of one place side by side."""
    drawn = []
    for where in dict.fromkeys(words.place(each.where) for each in found.comparisons):
        of_place = [each for each in found.comparisons if words.place(each.where) == where and each.equal]
        for start in range(0, len(of_place), PANELS):
            shown = of_place[start : start + PANELS]
            sets = [name for name in found.sets if any(name in each.sets for each in shown)]
            panels = [_panel(found, each, sets, words) for each in shown]
            unit = "percentage points" if words.unit.points else words.unit.word
            info = sets_forest_info([str(name) for name in sets], panels, words.unit.name, unit)
            parts = [where, str(start // PANELS + 1) if len(of_place) > PANELS else ""]
            path = save_figure(draw_sets_forest(info), folder, _name("datasets-forest", parts))
            at = f" at {where}" if where else ""
            drawn.append(Picture(path, f"Differences in {words.unit.name} on each data set{at}, and over data sets."))
    return drawn


def _panel(found: AcrossSets, each: PooledComparison, sets: Sequence[Level], words: _Words) -> SetsForestPanel:
    effects = dict(zip(each.sets, each.effects, strict=True))
    numbers = np.full((3, len(sets)), np.nan)
    for place, name in enumerate(sets):
        if name in effects:
            of_set = effects[name].difference
            numbers[:, place] = of_set.estimate, of_set.low, of_set.high
    assert each.equal is not None
    pooled = [each.equal.mean, each.equal.new, *([each.weighted.mean, each.weighted.new] if each.weighted else [])]
    estimates, low, high = words.factor * numbers
    title = words.pair(found, each, "−")
    return SetsForestPanel(title, estimates, low, high, *(_times(interval, words.factor) for interval in pooled))


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(factor * interval.estimate, factor * interval.low, factor * interval.high, interval.level)


def place_pictures(found: AcrossSets, words: _Words, folder: Path) -> list[Picture]:
    """Draw the ranks of the levels at each place, and their performance profiles."""
    return [
        picture
        for place in found.places
        for picture in (_ranks_picture(found, place, words, folder), _profile_picture(found, place, words, folder))
    ]


def _ranks_picture(found: AcrossSets, place: PlaceOverSets, words: _Words, folder: Path) -> Picture:
    where = words.place(place.where)
    labels = [words.label(found.compared, each.level) for each in place.levels]
    ranks = place.ranks
    info = critical_difference_info(where, labels, ranks.average.tolist(), ranks.cliques, len(place.sets))
    path = save_figure(draw_critical_difference(info), folder, _name("datasets-ranks", [where]))
    return Picture(
        path,
        f"Average ranks{' at ' + where if where else ''}; a bar joins levels of which no pair differs significantly by "
        "Wilcoxon's signed-rank test over data sets (p adjusted by Holm, 5 %), which does not make them equal.",
    )


def _profile_picture(found: AcrossSets, place: PlaceOverSets, words: _Words, folder: Path) -> Picture:
    where = words.place(place.where)
    named = [(words.label(found.compared, each.level), each) for each in place.levels]
    panels = [ProfilePanel(where, words.unit.name, tuple((label, each.profile) for label, each in named))]
    gains = tuple((label, _scaled(each.gains, words.factor)) for label, each in named if each.gains is not None)
    if gains:
        unit = " (percentage points)" if words.unit.points else ""
        panels.append(
            ProfilePanel("minus the control's mean on the set", f"difference in {words.unit.name}{unit}", gains)
        )
    info = profile_info(panels, found.design.direction == "higher")
    path = save_figure(draw_profiles(info), folder, _name("datasets-profile", [where]))
    return Picture(
        path,
        f"Performance profiles{' at ' + where if where else ''}: the share of runs beyond each threshold, each data "
        f"set counting the same, with pointwise {100 * info.level:g} % bands"
        + ("; at the right each run minus the control's mean on its set, taken as known." if gains else "."),
    )


def _scaled(profile: Profile, factor: float) -> Profile:
    return Profile(factor * profile.thresholds, profile.share, profile.low, profile.high, profile.level)


def _name(kind: str, parts: Sequence[str]) -> str:
    return file_name(kind, " ".join(filter(None, parts))) if any(parts) else kind
