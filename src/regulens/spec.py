"""Frozen, complete descriptions of what is trained: nothing outside a spec changes a result."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from regulens.errors import UserError
from regulens.notation import format_regularizer, parse_regularizer

SCHEMA_VERSION = 1
"""Hashed into every identity: raised only when the meaning of an existing field changes."""

MAX_SEEDS = 10_000

Level = bool | int | float | str
"""One level of a factor, as TOML writes it."""

Response = Literal["val_accuracy", "train_accuracy", "val_loss", "train_loss", "gap", "train_seconds"]
"""What a run is judged by: a number of its result; ``gap`` is train minus validation accuracy."""

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

Stage = Literal["train", "refit"]
"""``train``: on the train part, judged on validation. ``refit``: on both, for the sealed test part."""

RefitRule = Literal["epochs", "updates"]
"""How long a refit trains on its larger part: as many epochs as the training, or as many steps."""

Source = Literal["init", "order", "dropout", "split"]
"""A source of randomness: initial weights; order of the images; masks and what a regularizer does to batches; split."""

_SOURCES = get_args(Source)
Purpose = Literal["init", "shuffle", "dropout", "batch"]
"""What a stream of random numbers is for: the last two are layers' masks and the regularizer's batch hook."""

_SOURCE_OF: dict[Purpose, Source] = {"init": "init", "shuffle": "order", "dropout": "dropout", "batch": "dropout"}
"""The source of randomness that each stream belongs to."""


class Spec(BaseModel):
    """Base of all specs: immutable, no unknown keys, no silent conversions, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _number_from_fraction(value: object) -> object:
    """Read ``"1/255"`` as the number it means; leave all else to pydantic."""
    if isinstance(value, str):
        try:
            numerator, _, denominator = value.partition("/")
            number = float(numerator) / float(denominator or 1)
        except (ValueError, ZeroDivisionError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError('must be a finite number or a fraction such as "1/255"')
        return number
    return value


class DataSpec(Spec):
    """Which images, how they are split, and how their pixels are scaled."""

    name: str = Field("fashion-mnist", description="a data set of `regulens data list`")
    scale: Annotated[float, BeforeValidator(_number_from_fraction)] = Field(
        1.0, gt=0, description='pixels 0..255 are multiplied by this; 1 = raw, "1/255" = unit range'
    )
    standardize: bool = Field(
        False, description="pixels are then brought to mean 0 and sd 1, per channel, over the images fitted on"
    )
    validation: float = Field(0.15, gt=0, lt=1, description="share of the images held out to choose by")
    test: float = Field(0.15, gt=0, lt=1, description="share of the images kept sealed until the choice is made")
    split_seed: int = Field(123, ge=0, le=2**32 - 1, description="random_state of scikit-learn's train_test_split")
    limit: int | None = Field(None, ge=10, description="use only so many images, drawn with split_seed")

    @model_validator(mode="after")
    def _leaves_images_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must stay below 1, got {self.validation} + {self.test}")
        return self


PIXEL_FIELDS = {"scale", "standardize"}
"""The fields of ``DataSpec`` that change pixels and not which images there are."""


class ModelSpec(Spec):
    """A small CNN: ``depth`` blocks of convolution + ReLU + max pooling, one dense layer, logits."""

    depth: int = Field(1, ge=1, le=16, description="number of convolution blocks")
    filters: int = Field(16, ge=1, le=4096, description="filters of each convolution")
    kernel_size: int = Field(3, ge=1, le=15, description="height and width of each kernel")
    padding: Literal["valid", "same"] = Field("valid", description='"valid" or "same", as in Keras')
    pool: int = Field(2, ge=1, le=16, description="max pooling window and stride; 1 = no pooling")
    dense: int = Field(80, ge=1, le=65536, description="units of the dense layer before the logits")


class TrainSpec(Spec):
    """Plain stochastic gradient descent on the cross-entropy."""

    epochs: int = Field(5, ge=1, description="passes over the train part")
    batch_size: int = Field(100, ge=1, description="images per step; a last smaller batch is kept")
    learning_rate: float = Field(0.01, gt=0, description="step size of SGD")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of SGD")


def _canonical(text: str) -> str:
    try:
        return format_regularizer(parse_regularizer(text))
    except UserError as error:
        raise ValueError(str(error)) from None


RegularizerText = Annotated[str, AfterValidator(_canonical)]
"""A regularizer in the notation of ``regulens.notation``, written the one canonical way."""


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _in_order(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    if not sources:
        raise ValueError(f"runs that nothing tells apart are no sample; name at least one of {', '.join(_SOURCES)}")
    for source in sources:
        if sources.count(source) > 1:
            raise ValueError(f"names {source} twice; keep one of them")
    return tuple(sorted(sources, key=_SOURCES.index))


Sources = Annotated[tuple[Source, ...], BeforeValidator(_tuple), AfterValidator(_in_order)]
"""Some of the sources of randomness, each once, in one canonical order."""

EVERY_SEED: tuple[Source, ...] = ("init", "order", "dropout")
"""What seeds vary unless a study says otherwise: all but the split."""


class RunSpec(Spec):
    """One training, complete: the same spec on the same images gives the same result."""

    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    train: TrainSpec = TrainSpec()
    regularizer: RegularizerText = "none"
    stage: Stage = "train"
    refit: RefitRule = "epochs"
    vary: Sources = EVERY_SEED
    seed: int = Field(0, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _has_a_rule_only_where_it_matters(self) -> Self:
        if self.stage == "train" and self.refit != "epochs":
            raise ValueError(f'refit = "{self.refit}" is for stage "refit" only')
        return self

    @property
    def cell(self) -> RunSpec:
        """The cell that this run belongs to, trained or refitted: itself at stage ``train`` and seed 0."""
        return self.model_copy(update={"stage": "train", "refit": "epochs", "seed": 0})

    @property
    def compared(self) -> bool:
        """Whether it is one of the trainings that the study compares and chooses by."""
        return self.stage == "train" and self.seed < MAX_SEEDS

    @property
    def fresh(self) -> bool:
        """Whether it trains a chosen cell from a seed that had no part in the choice: those from ``MAX_SEEDS`` on."""
        return self.stage == "train" and self.seed >= MAX_SEEDS

    @property
    def parts(self) -> DataSpec:
        """What its images and their split depend on: runs of equal ``parts`` are judged on the same images.

        Where the split is varied its seed is ``split_seed + seed`` (modulo 2**32): at one seed, all cells share images.
        """
        shift = self.seed if "split" in self.vary else 0
        fields = {name: DataSpec.model_fields[name].default for name in PIXEL_FIELDS}
        return self.data.model_copy(update=fields | {"split_seed": (self.data.split_seed + shift) % 2**32})


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
    return name


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_level, value))


def _is_level(value: object) -> bool:
    return isinstance(value, Level) and not (isinstance(value, float) and not math.isfinite(value))


def _pair(value: object) -> object:
    if not _is_pair(value):
        raise ValueError("must be two levels, such as [1, 2]")
    return _tuple(value)


def _comparisons(value: object) -> object:
    if isinstance(value, list | tuple) and value and all(map(_is_pair, value)):
        return tuple(map(_tuple, value))
    if value not in ("control", "all"):
        raise ValueError('must be "control", "all" or a list of pairs of levels, such as [["batchnorm", "none"]]')
    return value


Pair = Annotated[tuple[Level, Level], BeforeValidator(_pair)]
"""Two levels of one factor."""

Comparisons = Annotated[Literal["control", "all"] | tuple[tuple[Level, Level], ...], BeforeValidator(_comparisons)]
"""Which levels are compared: each with the control, all with each other, or the pairs (a, b) named."""


class AnalysisSpec(Spec):
    """What a study is judged by, declared before it is run; what is absent is filled in by ``study.declared``."""

    response: Response = Field("val_accuracy", description="the number of a run that is compared")
    direction: Direction | None = Field(None, description='which is better: "higher" or "lower"')
    factor: str | None = Field(None, description="the factor whose levels are compared")
    control: Level | None = Field(None, description="the level that the others are compared with")
    rope: float | None = Field(None, ge=0, description="differences up to this are taken to be of no consequence")
    primary: Literal["mean", "trained", "median"] = Field(
        "mean", description="mean over all runs, over those that trained, or the median"
    )
    comparisons: Comparisons = Field("control", description='"control", "all", or pairs of levels')


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise ValueError("must be 1 to 32 letters, digits, dashes or underscores")
    return name


def _responses(value: object) -> object:
    return (value,) if isinstance(value, str) else _tuple(value)


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
    factors: dict[str, list[Level]] = {}
    also_refit: list[dict[str, Level]] = []
    analysis: AnalysisSpec = AnalysisSpec()
    claims: list[ClaimSpec] = []
    variations: list[VariationSpec] = []
    published: PublishedSource | None = None


def field_paths() -> dict[str, type[BaseModel]]:
    """Return the dotted name of every field that can be a factor, with the spec that owns it."""
    paths: dict[str, type[BaseModel]] = {"regularizer": RunSpec}
    groups: dict[str, type[BaseModel]] = {"data": DataSpec, "model": ModelSpec, "train": TrainSpec}
    for group, spec in groups.items():
        paths.update({f"{group}.{field}": spec for field in spec.model_fields})
    return paths


def level_of(spec: RunSpec, path: str) -> Level:
    """Return the value of the field with this dotted name, e.g. ``level_of(spec, "model.depth")``."""
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value  # type: ignore[no-any-return]  # the path names a leaf: a Level


def run_id(spec: RunSpec, dataset_digest: str) -> str:
    """Return the run's identity: 16 hexadecimal digits of a hash of its spec and its data.

    Fields at their defaults are left out of the hash, so that a later field with a default does not
    orphan the runs of today.
    """
    return _identity("run", spec.model_dump(mode="json", exclude_defaults=True), dataset_digest)


def cell_id(spec: RunSpec, dataset_digest: str) -> str:
    """Return the identity shared by the runs that differ only in their seed."""
    fields = spec.model_dump(mode="json", exclude_defaults=True, exclude={"seed"})
    return _identity("cell", fields, dataset_digest)


def random_state(spec: RunSpec, dataset_digest: str, purpose: Purpose) -> int:
    """Return the 63-bit seed of one stream (``init``, ``shuffle``, ``dropout`` ...) of one run.

    Derived from the run's identity with numpy's ``SeedSequence([seed, cell, purpose])``: streams of
    different cells, seeds and purposes are independent, whatever runs before, beside or after. A stream of
    a source that is not varied is that of seed 0; which sources vary is no part of ``cell`` here, so that
    a stream is the same whatever else varies.
    """
    import numpy as np

    cell = spec.model_copy(update={"vary": EVERY_SEED})
    seed = spec.seed if _SOURCE_OF[purpose] in spec.vary else 0
    words = [seed, int(cell_id(cell, dataset_digest), 16), _word(purpose)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def feature_sizes(model: ModelSpec, image_shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """Yield (height, width) after each block's pooling.

    Raises:
        UserError: if the image of shape (H, W, C) is used up before the last block.
    """
    size = (image_shape[0], image_shape[1])
    for block in range(model.depth):
        height, width = (_after_block(side, model) for side in size)
        if min(height, width) < 1:
            mends = [f"depth <= {block}"] if block else []
            mends += ['padding = "same"'] if _fits(model.model_copy(update={"padding": "same"}), image_shape) else []
            mends += ["a smaller pool"] if model.padding == "same" else ["a smaller kernel_size or pool"]
            raise UserError(
                f"model.depth = {model.depth} is too deep for {image_shape[0]}x{image_shape[1]} images: block "
                f"{block + 1} is left with {size[0]}x{size[1]}; use {' or '.join(mends)}"
            )
        size = (height, width)
        yield size


def arithmetic(spec: RunSpec, image_shape: tuple[int, int, int], images: int) -> int:
    """Return about how many multiplications a run's forward passes take: to tell long runs from short ones.

    Args:
        spec: the run.
        image_shape: (H, W, C) of the images.
        images: how many the data set has.
    """
    model, channels, per_image = spec.model, image_shape[2], 0
    for height, width in feature_sizes(model, image_shape):
        outputs = height * width * model.pool**2 * model.filters
        per_image += outputs * model.kernel_size**2 * channels
        channels = model.filters
    per_image += height * width * channels * model.dense
    return spec.train.epochs * min(images, spec.data.limit or images) * per_image


def _fits(model: ModelSpec, image_shape: tuple[int, int, int]) -> bool:
    size = min(image_shape[:2])
    for _ in range(model.depth):
        size = _after_block(size, model)
    return size >= 1


def _after_block(side: int, model: ModelSpec) -> int:
    convolved = side if model.padding == "same" else side - model.kernel_size + 1
    return convolved // model.pool if convolved > 0 else 0


def _identity(kind: str, fields: dict[str, Any], dataset_digest: str) -> str:
    content = {"schema": SCHEMA_VERSION, "kind": kind, "dataset": dataset_digest, "spec": fields}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _word(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
