"""One response of results from elsewhere: its cells, comparisons, effects, and the seeds that it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from regulens.stats.analysis import Analysis, analyse
from regulens.stats.design import LEVEL, Design
from regulens.stats.factorial import FactorAnswers, Layout, answer_factor
from regulens.study.external.assumed import ACCURACY_ROPE, on_response, on_runs
from regulens.study.external.logs import repeated_runs
from regulens.study.external.options import Asked
from regulens.study.external.power import ComparisonSeeds, check_effect, seeds_of_comparisons
from regulens.study.external.runs import Runs
from regulens.study.external.scale import Response, Scale
from regulens.study.external.table import cells_of
from regulens.study.thresholds import rope_warnings

_SEED = 0


@dataclass(frozen=True, eq=False)
class AnalysedResponse:
    """What comes out of one response; see ``own_numbers.OwnAnalysis``."""

    scale: Scale
    analysis: Analysis
    effects: tuple[FactorAnswers, ...]
    seeds_needed: tuple[ComparisonSeeds, ...]


def analyse_response(asked: Asked, runs: Runs, alpha: float, said: tuple[str, ...]) -> AnalysedResponse:
    """Analyze one response.

    Args:
        asked: what is asked for of it.
        runs: all runs.
        alpha: what its family of comparisons may err by.
        said: what the division of the error rests on.
    """
    read = runs.responses[asked.response]
    rng = np.random.default_rng(_SEED)
    cells = cells_of(read.values, runs.failures.of_rows, runs.levels, runs.blocks, runs.order)
    if asked.effect is not None:
        check_effect(asked.effect, asked.response, read)
    analysis = analyse(cells, runs.factor, runs.pairs, _design(asked, read, runs, alpha), rng)
    warnings = (*_before(asked, read, runs), *said, *on_runs(asked, runs, analysis.data), *analysis.warnings)
    analysis = replace(analysis, warnings=warnings)
    needed = () if asked.effect is None else seeds_of_comparisons(analysis, asked.effect, rng)
    return AnalysedResponse(read.scale, analysis, tuple(_effects(analysis, runs)), needed)


def _design(asked: Asked, read: Response, runs: Runs, alpha: float) -> Design:
    """Return what comparisons are judged by; ``chance`` is the accuracy of a run that learned nothing."""
    is_share = read.accuracy and read.bounds == (0.0, 1.0)
    return replace(
        runs.options.design,
        direction=runs.direction(asked),
        rope=asked.rope if asked.rope is not None else ACCURACY_ROPE if read.accuracy else 0.0,
        alpha=alpha,
        bounds=read.bounds,
        rates=runs.failures.of_rows is not None,
        failed=runs.options.chance if is_share else None,
    )


def _before(asked: Asked, read: Response, runs: Runs) -> Iterator[str]:
    """Yield what is to be known of the data, and what was decided of the response."""
    yield from (*runs.rows.notes, *read.notes, *runs.notes, *repeated_runs(runs.rows, runs.options.runs))
    yield from on_response(asked, read, runs)
    known = [value for value in read.values if not math.isnan(value)]
    yield from rope_warnings(asked.rope, asked.response, known, fraction=read.accuracy)


def _effects(analysis: Analysis, runs: Runs) -> Iterator[FactorAnswers]:
    """Yield what each factor does that has more than one level."""
    layout = Layout(tuple(runs.order), tuple(analysis.data.samples))
    for name, known in runs.order.items():
        if len(known) > 1:
            control = runs.control if name == runs.factor and runs.control is not None else known[0]
            yield answer_factor(layout, name, control, analysis.data.primary, LEVEL)
