"""Frozen descriptions of a study: its factors, what it is judged by, its claims and variations."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from regulens.files import is_reserved
from regulens.spec.run import (
    EVERY_SEED,
    MAX_SEEDS,
    DataSpec,
    Level,
    ModelSpec,
    RefitRule,
    RegularizerText,
    Sources,
    Spec,
    TrainSpec,
    as_tuple,
)

Response = Literal["val_accuracy", "train_accuracy", "val_loss", "train_loss", "gap", "train_seconds"]
"""What a run is judged by: a number of its result; ``gap`` is train minus validation accuracy.

Losses are mean negative log-likelihoods: the penalty that an arm is trained with is no part of them.
"""

OTHER_NAMES: dict[object, Response] = {"val_nll": "val_loss", "train_nll": "train_loss"}
"""What responses are called as well."""

Direction = Literal["higher", "lower"]
"""Which values of a response are better."""

BETTER: dict[Response, Direction] = {
    "val_accuracy": "higher",
    "train_accuracy": "higher",
    "val_loss": "lower",
    "train_loss": "lower",
    "gap": "lower",
    "train_seconds": "lower",
}
"""The direction of each response unless a study says otherwise."""

ROPE: dict[Response, float] = dict.fromkeys(BETTER, 0.0) | {"val_accuracy": 5e-3, "train_accuracy": 5e-3, "gap": 5e-3}
"""Half the width of the region of practical equivalence, in the response's unit, unless a study says otherwise."""

BOUNDS: dict[Response, tuple[float, float]] = {
    "val_accuracy": (0, 1),
    "train_accuracy": (0, 1),
    "gap": (-1, 1),
    "val_loss": (0, math.inf),
    "train_loss": (0, math.inf),
    "train_seconds": (0, math.inf),
}
"""What a response can be."""


OF_IMAGES: frozenset[Response] = frozenset(("val_accuracy", "val_loss"))
"""Responses that are known image by image, from a run's predictions."""

Population = Literal["seeds", "images", "split"]
"""What another study would draw anew."""

ROPE_RATE = 0.05
"""Differences of collapse rates up to this are of no consequence, unless a study declares otherwise."""

CLAIMS_SHARE = 0.5
"""The part of the error that claims have, where there are any; the comparisons have the rest."""

OVER: tuple[tuple[Population, ...], ...] = (("seeds",), ("seeds", "images"), ("seeds", "split"))
"""The populations that a verdict can be about."""


class Published(Spec):
    """Figures that others printed for one cell, shown beside ours: ``where`` names the cell's levels."""

    where: dict[str, Level]
    val_accuracy: float | None = None
    test_accuracy: float | None = None


class PublishedSource(Spec):
    """Where the published figures come from."""

    source: str
    cells: list[Published]


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores: it names the study's folder")
    if is_reserved(name):
        raise ValueError(
            "must not end in a dot or be a device's name on Windows, such as con or nul: it names a folder"
        )
    return name


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_level, value))


def _is_level(value: object) -> bool:
    return isinstance(value, Level) and not (isinstance(value, float) and not math.isfinite(value))


def _pair(value: object) -> object:
    if not _is_pair(value):
        raise ValueError("must be two levels, such as [1, 2]")
    return as_tuple(value)


def _comparisons(value: object) -> object:
    if isinstance(value, list | tuple) and value and all(map(_is_pair, value)):
        return tuple(map(as_tuple, value))
    if value not in ("control", "all"):
        raise ValueError('must be "control", "all" or a list of pairs of levels, such as [["batchnorm", "none"]]')
    return value


def _over(value: object) -> object:
    if as_tuple(value) not in OVER:
        raise ValueError('must be ["seeds"], ["seeds", "images"] or ["seeds", "split"]')
    return as_tuple(value)


Pair = Annotated[tuple[Level, Level], BeforeValidator(_pair)]
"""Two levels of one factor."""

Comparisons = Annotated[Literal["control", "all"] | tuple[tuple[Level, Level], ...], BeforeValidator(_comparisons)]
"""Which levels are compared: each with the control, all with each other, or the pairs (a, b) named."""


def _response(value: object) -> object:
    return OTHER_NAMES.get(value, value) if isinstance(value, str) else value


