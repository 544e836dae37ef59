"""Results that were trained elsewhere, one row per run, through the same analysis as those of a study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import pandas as pd

from regulens.spec import CLAIMS_SHARE, ROPE_RATE
from regulens.stats.analysis import Analysis
from regulens.stats.contrasts import Level
from regulens.stats.cost import Cost
from regulens.stats.design import Primary
from regulens.stats.factorial import FactorAnswers
from regulens.stats.verdicts import Direction
from regulens.study.analysis_json import analysis_dict, cells_frame, claims_list, comparisons_frame, effects_list
from regulens.study.claim_results import AnsweredClaim
from regulens.study.contrasts import Factorial
from regulens.study.cost_text import cost_records, costs_frame
from regulens.study.datasets import AcrossSets, across_sets
from regulens.study.datasets_json import datasets_dict
from regulens.study.external.assumed import on_error
from regulens.study.external.claims import Ground, OwnClaim, judge_claims, read_claims
from regulens.study.external.costs import costs_of_rows
from regulens.study.external.datasets import with_datasets
from regulens.study.external.interim import level_now
from regulens.study.external.one_response import analyse_response
from regulens.study.external.options import Asked, checked_options
from regulens.study.external.power import ComparisonSeeds, seeds_list
from regulens.study.external.runs import Runs, read_runs
from regulens.study.external.scale import Scale

Value = TypeVar("Value")
OfEach: TypeAlias = Value | Sequence[Value] | Mapping[str, Value]
"""One value for all responses, or one for each: in their order, or by their columns."""


@dataclass(frozen=True, eq=False)
class OwnAnalysis:
    """What comes out of ``analyze``.

    Attributes:
        response: the column that was analysed.
        factors: the columns of the factors, the compared one among them.
        compared: the compared factor.
        control: its level that the others are compared with; None where pairs of levels are, and there is none.
        scale: what the response was read as: a ``fraction``, ``percent`` (divided by 100), or ``none`` of these.
        analysis: all numbers, as the statistics give them.
        effects: what each factor does, exploratory.
        claims: as they were read, with their verdicts.
        others: the analyses of further responses, by their columns; their comparisons are of the same family.
        effect: the difference for which the seeds were asked about, if any was.
        seeds_needed: of each comparison, to decide it; empty if none was asked about.
        datasets_column: the factor whose levels are data sets, ``None`` where none was named.
        cost: what a run of each cell costs, by each column that was named for it.
    """

    response: str
    factors: tuple[str, ...]
    compared: str
    control: Level | None
    scale: Scale
    analysis: Analysis
    effects: tuple[FactorAnswers, ...] = ()
    claims: tuple[AnsweredClaim, ...] = ()
    others: Mapping[str, OwnAnalysis] = field(default_factory=dict)
    effect: float | None = None
    seeds_needed: tuple[ComparisonSeeds, ...] = ()
    datasets_column: str | None = None
    cost: tuple[Cost, ...] = ()

    @cached_property
    def datasets(self) -> AcrossSets | None:
        """Effects pooled over data sets, ranks and profiles; ``None`` where no column of data sets was named."""
        return across_sets(self.analysis, self.datasets_column) if self.datasets_column else None

    @property
    def costs(self) -> pd.DataFrame:
        """One row per cell: its levels, n and estimate, then median, range and front of each cost; no verdict."""
        return costs_frame(self.analysis, self.cost)

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell, indexed by the factors' levels; the columns are those of ``as_dict``."""
        return cells_frame(self.analysis)

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row per comparison, indexed by the other factors' levels; the columns are those of ``as_dict``."""
        return comparisons_frame(self.analysis)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the numbers."""
        return self.analysis.warnings

    def as_dict(self) -> dict[str, Any]:
        """Return cells, comparisons, claims, effects and warnings as JSON has them.

        With an ``effect`` there is ``power`` as well, the seeds that each comparison needs; of several responses the
        first is at the top, and ``responses`` has the others by their columns.
        """
        found: dict[str, Any] = analysis_dict(self.analysis)
        found |= {"claims": claims_list(self.claims), "effects": effects_list(self.effects)}
        found |= datasets_dict(self.datasets)
        if self.cost:
            found |= {"costs": cost_records(self.analysis, self.cost)}
        if self.seeds_needed:
            found["power"] = seeds_list(self.seeds_needed)
        if self.others:
            found |= {"response": self.response}
            found["responses"] = {name: other.as_dict() for name, other in self.others.items()}
        return found

    def to_json(self) -> str:
        """Return ``as_dict`` as JSON text."""
        return json.dumps(self.as_dict(), indent=1, allow_nan=False)


def analyze(
    data: pd.DataFrame | str | Path,
    *,
    response: str | Sequence[str],
    factors: str | Sequence[str],
    seed: str | None = None,
    compare: str | None = None,
    control: Level | None = None,
    rope: OfEach[float] | None = None,
    direction: OfEach[Direction] | None = None,
    chance: float | None = None,
    paired: bool = False,
    primary: Primary = "trained",
    scale: OfEach[Scale] | None = None,
    last_of: str | None = None,
    split: str | None = None,
    collapsed: str | None = None,
    trained_above: float | None = None,
    comparisons: Literal["control", "all"] | Sequence[tuple[Level, Level]] = "control",
    claims: str | Path | None = None,
    looks: str | Sequence[int] | None = None,
    over: str | Sequence[str] | None = None,
    test_ratio: float | None = None,
    rope_rate: float = ROPE_RATE,
    effect: OfEach[float] | None = None,
    datasets: str | None = None,
    cost: str | Sequence[str] | None = None,
) -> OwnAnalysis:
    """Describe the cells of results that were trained elsewhere, and compare the levels of one factor.

    Of several responses, ``rope``, ``direction``, ``scale`` and ``effect`` may be one for all, or one for each: a
    sequence in their order, or a mapping from their columns. Neither the order of the rows nor that of the columns
    changes anything, and two calls give the same. Rows of which a column says that they are no finished runs
    (``state``, ``status``, ``exit_code`` ...) are left out, and counted in the warnings.

    Args:
        data: one row per run: a DataFrame, or the path of a CSV file (``read_rows`` says which).
        response: the column with the number that is analysed; of several, the comparisons of all are one family. In a
            study's own results ``val_nll`` is ``val_loss``.
        factors: the columns whose levels make the cells; in one text they are separated by commas.
        seed: the column of the seeds; without it a run that is there twice goes unnoticed.
        compare: the compared factor; by default the one that has the control among its levels.
        control: its level that the others are compared with; by default ``none``, written in any case.
        rope: half-width of practical equivalence; by default 0.005 for accuracies, otherwise 0: only the sign counts.
        direction: whether a ``higher`` or a ``lower`` response is better; by default told by the column's name: losses,
            errors, times and the like are better if they are lower.
        chance: the accuracy of guessing: runs not above 1.1 times it count as collapsed, where no column tells. Of
            several responses, the first that is named like an accuracy tells for all.
        paired: whether runs of one seed are a block, as where the seed decided the split; to be declared before the
            runs are seen.
        primary: the estimand that decides: the mean of the runs that ``trained``, of all (``mean``), or the ``median``.
        scale: whether the response is a ``fraction`` of 1 such as an accuracy, one in ``percent``, which is divided by
            100 (``rope`` and ``chance`` are fractions always), or ``none`` of these; by default told by the column's
            name, if the values fit.
        last_of: a column such as ``epoch``, if there are several rows per run: of each only the last is analysed.
        split: the column of the split, or another block within which all cells were trained: the runs of one cell in a
            block are averaged, and cells are compared within blocks.
        collapsed: the column of true and false that tells which runs collapsed or diverged; by default one of this
            name. Such a run may have no response.
        trained_above: the response (the first, where lower is better below) above which a run counts as trained; one
            without a finite response did not.
        comparisons: each level with the ``control``, ``all`` with each other, or pairs (a, b) of levels.
        claims: the path of a TOML file with ``[[claims]]`` as in a study file, the factors being columns.
        looks: the numbers of seeds at which it was declared to look; the error is divided among them. More seeds than
            the last are an extension, fewer are judged as the next look.
        over: what verdicts are about: ``seeds``, or ``seeds,split`` (the default where ``split`` is given).
        test_ratio: judged over training images of a split, which verdicts over splits need.
        rope_rate: half-width of practical equivalence of two collapse rates.
        effect: the difference for which the seeds are wanted that each comparison needs to decide it.
        datasets: the column of the data sets, a factor whether it is among ``factors`` or not: the comparisons are then
            also pooled over data sets, and the levels ranked on them.
        cost: the columns of what a run costs, such as ``seconds,parameters``: described, never judged.

    Raises:
        UserError: naming the rows and what is wrong with them, or the option.
    """
    options = checked_options(
        response=response,
        factors=with_datasets(factors, datasets),
        seed=seed,
        compare=compare,
        control=control,
        rope=rope,
        direction=direction,
        chance=chance,
        paired=paired,
        primary=primary,
        scale=scale,
        last_of=last_of,
        split=split,
        collapsed=collapsed,
        trained_above=trained_above,
        comparisons=comparisons,
        looks=looks,
        over=over,
        test_ratio=test_ratio,
        rope_rate=rope_rate,
        effect=effect,
        datasets=datasets,
        cost=cost,
    )
    declared = [] if claims is None else read_claims(claims)
    runs = read_runs(data, options)
    asked = runs.options.asked
    level, on_looks = level_now(runs)
    alpha = (1 - level) * (1 - CLAIMS_SHARE if declared else 1.0) / len(asked)
    said = (*([on_looks] if on_looks else []), *on_error(level, len(asked), len(declared)))
    found = [_own(each, runs, alpha, said) for each in asked]
    judged = _claims(declared, runs, found, (1 - level) * CLAIMS_SHARE)
    first, *rest = found
    return replace(first, claims=judged, others={other.response: other for other in rest})


def _own(asked: Asked, runs: Runs, alpha: float, said: tuple[str, ...]) -> OwnAnalysis:
    """Return the analysis of one response."""
    found = analyse_response(asked, runs, alpha, said)
    return OwnAnalysis(
        asked.response,
        runs.options.factors,
        runs.factor,
        runs.control,
        found.scale,
        found.analysis,
        found.effects,
        effect=asked.effect,
        seeds_needed=found.seeds_needed,
        datasets_column=runs.options.datasets,
        cost=costs_of_rows(runs.rows, runs.options.cost, runs.levels),
    )


def _claims(
    claims: Sequence[OwnClaim], runs: Runs, found: Sequence[OwnAnalysis], alpha: float
) -> tuple[AnsweredClaim, ...]:
    """Judge the claims by the cells of the responses that they name."""
    if not claims:
        return ()
    factorial = Factorial(runs.order, lambda at: tuple(at[name] for name in runs.order))
    data = {each.response: each.analysis.data for each in found}
    return judge_claims(claims, Ground(factorial, runs.factor, data), alpha)
