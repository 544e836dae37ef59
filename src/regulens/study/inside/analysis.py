"""What regularization did to the networks' insides: measures by cell, and against the control, the run the replicate.

The comparisons, all measures of all layers and of the networks as a whole, are an exploratory family of their own,
apart from the declared ones of the study. Of the differences that are named at most 5 % are expected to be wrong, if
the comparisons are independent or depend on each other positively: the false coverage rate is controlled (Benjamini and
Yekutieli 2005, Journal of the American Statistical Association 100, 71-81). They share runs;
`benchmarks/false_coverage.py` tells how often anything is named where regularizers are mere labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulens.errors import UserError
from regulens.interpret.measures import MEASURES
from regulens.results import RunResult
from regulens.spec import Level, RunSpec, StudySpec
from regulens.stats.calibration import Reliability, calibration_error, reliability
from regulens.stats.cells import Cells
from regulens.stats.comparisons import hedges_g
from regulens.stats.design import Design
from regulens.stats.intervals import Interval
from regulens.stats.means import mean_interval
from regulens.stats.samples import Sample
from regulens.study.declared import DeclaredAnalysis, compared_pairs, declared_analysis
from regulens.study.folder import own_store
from regulens.study.grid import cell_levels, cells
from regulens.study.inside.measuring import InsideRecord, inside_records
from regulens.study.runner import run_folder
from regulens.study.table import is_collapsed
from regulens.training.predictions import PREDICTIONS, load_predictions

NETWORK = "network"
LEVEL = 0.95
CALIBRATION_SEED = 20220101


@dataclass(frozen=True)
class MeasureTitle:
    """What a measure is called, in what unit it is, and how it is defined."""

    title: str
    scale: str
    formula: str
    source: str


TITLES: dict[str, MeasureTitle] = (
    {name: MeasureTitle(each.title, each.scale, each.formula, each.source) for name, each in MEASURES.items()}
    | {
        kind: MeasureTitle(
            title,
            "accuracy lost, -1 to 1",
            f"accuracy - mean accuracy over five severities of {what}",
            "Hendrycks and Dietterich 2019",
        )
        for kind, title, what in (
            ("noise", "lost to noise", "Gaussian noise"),
            ("blur", "lost to blur", "Gaussian blur"),
            ("shift", "lost to shift", "translation"),
            ("contrast", "lost to low contrast", "reduced contrast"),
        )
    }
    | {
        "overconfidence": MeasureTitle(
            "overconfidence", "-1 to 1", "mean probability of the predicted class - accuracy", "Guo et al. 2017"
        )
    }
)
"""Every measure that is compared, of layers and of whole networks."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The runs of one cell in one measure.

    Attributes:
        levels: of the factors.
        place: a layer, or ``NETWORK``.
        measure: a key of ``TITLES``.
        runs: those for which the measure is defined.
        undefined: how many runs of the cell it is not defined for, of all and of those that did not collapse.
        all: mean over these runs with a 95 % interval.
        trained: mean over those that did not collapse; ``None`` if all did.
    """

    levels: Mapping[str, Level]
    place: str
    measure: str
    runs: Sample
    undefined: tuple[int, int]
    all: Interval
    trained: Interval | None


@dataclass(frozen=True, eq=False)
class MeasureComparison:
    """A level of the compared factor against another in one measure, a - b in the measure's unit.

    Attributes:
        place: a layer, or ``NETWORK``.
        measure: a key of ``TITLES``.
        factor: the compared one.
        a: its one level.
        b: its other level.
        where: the other factors' levels.
        runs: (n_a, n_b).
        all: difference of the means over all runs, with an interval adjusted for the choice of what is named.
        trained: the same among non-collapsed runs; NaN if either cell has none.
        effect_size: Hedges' g over all runs: the difference in standard deviations; NaN without spread.
        effect_size_trained: the same among non-collapsed runs.
    """

    place: str
    measure: str
    factor: str
    a: Level
    b: Level
    where: Mapping[str, Level]
    runs: tuple[int, int]
    all: Interval
    trained: Interval
    effect_size: float
    effect_size_trained: float

    @property
    def holds(self) -> bool:
        """Whether the difference is of one sign both with and without collapsed runs, by the adjusted intervals."""
        return all(each.low > 0 if self.all.estimate > 0 else each.high < 0 for each in (self.all, self.trained))


@dataclass(frozen=True, eq=False)
class InsideAnalysis:
    """Everything measured inside a study's networks.

    Attributes:
        declared: the factor that is compared and its control.
        runs: the measured runs with their records, cell by cell.
        measured: every cell in every measure.
        comparisons: of the exploratory family.
        family: how many comparisons it has.
        level: of their intervals.
        reliability: by cell, of each of its runs, ``None`` where there are no predictions, or none that are finite.
    """

    declared: DeclaredAnalysis
    runs: Mapping[RunSpec, tuple[tuple[RunResult, InsideRecord], ...]]
    measured: tuple[Measured, ...]
    comparisons: tuple[MeasureComparison, ...]
    family: int
    level: float
    reliability: Mapping[RunSpec, tuple[Reliability | None, ...]]

    def trained(self) -> dict[RunSpec, tuple[tuple[RunResult, InsideRecord], ...]]:
        """Return the measured runs that did not collapse, of each cell that has some."""
        kept = {spec: tuple(pair for pair in runs if not is_collapsed(pair[0])) for spec, runs in self.runs.items()}
        return {spec: runs for spec, runs in kept.items() if runs}


def analyse_inside(
    study: StudySpec, results: Sequence[RunResult], records: Mapping[str, InsideRecord], folder: Path
) -> InsideAnalysis:
    """Compare what was measured inside a study's runs.

    Args:
        study: as declared.
        results: of its runs; those without a record are left aside.
        records: by run_id.
        folder: where the runs' predictions lie.
    """
    declared = declared_analysis(study)
    runs = _runs_by_cell(study, results, records)
    tables = {
        spec: tuple(_reliability(run_folder(folder, result.run_id) / PREDICTIONS) for result, _ in found)
        for spec, found in runs.items()
    }
    measured = tuple(_measured(study, runs, tables))
    pairs = list(_pairs(declared, measured))
    comparisons, level = _family(pairs, declared)
    return InsideAnalysis(declared, runs, measured, comparisons, len(pairs), level, tables)


def stored_analysis(study: StudySpec, folder: Path) -> InsideAnalysis:
    """Compare what is measured already inside the runs of the study in ``folder``.

    Raises:
        UserError: if there is no study, or nothing is measured yet.
    """
    store = own_store(study, folder)
    found = analyse_inside(study, store.results(), inside_records(store), folder)
    if not found.runs:
        raise UserError(f"{folder}: nothing is measured inside its networks yet; run regulens inside first")
    return found


def measured_rows(study: StudySpec, analysis: InsideAnalysis) -> list[dict[str, object]]:
    """Return one row per run, place and measure: all that was measured, what is compared and what is not.

    ``low`` and ``high`` are 95 % bounds over images, of the expected calibration error; other measures have none.
    """
    return [
        {
            "run_id": result.run_id,
            **cell_levels(spec, study),
            "seed": result.spec.seed,
            "collapsed": is_collapsed(result),
            "place": place,
            "measure": measure,
            **{name: number if math.isfinite(number) else None for name, number in numbers.items()},
        }
        for spec, found in analysis.runs.items()
        for (result, record), table in zip(found, analysis.reliability[spec], strict=True)
        for place, measure, numbers in _rows(record, table)
    ]


def _rows(record: InsideRecord, table: Reliability | None) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield place, measure, value and bounds over images, NaN where a measure has none of its own."""
    for place, measure, value in (*_values(record, table), *_further_values(record)):
        yield place, measure, {"value": value, "low": math.nan, "high": math.nan}
    if table is not None:
        error = calibration_error(table, np.random.default_rng(CALIBRATION_SEED), LEVEL)
        numbers = {"value": error.estimate, "low": error.low, "high": error.high}
        yield NETWORK, "expected calibration error", numbers


