"""Frozen, complete descriptions of what is trained: nothing outside a spec changes a result."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from regulens.errors import UserError
from regulens.notation import format_regularizer, parse_regularizer

SCHEMA_VERSION = 1
"""Hashed into every identity: raised only when the meaning of an existing field changes."""

MAX_SEEDS = 10_000

Level = bool | int | float | str
"""One level of a factor, as TOML writes it."""

Stage = Literal["train", "refit"]
"""``train``: on the train part, judged on validation. ``refit``: on both, for the sealed test part."""


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
    validation: float = Field(0.15, gt=0, lt=1, description="share of the images held out to choose by")
    test: float = Field(0.15, gt=0, lt=1, description="share of the images kept sealed until the choice is made")
    split_seed: int = Field(123, ge=0, le=2**32 - 1, description="random_state of scikit-learn's train_test_split")
    limit: int | None = Field(None, ge=10, description="use only so many images, drawn with split_seed")

    @model_validator(mode="after")
    def _leaves_images_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must stay below 1, got {self.validation} + {self.test}")
        return self


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


class RunSpec(Spec):
    """One training, complete: the same spec on the same images gives the same result."""

    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    train: TrainSpec = TrainSpec()
    regularizer: RegularizerText = "none"
    stage: Stage = "train"
    seed: int = Field(0, ge=0, le=2**32 - 1)

    @property
    def cell(self) -> RunSpec:
        """The cell that this run belongs to, trained or refitted: itself at stage ``train`` and seed 0."""
        return self.model_copy(update={"stage": "train", "seed": 0})

    @property
    def parts(self) -> DataSpec:
        """What its images and their split depend on: runs of equal ``parts`` are judged on the same images."""
        return self.data.model_copy(update={"scale": DataSpec.model_fields["scale"].default})


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
    factors: dict[str, list[Level]] = {}
    also_refit: list[dict[str, Level]] = []
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


def random_state(spec: RunSpec, dataset_digest: str, purpose: str) -> int:
    """Return the 63-bit seed of one stream (``init``, ``shuffle``, ``dropout`` ...) of one run.

    Derived from the run's identity with numpy's ``SeedSequence([seed, cell, purpose])``: streams of
    different cells, seeds and purposes are independent, whatever runs before, beside or after.
    """
    import numpy as np

    words = [spec.seed, int(cell_id(spec, dataset_digest), 16), _word(purpose)]
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
