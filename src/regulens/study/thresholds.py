"""Thresholds on the response's own scale: a width or an effect in points, where fractions are meant, is a slip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from regulens.errors import UserError
from regulens.spec import BOUNDS, Response, StudySpec

WIDEST_ROPE = 0.1
"""Of accuracies: differences of more than ten points are of consequence to anyone."""

LARGEST_EFFECT = 0.5
"""Of accuracies, exclusive: half of the whole scale needs no planning, but is how half a point gets written."""

LARGEST_SD = 0.25
"""Of accuracies that train: two standard deviations to either side are then the whole scale."""


def is_fraction(response: Response) -> bool:
    """Tell whether a response is an accuracy or a difference of two, in fractions of 1."""
    return math.isfinite(BOUNDS[response][1])


def in_points(named: str, value: float, response: str) -> str:
    """Say what a fraction comes to in points, and how so many points are written.

    Args:
        named: the value with its name, e.g. ``rope 0.5``.
        value: it.
        response: whose difference it is.
    """
    points = {0.5: "half a point", 1.0: "one point"}.get(value, f"{value:g} points")
    return f"{named} is {100 * value:g} percentage points of {response}; for {points} write {value / 100:g}"


def rope_warnings(rope: float | None, response: str, values: Sequence[float], *, fraction: bool) -> list[str]:
    """Check the width that was asked for in an analysis of values, and return what is to be said of it.

    Args:
        rope: half-width of practical equivalence; ``None`` if none was asked for.
        response: its name.
        values: of all runs.
        fraction: whether the values are accuracies, or differences of accuracies, in fractions of 1.

    Raises:
        UserError: for a width of accuracies above ``WIDEST_ROPE``.
    """
    if rope is None:
        return []
    if fraction and rope > WIDEST_ROPE:
        raise UserError(in_points(f"rope {rope:g}", rope, response))
    return _wider_than_range(f"the equivalence margin rope = {rope:g}", rope, response, values)


def check_thresholds(study: StudySpec) -> None:
    """Check the widths that a study declares for accuracies.

    Raises:
        UserError: naming the key, its value, and the fraction that is meant.
    """
    for named, rope, response in _declared_ropes(study):
        if is_fraction(response) and rope > WIDEST_ROPE:
            raise UserError(in_points(named, rope, response))


def study_warnings(study: StudySpec, values_of: Callable[[Response], Sequence[float]]) -> list[str]:
    """Say of a study that was run which of its widths are too large to tell anything.

    Args:
        study: as declared.
        values_of: the values of a response, of all runs that are compared.
    """
    said = []
    for named, rope, response in _declared_ropes(study):
        if is_fraction(response) and rope > WIDEST_ROPE:
            said.append(in_points(f"the equivalence margin {named}", rope, response))
        else:
            said += _wider_than_range(f"the equivalence margin {named}", rope, response, values_of(response))
    return said


def check_effect(effect: float, sd: float | None, collapse_rate: float, response: Response) -> None:
    """Check what a number of seeds is planned by.

    Raises:
        UserError: naming the one that is wrong, and why.
    """
    for name, value in (("effect", effect), ("sd", sd)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} must be a number above 0, got {value:g}")
    if not 0 <= collapse_rate < 1:
        percent = f"; for {collapse_rate:g} percent write {collapse_rate / 100:g}" if 1 <= collapse_rate < 100 else ""
        raise UserError(f"collapse must be a fraction of runs in [0, 1), got {collapse_rate:g}{percent}")
    if is_fraction(response) and effect >= LARGEST_EFFECT:
        raise UserError(in_points(f"effect {effect:g}", effect, response))
    if sd is not None and is_fraction(response) and sd > LARGEST_SD:
        raise UserError(in_points(f"sd {sd:g}", sd, response))


def power_warnings(
    effect: float, sd: float | None, response: Response, values: Sequence[float], rope: float = 0.0
) -> list[str]:
    """Say that an effect or an sd is very large, or the effect too small for the margin or too large for a pilot.

    Args:
        effect: to be decided.
        sd: stated, ``None`` where the pilot says it.
        response: of both.
        values: of the pilot's runs, if there are any.
        rope: half-width of practical equivalence.
    """
    said = []
    if effect <= rope:
        said.append(
            f"effect {effect:g} is not above the equivalence margin {rope:g}: no number of seeds can show that so "
            "small a difference is better or worse"
        )
    if is_fraction(response):
        stated = [(name, value) for name, value in (("effect", effect), ("sd", sd)) if value is not None]
        said += [in_points(f"{name} {value:g}", value, response) for name, value in stated if value > WIDEST_ROPE]
    if not said and len(values) and effect > max(values) - min(values):
        said.append(f"effect {effect:g} is larger than the whole range of {response} among the runs ({_range(values)})")
    return said


def _declared_ropes(study: StudySpec) -> Iterator[tuple[str, float, Response]]:
    """Yield each width that the study file states, named by its key, with the response that it is of."""
    asked = study.analysis
    if asked.rope is not None:
        yield f"analysis.rope = {asked.rope:g}", asked.rope, asked.response
    for number, claim in enumerate(study.claims):
        if claim.rope is not None:
            for response in claim.response or (asked.response,):
                yield f"claims[{number}] ({claim.id}): rope = {claim.rope:g}", claim.rope, response


def _wider_than_range(named: str, rope: float, response: str, values: Sequence[float]) -> list[str]:
    if not len(values) or not 0 < max(values) - min(values) < rope:
        return []
    return [
        f"{named} is larger than the whole range of {response} among the runs ({_range(values)}): no difference "
        "between them can count"
    ]


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.6g} to {max(values):.6g}"