class AnalysisSpec(Spec):
    """What a study is judged by, declared before it is run; what is absent is filled in by ``study.declared``."""

    response: Annotated[Response, BeforeValidator(_response)] = Field(
        "val_accuracy", description="the number of a run that is compared"
    )
    direction: Direction | None = Field(None, description='which is better: "higher" or "lower"')
    factor: str | None = Field(None, description="the factor whose levels are compared")
    control: Level | None = Field(None, description="the level that the others are compared with")
    rope: float | None = Field(None, ge=0, description="differences up to this are taken to be of no consequence")
    primary: Literal["trained", "mean", "median"] = Field(
        "trained", description="mean over the runs that trained, over all runs, or the median of all"
    )
    over: Annotated[tuple[Population, ...], BeforeValidator(_over)] | None = Field(
        None, description="what another study would draw anew: seeds, seeds and images, or seeds and splits"
    )
    rope_rate: float = Field(
        ROPE_RATE, ge=0, lt=1, description="differences of collapse rates up to this are taken to be of no consequence"
    )
    trained_above: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="validation accuracy above which a run trained; by default that of guessing",
    )
    claims_share: float = Field(
        CLAIMS_SHARE, gt=0, lt=1, description="the part of the 5 % error that claims have; comparisons have the rest"
    )
    comparisons: Comparisons = Field("control", description='"control", "all", or pairs of levels')


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise ValueError("must be 1 to 32 letters, digits, dashes or underscores")
    return name


def _responses(value: object) -> object:
    values = (value,) if isinstance(value, str) else as_tuple(value)
    return tuple(map(_response, values)) if isinstance(values, tuple) else values


ClaimKind = Literal["greater", "equal", "best", "interaction", "reversal"]
"""What is claimed of levels ``a`` and ``b`` of a factor, wherever the claim is made:

``greater``: the response at a is above that at b. ``equal``: both are practically equal. ``best``: a is better
than every other level. ``interaction``: the difference a - b is larger at the first of the levels ``between`` of
the factor ``by`` than at the second. ``reversal``: it is above zero at the first of them and below at the second.
"""


class ClaimSpec(Spec):
    """A claim to be tested, about the levels of one factor."""

    id: Annotated[str, AfterValidator(_identifier)]
    text: str = Field(min_length=1, description="the claim in words")
    kind: ClaimKind
    factor: str | None = Field(None, description="whose levels a and b are; by default that of the analysis")
    a: Level
    b: Level | None = Field(None, description="the level that a is compared with; of no use where a is the best")
    response: Annotated[tuple[Response, ...], Field(min_length=1), BeforeValidator(_responses)] | None = Field(
        None, description="by default that of the analysis; of several, the claim must hold of each"
    )
    direction: Direction | None = Field(None, description="which is better, where a is claimed to be the best")
    rope: float | None = Field(None, ge=0, description="by default that of the analysis, or of the response")
    where: dict[str, Level] = Field({}, description="levels of other factors; what is absent must hold at every level")
    by: str | None = Field(None, description="the factor that the effect of a against b depends on")
    between: Pair | None = Field(None, description="two levels of it")
    needs: str = Field("", description="what can test the claim where this study cannot")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        two_effects = self.kind in {"interaction", "reversal"}
        if (self.b is None) != (self.kind == "best"):
            raise ValueError(
                f'claim "{self.id}": kind = "best" compares a with all other levels; remove b'
                if self.kind == "best"
                else f'claim "{self.id}": kind = "{self.kind}" needs b, the level that a is compared with'
            )
        if two_effects != (self.by is not None) or two_effects != (self.between is not None):
            raise ValueError(
                f'claim "{self.id}": kind = "{self.kind}" needs by = FACTOR and between = [LEVEL, LEVEL]'
                if two_effects
                else f'claim "{self.id}": kind = "{self.kind}" compares at one place; remove by and between'
            )
        if self.direction is not None and self.kind != "best":
            raise ValueError(f'claim "{self.id}": direction is for kind = "best"; elsewhere, swap a and b')
        return self


class VariationSpec(Spec):
    """A change of fields that all cells share, under which the whole study is run again."""

    name: Annotated[str, AfterValidator(_folder_name)]
    text: str = ""
    change: Annotated[dict[str, Level], Field(min_length=1)]


class StudySpec(Spec):
    """A full factorial of runs over seeds, and what is done with them.

    ``data``, ``model``, ``train`` and ``regularizer`` hold the fields that all cells share; ``factors``
    maps a field's dotted name to its levels.
    """

    name: Annotated[str, AfterValidator(_folder_name)]
    title: str = ""
    seeds: int = Field(5, ge=1, le=MAX_SEEDS)
    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    train: TrainSpec = TrainSpec()
    regularizer: RegularizerText = "none"
    vary: Sources = EVERY_SEED
    refit: RefitRule = "epochs"
    fresh: int = Field(0, ge=0, le=MAX_SEEDS)
    factors: dict[str, list[Level]] = Field({})
    also_refit: list[dict[str, Level]] = Field([])
    analysis: AnalysisSpec = AnalysisSpec()
    claims: list[ClaimSpec] = Field([])
    variations: list[VariationSpec] = Field([])
    published: PublishedSource | None = None