def _further_values(record: InsideRecord) -> Iterator[tuple[str, str, float]]:
    """Yield place, measure and value of what is shown and not compared: probes, accuracies."""
    for stage, accuracy in record.probes.items():
        yield stage, "probe", accuracy
    for kind, accuracies in record.corrupted.items():
        for severity, accuracy in enumerate(accuracies):
            yield NETWORK, f"accuracy under {kind} {severity}", accuracy


def _runs_by_cell(
    study: StudySpec, results: Sequence[RunResult], records: Mapping[str, InsideRecord]
) -> dict[RunSpec, tuple[tuple[RunResult, InsideRecord], ...]]:
    found: dict[RunSpec, list[tuple[RunResult, InsideRecord]]] = {spec: [] for spec in cells(study)}
    for result in sorted(results, key=lambda result: result.spec.seed):
        if result.spec.compared and result.run_id in records:
            found[result.spec.cell].append((result, records[result.run_id]))
    return {spec: tuple(runs) for spec, runs in found.items() if runs}


def _reliability(path: Path) -> Reliability | None:
    """Return the reliability of a run's predictions; ``None`` if they are not there, or the network diverged."""
    if not path.is_file():
        return None
    predictions = load_predictions(path)
    if not np.isfinite(predictions.probabilities).all():
        return None
    return reliability(predictions.probabilities, predictions.labels)


def _values(record: InsideRecord, table: Reliability | None) -> Iterator[tuple[str, str, float]]:
    """Yield place, measure and value of everything that is compared of one run."""
    for layer in record.layers:
        for name, value in layer.measures.items():
            yield layer.layer, name, value
    for kind, accuracies in record.corrupted.items():
        yield NETWORK, kind, accuracies[0] - float(np.mean(accuracies[1:]))
    if table is not None:
        weights = table.images / table.images.sum()
        yield NETWORK, "overconfidence", float(np.nansum(weights * (table.confidence - table.accuracy)))


