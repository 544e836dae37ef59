"""Frozen, complete descriptions of one training: nothing outside a spec changes a result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from regulens.errors import UserError, suggestion
from regulens.notation import format_regularizer, parse_regularizer
from regulens.spec.mistakes import OWN_IMAGES, first_mistake

MAX_SEEDS = 10_000

Level = bool | int | float | str
"""One level of a factor, as TOML writes it."""

Stage = Literal["train", "refit"]
"""``train``: on the train part, judged on validation. ``refit``: on both, for the held-out test set."""

RefitRule = Literal["epochs", "updates"]
"""How long a refit trains on its larger part: as many epochs as the training, or as many steps."""

Source = Literal["init", "order", "dropout", "split"]
"""A source of randomness: initial weights; order of the images; masks and what a regularizer does to batches; split."""

_SOURCES = get_args(Source)


_S = TypeVar("_S", bound=BaseModel)

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # which has no public name


class _SpecType(ModelMetaclass):
    """What makes specs: where one is made directly, a mistake is a ``UserError`` of one line."""

    def __call__(cls: type[BaseModel], *args: Any, **fields: Any) -> Any:  # type: ignore[misc]  # it makes specs only
        if args:
            raise UserError(f"{cls.__name__} takes its fields by name, such as {cls.__name__}({_first_field(cls)}=...)")
        try:
            return ModelMetaclass.__call__(cls, **fields)
        except ValidationError as error:
            raise UserError(f"{cls.__name__}: {first_mistake(error, cls)}") from None


def _first_field(spec: type[BaseModel]) -> str:
    return next(iter(spec.model_fields))


class Spec(BaseModel, metaclass=_SpecType):
    """Base of all specs: immutable, no unknown keys, no silent conversions, no NaN.

    Made directly, ``RunSpec(...)``, or validated, a mistake is a ``UserError``; in a larger spec it is pydantic's, with
    its place, as it is from ``checked``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def checked(cls, content: object) -> Self:
        """Return what a file holds as a spec, its keys and types checked.

        Raises:
            ValidationError: pydantic's, of which ``first_mistake`` makes a line.
        """
        return super().model_validate(content)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate as pydantic does; a mistake is a ``UserError``."""
        return _plainly(cls, super().model_validate, obj, options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate JSON as pydantic does; a mistake is a ``UserError``."""
        return _plainly(cls, super().model_validate_json, json_data, options)

    @classmethod
    def model_validate_strings(cls, obj: Any, **options: Any) -> Self:
        """Validate texts as pydantic does; a mistake is a ``UserError``."""
        return _plainly(cls, super().model_validate_strings, obj, options)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a spec does not change."""
        raise UserError(_unchangeable(type(self), name))

    def __delattr__(self, name: str) -> None:
        """Refuse: a spec does not change."""
        raise UserError(_unchangeable(type(self), name))


def _plainly(spec: type[_S], validate: Callable[..., _S], given: object, options: dict[str, Any]) -> _S:
    try:
        return validate(given, **options)
    except ValidationError as error:
        raise UserError(f"{spec.__name__}: {first_mistake(error, spec)}") from None


def _unchangeable(spec: type[BaseModel], name: str) -> str:
    if name not in spec.model_fields:
        return f"{spec.__name__} has no field {name}{suggestion(name, spec.model_fields)}"
    return f"{spec.__name__}.{name} cannot be changed; make another {spec.__name__} with {name}=..."


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


DATA_SETS = ("fashion-mnist", "digits")
"""The known data sets, those of ``regulens data list``."""
OWN = "own:"
"""What begins the name of arrays that are handed to ``train``."""


def _known_data_set(name: str) -> str:
    if name in DATA_SETS or (name.startswith(OWN) and len(name) > len(OWN)):
        return name
    if not name.isprintable() or any(mark in name for mark in "/\\.~"):
        raise ValueError(OWN_IMAGES)
    arrays = f'arrays handed to regulens.train are named "{OWN}..."'
    raise ValueError(f"is not a known data set{suggestion(name, DATA_SETS)} ({arrays})")


class DataSpec(Spec):
    """Which images, how they are split, and how their pixels are scaled."""

    name: Annotated[str, AfterValidator(_known_data_set)] = Field(
        "fashion-mnist", description="a data set of `regulens data list`"
    )
    scale: Annotated[float, BeforeValidator(_number_from_fraction)] = Field(
        1.0, gt=0, description='pixels 0..255 are multiplied by this; 1 = raw, "1/255" = unit range'
    )
    standardize: bool = Field(
        False, description="pixels are then brought to mean 0 and sd 1, per channel, over the images fitted on"
    )
    validation: float = Field(0.15, gt=0, lt=1, description="fraction of the images held out to choose by")
    test: float = Field(
        0.15, gt=0, lt=1, description="fraction of the images held out as the test set until the choice is made"
    )
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

    epochs: int = Field(5, ge=1, description="passes over the training set")
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


def as_tuple(value: object) -> object:
    """Read a list, as TOML and JSON have it, as a tuple; leave all else to pydantic."""
    return tuple(value) if isinstance(value, list) else value


def _in_order(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    if not sources:
        raise ValueError(f"runs that nothing tells apart are no sample; name at least one of {', '.join(_SOURCES)}")
    for source in sources:
        if sources.count(source) > 1:
            raise ValueError(f"names {source} twice; keep one of them")
    return tuple(sorted(sources, key=_SOURCES.index))


Sources = Annotated[tuple[Source, ...], BeforeValidator(as_tuple), AfterValidator(_in_order)]
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
