"""What a study declares to be judged by, with every default filled in and every name checked.

Every study file is checked by it, so the statistics, which are slow to import, come only where they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from regulens.errors import UserError, suggestion
from regulens.spec import BETTER, BOUNDS, OF_IMAGES, ROPE, Direction, Level, Population, Response, StudySpec
from regulens.study.grid import level_text, levels_of, normal_level

if TYPE_CHECKING:
    from regulens.stats.design import Design

Of = TypeVar("Of")


@dataclass(frozen=True)
class DeclaredAnalysis:
    """The ``[analysis]`` of a study.

    Attributes:
        response: what runs are compared by.
        direction: which values of it are better.
        rope: half the width of the region of practical equivalence, in the response's unit; 0 judges only the sign.
        primary: the estimand that decides.
        over: what another study would draw anew, so that a verdict shall hold for it.
        rope_rate: half the width of the region of equivalence of two collapse rates.
        claims_share: what part of the error of 5 % the claims have; the comparisons have the rest.
        trained_above: the validation accuracy above which a run counts as trained; None for that of guessing.
        factor: dotted name of the compared factor; ``None`` in a study without factors.
        levels: of it, in the order of the file.
        control: the one of them that the others are compared with; ``None`` in a study without factors.
        comparisons: ``control``, ``all``, or the pairs (a, b) named.
        paired: whether runs of one seed are a block: they are where seeds vary the split.
    """

    response: Response
    direction: Direction
    rope: float
    primary: Literal["trained", "mean", "median"]
    over: tuple[Population, ...]
    rope_rate: float
    claims_share: float
    trained_above: float | None
    factor: str | None
    levels: tuple[Level, ...]
    control: Level | None
    comparisons: Literal["control", "all"] | tuple[tuple[Level, Level], ...]
    paired: bool


def declared_analysis(study: StudySpec) -> DeclaredAnalysis:
    """Return what the study is judged by.

    The compared factor is by default the regularizer, else the first factor; the control its level ``none``, else
    its first level.

    Raises:
        UserError: naming the key, its value and the fix.
    """
    asked = study.analysis
    factor = _compared_factor(study)
    levels = levels_of(study, factor) if factor is not None else ()
    return DeclaredAnalysis(
        response=asked.response,
        direction=asked.direction or BETTER[asked.response],
        rope=ROPE[asked.response] if asked.rope is None else asked.rope,
        primary=asked.primary,
        over=_over(study),
        rope_rate=asked.rope_rate,
        claims_share=_claims_share(study, factor),
        trained_above=asked.trained_above,
        factor=factor,
        levels=levels,
        control=_control(study, factor, levels),
        comparisons=_comparisons(study, factor),
        paired="split" in study.vary,
    )


def design_of(
    declared: DeclaredAnalysis,
    response: Response,
    alpha: float,
    *,
    failed: float | None = None,
    test_ratio: float = 0.0,
) -> Design:
    """Return the rules by which a response is judged, other than the declared one by the same but for its direction.

    Args:
        declared: of the study.
        response: of the runs.
        alpha: what the family may err by.
        failed: the response of a network that guesses, as far as it is known.
        test_ratio: judged over training images of a split.
    """
    from regulens.stats.design import Design

    same = response == declared.response
    return Design(
        direction=declared.direction if same else BETTER[response],
        rope=declared.rope if same else ROPE[response],
        primary=declared.primary,
        alpha=alpha,
        paired=declared.paired,
        bounds=BOUNDS[response],
        over=declared.over,
        rates=response != "train_seconds",
        rope_rate=declared.rope_rate,
        failed=failed,
        test_ratio=test_ratio,
    )


def compared_pairs(
    declared: DeclaredAnalysis, cells: Mapping[frozenset[tuple[str, Level]], Of]
) -> Iterator[tuple[Of, Of]]:
    """Yield the pairs of cells, by the sets of their levels, that are compared: they differ in one factor alone."""
    from regulens.stats.analysis import declared_pairs

    if declared.factor is None:
        return
    pairs = declared_pairs(declared.levels, declared.control, declared.comparisons)
    for levels, cell in cells.items():
        for a, b in pairs:
            other = levels - {(declared.factor, a)} | {(declared.factor, b)}
            if (declared.factor, a) in levels and other in cells:
                yield cell, cells[other]


def _over(study: StudySpec) -> tuple[Population, ...]:
    """Return what a verdict is over: by default seeds and images; where seeds vary the split, seeds and splits."""
    asked, split = study.analysis.over, "split" in study.vary
    if asked is None:
        images = study.analysis.response in OF_IMAGES
        return ("seeds", "split") if split else ("seeds", "images") if images else ("seeds",)
    if "split" in asked and not split:
        raise UserError('analysis.over names "split", which no seed varies; add "split" to vary, or omit it')
    if "images" in asked and split:
        raise UserError('analysis.over names "images", but each split has its own; write over = ["seeds", "split"]')
    if "images" in asked and study.analysis.response not in OF_IMAGES:
        raise UserError(
            f'analysis.over names "images", but {study.analysis.response} is not known image by image; '
            'write over = ["seeds"]'
        )
    return asked


def _claims_share(study: StudySpec, factor: str | None) -> float:
    """Return the part of the error that claims have: all if nothing is compared, none if nothing is claimed."""
    if not study.claims:
        return 0.0
    return 1.0 if factor is None else study.analysis.claims_share


def _compared_factor(study: StudySpec) -> str | None:
    asked = study.analysis.factor
    if asked is None:
        return "regularizer" if "regularizer" in study.factors else next(iter(study.factors), None)
    if asked not in study.factors:
        raise UserError(f'analysis.factor = "{asked}": is not a factor of this study{suggestion(asked, study.factors)}')
    return asked


def _control(study: StudySpec, factor: str | None, levels: tuple[Level, ...]) -> Level | None:
    asked = study.analysis.control
    if factor is None:
        if asked is not None:
            raise UserError(f"analysis.control = {level_text(asked)}: this study has no factors; remove it")
        return None
    if asked is not None:
        return _level(study, factor, asked, "analysis.control")
    return "none" if "none" in levels else levels[0]


def _comparisons(study: StudySpec, factor: str | None) -> Literal["control", "all"] | tuple[tuple[Level, Level], ...]:
    asked = study.analysis.comparisons
    if isinstance(asked, str):
        return asked
    if factor is None:
        raise UserError("analysis.comparisons: this study has no factors; remove it")
    pairs: list[tuple[Level, Level]] = []
    for number, pair in enumerate(asked):
        place = f"analysis.comparisons[{number}]"
        a, b = (_level(study, factor, level, place) for level in pair)
        if a == b:
            raise UserError(f"{place}: compares {level_text(a)} with itself; name two levels")
        if {(a, b), (b, a)} & set(pairs):
            raise UserError(f"{place}: {level_text(a)} and {level_text(b)} are compared already; keep one of them")
        pairs.append((a, b))
    return tuple(pairs)


def _level(study: StudySpec, factor: str, level: Level, place: str) -> Level:
    known = levels_of(study, factor)
    try:
        value = normal_level(study, factor, level)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if value not in known:
        nearest = suggestion(level_text(value), map(level_text, known))
        raise UserError(f"{place} = {level_text(value)}: is not a level of {factor}{nearest}")
    return value