def _measured(
    study: StudySpec,
    runs: Mapping[RunSpec, Sequence[tuple[RunResult, InsideRecord]]],
    tables: Mapping[RunSpec, Sequence[Reliability | None]],
) -> Iterator[Measured]:
    for spec, found in runs.items():
        learned = sum(not is_collapsed(result) for result, _ in found)
        values: dict[tuple[str, str], list[tuple[float, bool, int]]] = {}
        for (result, record), table in zip(found, tables[spec], strict=True):
            for place, name, value in _values(record, table):
                if math.isfinite(value):
                    row = (value, bool(is_collapsed(result)), result.spec.seed)
                    values.setdefault((place, name), []).append(row)
        for (place, name), rows in values.items():
            numbers, collapsed, seeds = (np.array(column) for column in zip(*rows, strict=True))
            sample = Sample(numbers.astype(np.float64), collapsed.astype(np.bool_), seeds.astype(np.int64))
            undefined = (len(found) - sample.n, learned - len(sample.trained))
            bounds = _bounds(name)
            trained = mean_interval(sample.trained, LEVEL).within(bounds) if len(sample.trained) else None
            every = mean_interval(sample.values, LEVEL).within(bounds)
            yield Measured(cell_levels(spec, study), place, name, sample, undefined, every, trained)


def _bounds(measure: str) -> tuple[float, float]:
    """Return what a measure can be; accuracy that is lost, or claimed too much: -1 to 1."""
    return MEASURES[measure].bounds if measure in MEASURES else (-1.0, 1.0)


def _pairs(declared: DeclaredAnalysis, measured: Sequence[Measured]) -> Iterator[tuple[Measured, Measured]]:
    """Yield what is compared in each measure, wherever both cells have it (and, if seeds are blocks, in one seed)."""
    cells_by_measure: dict[tuple[str, str], dict[frozenset[tuple[str, Level]], Measured]] = {}
    for each in measured:
        cells_by_measure.setdefault((each.place, each.measure), {})[frozenset(each.levels.items())] = each
    for found in cells_by_measure.values():
        for a, b in compared_pairs(declared, found):
            if not declared.paired or np.isin(a.runs.seeds, b.runs.seeds).any():
                yield a, b


def _family(
    pairs: Sequence[tuple[Measured, Measured]], declared: DeclaredAnalysis
) -> tuple[tuple[MeasureComparison, ...], float]:
    """Return the comparisons with intervals of one level, and the level: 1 - R 0.05 / m for the R of m that hold.

    R is the largest number such that as many hold at that level: the rule of Benjamini and Hochberg by intervals.
    Where none holds, the level is that of R = 1.
    """
    held = len(pairs)
    while True:
        level = 1 - max(held, 1) * (1 - LEVEL) / max(len(pairs), 1)
        found = tuple(_compare(a, b, declared, level) for a, b in pairs)
        at_this_level = sum(each.holds for each in found)
        if at_this_level >= held or held <= 1:
            return found, level
        held = at_this_level


def _difference(a: Sample, b: Sample, design: Design, level: float) -> Interval:
    """Return the difference of the means of the runs that trained."""
    return Cells({"a": a, "b": b}, design).trained({"a": 1.0, "b": -1.0}).interval(level)


def _compare(a: Measured, b: Measured, declared: DeclaredAnalysis, level: float) -> MeasureComparison:
    assert declared.factor is not None
    design = Design(paired=declared.paired, bounds=_bounds(a.measure))
    return MeasureComparison(
        place=a.place,
        measure=a.measure,
        factor=declared.factor,
        a=a.levels[declared.factor],
        b=b.levels[declared.factor],
        where={path: value for path, value in a.levels.items() if path != declared.factor},
        runs=(a.runs.n, b.runs.n),
        all=_difference(a.runs.all_trained(), b.runs.all_trained(), design, level),
        trained=_difference(a.runs, b.runs, design, level),
        effect_size=hedges_g(a.runs.values, b.runs.values),
        effect_size_trained=hedges_g(a.runs.trained, b.runs.trained),
    )


TYPICAL = "its median run (lower median of validation accuracy among non-collapsed runs, or all runs if none is left)"


def typical_run(runs: Sequence[RunResult]) -> RunResult:
    """Return the run that stands for a cell in pictures, by the rule ``TYPICAL``; of equals the lowest seed."""
    trained = [run for run in runs if not is_collapsed(run)] or list(runs)
    ordered = sorted(trained, key=lambda run: (run.val_accuracy, run.spec.seed))
    median = ordered[(len(ordered) - 1) // 2].val_accuracy
    return next(run for run in ordered if run.val_accuracy == median)
