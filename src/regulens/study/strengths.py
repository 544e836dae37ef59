"""How the response depends on a regularizer's strength, and whether the grid of strengths was a fair one."""

from __future__ import annotations

from dataclasses import dataclass

from regulens.notation import parse_regularizer
from regulens.spec import RunSpec, StudySpec
from regulens.stats.cells import Cells
from regulens.stats.intervals import Interval
from regulens.stats.samples import Sample
from regulens.stats.ties import best_of_equals
from regulens.study.grid import cell_levels, level_label

LEAST_STRENGTHS = 2  # positive ones: fewer are no grid


@dataclass(frozen=True, eq=False)
class StrengthSeries:
    """One regularizer's grid within one combination of the other factors.

    Attributes:
        kind: of the regularizer, e.g. ``l2``; ``l2 + batchnorm`` where another stands beside it.
        where: the other factors' levels, in words.
        strengths: (k,) ascending; 0 is the network without it.
        samples: the runs at each.
        means: the declared estimand of each, with its interval.
    """

    kind: str
    where: str
    strengths: tuple[float, ...]
    samples: tuple[Sample, ...]
    means: tuple[Interval, ...]

    def best(self, higher: bool) -> int:
        """Return the place of the strength with the best mean."""
        means = [mean.estimate for mean in self.means]
        return best_of_equals(means, higher)[0]

    def warnings(self, higher: bool) -> list[str]:
        """Say where the grid may have missed the best strength, or a network with "none" in it does not gain."""
        place = f"{self.kind}, {self.where}" if self.where else self.kind
        best, found = self.best(higher), []
        if best in {0, len(self.strengths) - 1} and self.strengths[best] > 0:
            end = "strongest" if best else "weakest"
            found.append(
                f"{place}: the best strength, {self.strengths[best]:g}, is the {end} of the grid: a better one may lie "
                "beyond it; widen the grid before comparing regularizers"
            )
        if self.strengths[0] == 0 and best == 0:
            found.append(
                f"{place}: no strength does better than none, so the tuned arm is the network without it; what a "
                "poorer arm shows is the noise of choosing"
            )
        return found


def strength_series(study: StudySpec, data: Cells[RunSpec]) -> list[StrengthSeries]:
    """Return the grids among the levels of the regularizer: those with two or more positive strengths."""
    samples = data.samples
    if "regularizer" not in study.factors:
        return []
    groups: dict[tuple[str, str], dict[float, RunSpec]] = {}
    for spec in samples:
        where = ", ".join(
            level_label(path, level) for path, level in cell_levels(spec, study).items() if path != "regularizer"
        )
        for kind, strength in _strengths(spec.regularizer):
            groups.setdefault((kind, where), {})[strength] = spec
    found = []
    for (kind, where), by_strength in groups.items():
        none = next((spec for spec in samples if _is_base(spec, kind, next(iter(by_strength.values())))), None)
        if none is not None:
            by_strength[0.0] = none
        if sum(strength > 0 for strength in by_strength) >= LEAST_STRENGTHS:
            strengths = tuple(sorted(by_strength))
            runs = tuple(samples[by_strength[strength]] for strength in strengths)
            means = tuple(data.primary({by_strength[strength]: 1.0}).interval(0.95) for strength in strengths)
            found.append(StrengthSeries(kind, where, strengths, runs, means))
    return found


def _strengths(regularizer: str) -> list[tuple[str, float]]:
    """Return the terms with a strength, each named with its companions: ``l2 + batchnorm`` of l2(0.01) + batchnorm."""
    terms = parse_regularizer(regularizer)
    return [
        (" + ".join([term.kind, *(str(other) for other in terms if other is not term)]), term.value)
        for term in terms
        if term.value
    ]


def _is_base(spec: RunSpec, kind: str, beside: RunSpec) -> bool:
    """Tell whether a cell is the one like ``beside`` that has no term of this kind."""
    companions = kind.partition(" + ")[2] or "none"
    return spec == beside.model_copy(update={"regularizer": companions})
