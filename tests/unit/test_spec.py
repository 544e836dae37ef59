import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from regulens.errors import UserError
from regulens.results import Environment, EpochRecord, RunResult
from regulens.spec import (
    DataSpec,
    ModelSpec,
    RunSpec,
    TrainSpec,
    cell_id,
    feature_sizes,
    field_paths,
    level_of,
    random_state,
    run_id,
)

DIGEST = "0" * 64
OTHER_DIGEST = "f" * 64
LAB_BEST = RunSpec(model=ModelSpec(depth=2), regularizer="batchnorm", seed=1)
NOTHING_AT_ITS_DEFAULT_IN_0_1 = RunSpec(  # as of the first version, whose studies must not be orphaned
    data=DataSpec(name="digits", scale=1 / 255, validation=0.2, test=0.1, split_seed=7, limit=500),
    model=ModelSpec(depth=2, filters=8, kernel_size=5, padding="same", pool=3, dense=32),
    train=TrainSpec(epochs=3, batch_size=25, learning_rate=0.05, momentum=0.9),
    regularizer="batchnorm + dropout(0.1)",
    stage="refit",
    seed=4,
)
NOTHING_AT_ITS_DEFAULT = NOTHING_AT_ITS_DEFAULT_IN_0_1.model_copy(
    update={
        "data": NOTHING_AT_ITS_DEFAULT_IN_0_1.data.model_copy(update={"standardize": True}),
        "refit": "updates",
        "vary": ("init", "split"),
    }
)
SOURCES = ("init", "order", "dropout", "split")

REGULARIZERS = st.one_of(
    st.sampled_from(["none", "batchnorm", "l2(0.01)", "batchnorm + dropout(0.1)", "dropout(0.1) + batchnorm"]),
    st.floats(0, 1000).map("l2({!r})".format),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "data.name": st.sampled_from(["fashion-mnist", "digits"]) | st.text(min_size=1, max_size=8).map("own:{}".format),
    "data.scale": st.floats(0, 1000, exclude_min=True),
    "data.standardize": st.booleans(),
    "data.validation": st.floats(0.01, 0.49),
    "data.test": st.floats(0.01, 0.49),
    "data.split_seed": st.integers(0, 2**32 - 1),
    "data.limit": st.none() | st.integers(10, 60_000),
    "model.depth": st.integers(1, 16),
    "model.filters": st.integers(1, 4096),
    "model.kernel_size": st.integers(1, 15),
    "model.padding": st.sampled_from(["valid", "same"]),
    "model.pool": st.integers(1, 16),
    "model.dense": st.integers(1, 65536),
    "train.epochs": st.integers(1, 1000),
    "train.batch_size": st.integers(1, 10_000),
    "train.learning_rate": st.floats(0, 10, exclude_min=True),
    "train.momentum": st.floats(0, 1, exclude_max=True),
    "regularizer": REGULARIZERS,
    "stage": st.sampled_from(["train", "refit"]),
    "refit": st.sampled_from(["epochs", "updates"]),
    "vary": st.sets(st.sampled_from(SOURCES), min_size=1).map(lambda drawn: tuple(s for s in SOURCES if s in drawn)),
    "seed": st.integers(0, 2**32 - 1),
}
VALUES = st.fixed_dictionaries(FIELDS)


def spec_of(values: dict[str, Any]) -> RunSpec:
    """A rule of refitting is left out where there is no refit."""
    nested: dict[str, Any] = {}
    for path, value in values.items():
        if path == "refit" and values.get("stage") != "refit":
            continue
        *group, field = path.split(".")
        (nested.setdefault(group[0], {}) if group else nested)[field] = value
    return RunSpec.model_validate(nested)


def reverse_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: reverse_fields(v) if isinstance(v, dict) else v for key, v in reversed(fields.items())}


def test_every_field_of_a_run_is_drawn_here() -> None:
    assert set(FIELDS) == {*field_paths(), "stage", "refit", "vary", "seed"}


@given(VALUES)
@settings(deadline=None, max_examples=50)
def test_a_spec_read_back_from_its_json_is_the_same(values: dict[str, Any]) -> None:
    spec = spec_of(values)
    again = RunSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert run_id(again, DIGEST) == run_id(spec, DIGEST)


@pytest.mark.parametrize(
    ("spec", "digest", "run", "cell"),
    [
        (RunSpec(), DIGEST, "43e31d91b6a80204", "16dac2d9ea5b0e15"),
        (RunSpec(), OTHER_DIGEST, "977955de049ecac9", "8f628a7d8c3e44fb"),
        (LAB_BEST, DIGEST, "f8afb93ef0e01428", "6a114cea958fe430"),
        (NOTHING_AT_ITS_DEFAULT_IN_0_1, DIGEST, "97bde4cb48fb49a4", "31dce943046b6db8"),
        (NOTHING_AT_ITS_DEFAULT, DIGEST, "8f1ee7ce44c32d63", "e1f5dcd403c47bd2"),
    ],
)
def test_identities_of_finished_studies_stay_what_they_were(spec: RunSpec, digest: str, run: str, cell: str) -> None:
    assert (run_id(spec, digest), cell_id(spec, digest)) == (run, cell)


@given(VALUES)
@settings(deadline=None, max_examples=30)
def test_identity_does_not_depend_on_the_order_of_fields(values: dict[str, Any]) -> None:
    spec = spec_of(values)
    reordered = RunSpec.model_validate(reverse_fields(spec.model_dump()))
    assert list(reordered.model_dump()) == list(spec.model_dump())
    assert run_id(reordered, DIGEST) == run_id(spec, DIGEST)


@given(VALUES, st.data())
@settings(deadline=None, max_examples=150)
def test_identity_changes_with_every_field_and_the_cell_with_all_but_the_seed(
    values: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(sorted(FIELDS)))
    spec, other = spec_of(values), spec_of(values | {path: data.draw(FIELDS[path])})
    changed = level_of(spec, path) != level_of(other, path)
    assert (run_id(spec, DIGEST) != run_id(other, DIGEST)) == changed
    assert (cell_id(spec, DIGEST) != cell_id(other, DIGEST)) == (changed and path != "seed")


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_identity_changes_when_this_field_leaves_its_default(path: str) -> None:
    shared = {"stage": "refit"} if path == "refit" else {}
    before, moved = spec_of(shared), spec_of(shared | {path: level_of(NOTHING_AT_ITS_DEFAULT, path)})
    assert run_id(moved, DIGEST) != run_id(before, DIGEST)
    assert (cell_id(moved, DIGEST) == cell_id(before, DIGEST)) == (path == "seed")


def test_identity_changes_with_the_images() -> None:
    assert run_id(LAB_BEST, DIGEST) != run_id(LAB_BEST, OTHER_DIGEST)
    assert cell_id(LAB_BEST, DIGEST) != cell_id(LAB_BEST, OTHER_DIGEST)


def test_fields_spelled_out_at_their_defaults_do_not_change_the_identity() -> None:
    spelled_out = RunSpec.model_validate(RunSpec().model_dump())
    assert "depth" in spelled_out.model.model_fields_set
    assert run_id(spelled_out, DIGEST) == run_id(RunSpec(), DIGEST)


@pytest.mark.parametrize("spec", [RunSpec(), LAB_BEST, NOTHING_AT_ITS_DEFAULT])
def test_a_later_field_with_a_default_does_not_orphan_finished_runs(spec: RunSpec) -> None:
    class LaterTrainSpec(TrainSpec):
        warmup: int = 0

    class LaterRunSpec(RunSpec):
        train: TrainSpec = LaterTrainSpec()
        precision: str = "float32"

    later = LaterRunSpec(**dict(spec) | {"train": LaterTrainSpec(**dict(spec.train))})
    assert run_id(later, DIGEST) == run_id(spec, DIGEST)


def test_regularizers_written_differently_are_the_same_run() -> None:
    loose, canonical = RunSpec(regularizer=" batchnorm+l2(1e-2)"), RunSpec(regularizer="batchnorm + l2(0.01)")
    assert loose == canonical
    assert run_id(loose, DIGEST) == run_id(canonical, DIGEST)


def test_specs_cannot_be_changed() -> None:
    spec = RunSpec()
    with pytest.raises(UserError, match=r"RunSpec\.seed cannot be changed; make another RunSpec with seed=\.\.\."):
        spec.seed = 3
    with pytest.raises(UserError, match=r"ModelSpec\.depth cannot be changed"):
        spec.model.depth = 2
    with pytest.raises(UserError, match=r"RunSpec\.seed cannot be changed"):
        del spec.seed
    with pytest.raises(UserError, match="RunSpec has no field sede; did you mean seed"):
        spec.sede = 3
    assert spec == RunSpec()


@pytest.mark.parametrize(
    "fields",
    [
        {"sed": 1},
        {"model": {"dephts": 2}},
        {"model": {"depth": True}},
        {"model": {"depth": 2.0}},
        {"model": {"depth": "2"}},
        {"model": {"depth": 0}},
        {"model": {"padding": "full"}},
        {"train": {"epochs": True}},
        {"train": {"learning_rate": True}},
        {"train": {"learning_rate": 0}},
        {"train": {"learning_rate": math.nan}},
        {"train": {"learning_rate": math.inf}},
        {"train": {"momentum": 1}},
        {"data": {"limit": False}},
        {"data": {"limit": 9}},
        {"data": {"scale": True}},
        {"data": {"scale": "1/0"}},
        {"data": {"scale": "one"}},
        {"data": {"scale": "-1/255"}},
        {"data": {"scale": "inf"}},
        {"data": {"scale": "1e400"}},
        {"data": {"validation": 0.5, "test": 0.5}},
        {"data": {"split_seed": 2**32}},
        {"seed": True},
        {"seed": -1},
        {"seed": 2**32},
        {"stage": "test"},
        {"refit": "updates"},
        {"vary": ()},
        {"vary": ("init", "init")},
        {"vary": ("weights",)},
        {"data": {"standardize": 1}},
        {"regularizer": "l2"},
    ],
)
def test_a_spec_refuses_what_it_cannot_mean(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        RunSpec.checked(fields)
    assert caught.value.error_count() == 1
    with pytest.raises(UserError, match=r"^RunSpec: "):
        RunSpec.model_validate(fields)


def test_specs_in_json_and_in_texts_are_refused_in_a_line() -> None:
    for wrong in ("{", '{"seed": "three"}', "3"):
        with pytest.raises(UserError, match=r"^RunSpec: "):
            RunSpec.model_validate_json(wrong)
    with pytest.raises(UserError, match=r'^RunSpec: seed = "three": must be a whole number'):
        RunSpec.model_validate_strings({"seed": "three"})


@pytest.mark.parametrize(("text", "value"), [("1/255", 1 / 255), ("2", 2.0), ("0.5", 0.5), (" 1/4 ", 0.25)])
def test_scale_may_be_written_as_a_fraction(text: str, value: float) -> None:
    written = DataSpec.model_validate({"scale": text})
    assert written.scale == value
    assert written == DataSpec(scale=value)


def test_scale_as_a_fraction_has_the_identity_of_its_value() -> None:
    text, value = (RunSpec.model_validate({"data": {"scale": scale}}) for scale in ("1/255", 1 / 255))
    assert run_id(text, DIGEST) == run_id(value, DIGEST)


@pytest.mark.parametrize(
    ("spec", "init", "shuffle"),
    [
        (RunSpec(), 461252477877093086, 267990196375839087),
        (LAB_BEST, 7057561066762957153, 375468723304735049),
        (NOTHING_AT_ITS_DEFAULT_IN_0_1, 8158787518863047146, 3004427594211379934),
        (NOTHING_AT_ITS_DEFAULT, 5181842505253997976, 8711840957072781998),
    ],
)
def test_random_states_of_finished_studies_stay_what_they_were(spec: RunSpec, init: int, shuffle: int) -> None:
    assert (random_state(spec, DIGEST, "init"), random_state(spec, DIGEST, "shuffle")) == (init, shuffle)


PURPOSES = ("init", "shuffle", "dropout", "batch")


@given(VALUES, st.sampled_from(PURPOSES))
@settings(deadline=None, max_examples=50)
def test_a_random_state_is_reproducible_and_has_63_bits(values: dict[str, Any], purpose: Any) -> None:
    state = random_state(spec_of(values), DIGEST, purpose)
    assert 0 <= state < 2**63
    assert state == random_state(spec_of(values), DIGEST, purpose)


def test_every_purpose_seed_cell_and_data_set_has_its_own_random_state() -> None:
    states = {
        random_state(RunSpec(model=ModelSpec(depth=depth), seed=seed), digest, purpose)
        for depth in (1, 2)
        for seed in range(20)
        for digest in (DIGEST, OTHER_DIGEST)
        for purpose in PURPOSES
    }
    assert len(states) == 2 * 20 * 2 * 4


@given(VALUES)
@settings(deadline=None, max_examples=100)
def test_a_stream_is_that_of_the_seed_where_its_source_varies_and_of_seed_zero_elsewhere(
    values: dict[str, Any],
) -> None:
    spec = spec_of(values)
    everything = spec.model_copy(update={"vary": SOURCES})
    nothing_but_seed_zero = everything.model_copy(update={"seed": 0})
    sources = {"init": "init", "shuffle": "order", "dropout": "dropout", "batch": "dropout"}
    for purpose, source in sources.items():
        as_if = everything if source in spec.vary else nothing_but_seed_zero
        assert random_state(spec, DIGEST, purpose) == random_state(as_if, DIGEST, purpose)


def test_sources_are_kept_in_one_order() -> None:
    one, other = (RunSpec.model_validate({"vary": vary}) for vary in (["split", "init"], ("init", "split")))
    assert one.vary == ("init", "split")
    assert run_id(one, DIGEST) == run_id(other, DIGEST)


def test_where_the_split_varies_runs_of_a_seed_share_images_whatever_the_cell() -> None:
    fixed = [RunSpec(model=ModelSpec(depth=depth), seed=seed) for depth in (1, 2) for seed in (0, 7)]
    assert {spec.parts for spec in fixed} == {DataSpec()}
    varied = [spec.model_copy(update={"vary": ("init", "split")}) for spec in fixed]
    assert [spec.parts.split_seed for spec in varied] == [123, 130, 123, 130]
    assert varied[1].parts == varied[3].parts
    last = RunSpec(data=DataSpec(split_seed=2**32 - 1), vary=("split",), seed=2)
    assert last.parts.split_seed == 1


def test_parts_are_told_apart_by_images_and_not_by_pixels() -> None:
    raw = RunSpec()
    for change, same in (
        ({"scale": 0.5}, True),
        ({"standardize": True}, True),
        ({"limit": 50}, False),
        ({"split_seed": 5}, False),
    ):
        assert (RunSpec(data=DataSpec(**change)).parts == raw.parts) == same


def test_a_refit_and_its_training_are_of_one_cell_whatever_the_rule() -> None:
    refits = [RunSpec(stage="refit", refit=rule, seed=3) for rule in ("epochs", "updates")]
    assert {spec.cell for spec in refits} == {RunSpec()}


def sizes_in_torch(model: ModelSpec, height: int, width: int) -> list[tuple[int, int]] | None:
    """None where torch has nothing left to convolve or to pool."""
    maps, kernel = torch.zeros(1, 1, height, width), torch.zeros(1, 1, model.kernel_size, model.kernel_size)
    sizes = []
    try:
        for _ in range(model.depth):
            maps = torch.nn.functional.max_pool2d(
                torch.nn.functional.conv2d(maps, kernel, padding=model.padding), model.pool
            )
            sizes.append((maps.shape[2], maps.shape[3]))
    except RuntimeError:
        return None
    return sizes


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(
    st.builds(
        ModelSpec,
        depth=st.integers(1, 4),
        kernel_size=st.integers(1, 6),
        padding=st.sampled_from(["valid", "same"]),
        pool=st.integers(1, 4),
    ),
    st.integers(1, 40),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_feature_sizes_are_those_of_torch(model: ModelSpec, height: int, width: int) -> None:
    expected = sizes_in_torch(model, height, width)
    if expected is None:
        with pytest.raises(UserError, match=rf"depth = {model.depth} is too deep for {height}x{width} images"):
            list(feature_sizes(model, (height, width, 1)))
    else:
        assert list(feature_sizes(model, (height, width, 1))) == expected


def test_too_deep_a_network_is_told_the_depth_that_fits() -> None:
    assert list(feature_sizes(ModelSpec(depth=3), (28, 28, 1))) == [(13, 13), (5, 5), (1, 1)]
    with pytest.raises(UserError) as caught:
        list(feature_sizes(ModelSpec(depth=4), (28, 28, 1)))
    message = str(caught.value)
    assert "model.depth = 4 is too deep for 28x28 images" in message
    assert "block 4 is left with 1x1" in message
    assert "depth <= 3" in message
    assert "\n" not in message


def test_an_image_too_small_for_one_block_is_not_told_to_use_no_block() -> None:
    with pytest.raises(UserError, match="2x2 images") as caught:
        list(feature_sizes(ModelSpec(), (2, 2, 1)))
    assert "depth <= 0" not in str(caught.value)
    assert "smaller kernel_size" in str(caught.value)


NUMBERS = st.floats(allow_infinity=False)
EPOCHS = st.builds(
    EpochRecord,
    epoch=st.integers(1, 100),
    objective=NUMBERS,
    accuracy=NUMBERS,
    val_objective=NUMBERS,
    val_accuracy=NUMBERS,
    seconds=st.floats(0, 1e6),
)
ENVIRONMENT = Environment(
    regulens="0.1.0", python="3.11", torch="2", numpy="2", platform="Linux", cpu="x86", device="cpu", kernels="torch"
)
RESULTS = st.builds(
    RunResult,
    run_id=st.just("444c6db19ff39d07"),
    cell_id=st.just("444c6db19ff39d07"),
    dataset_digest=st.just(DIGEST),
    spec=VALUES.map(spec_of),
    parameters_total=st.integers(0),
    parameters_trainable=st.integers(0),
    train_images=st.integers(0),
    val_class_counts=st.lists(st.integers(0, 1000), max_size=10).map(tuple),
    train_loss=NUMBERS,
    train_accuracy=NUMBERS,
    val_loss=NUMBERS,
    val_accuracy=NUMBERS,
    train_seconds=st.floats(0, 1e6),
    workers=st.none() | st.integers(1, 64),
    updates=st.none() | st.integers(1, 10**6),
    epochs=st.lists(EPOCHS, max_size=3).map(tuple),
    environment=st.just(ENVIRONMENT),
)


def in_words(record: RunResult | EpochRecord) -> str:
    """All fields as text: NaN is not equal to itself, but its name is."""
    return repr(record)


@given(RESULTS)
@settings(deadline=None, max_examples=40)
def test_a_result_read_back_from_its_json_is_the_same(result: RunResult) -> None:
    again = RunResult.model_validate_json(result.model_dump_json())
    assert in_words(again) == in_words(result)
    assert again.val_images == sum(result.val_class_counts)


def test_a_result_of_the_first_version_is_still_read() -> None:
    text = (
        '{"run_id":"f8afb93ef0e01428","cell_id":"6a114cea958fe430","dataset_digest":"' + DIGEST + '",'
        '"spec":{"data":{"name":"fashion-mnist","scale":1.0,"validation":0.15,"test":0.15,"split_seed":123,'
        '"limit":null},"model":{"depth":2,"filters":16,"kernel_size":3,"padding":"valid","pool":2,"dense":80},'
        '"train":{"epochs":5,"batch_size":100,"learning_rate":0.01,"momentum":0.0},"regularizer":"batchnorm",'
        '"stage":"train","seed":1},"parameters_total":35818,"parameters_trainable":35594,"train_images":42000,'
        '"val_class_counts":[900,900],"train_loss":0.5,"train_accuracy":0.8,"val_loss":null,"val_accuracy":0.7,'
        '"train_seconds":3.5,"epochs":[{"epoch":1,"loss":0.5,"accuracy":0.8,"val_loss":null,"val_accuracy":0.7,'
        '"seconds":3.25}],"environment":{"regulens":"0.1.0","python":"3.11","torch":"2","numpy":"2",'
        '"platform":"Linux","cpu":"x86","device":"cpu","kernels":"native avx2"}}'
    )
    result = RunResult.model_validate_json(text)
    assert result.spec == LAB_BEST
    assert run_id(result.spec, DIGEST) == result.run_id
    assert (result.version, result.workers, result.updates) == (1, None, None)
    assert (result.epochs[0].objective, result.epochs[0].seconds) == (0.5, 3.25)
    assert result.gap == pytest.approx(0.1)


@given(EPOCHS)
@settings(deadline=None, max_examples=40)
def test_an_epoch_read_back_from_its_json_is_the_same(record: EpochRecord) -> None:
    assert in_words(EpochRecord.model_validate_json(record.model_dump_json())) == in_words(record)


def test_nan_is_null_in_json_and_nan_again_after_it() -> None:
    record = EpochRecord(
        epoch=1, objective=0.5, accuracy=0.8, val_objective=math.nan, val_accuracy=math.nan, seconds=1.5
    )
    text = record.model_dump_json()
    assert '"val_objective":null,"val_accuracy":null' in text
    again = EpochRecord.model_validate_json(text)
    assert math.isnan(again.val_objective)
    assert math.isnan(again.val_accuracy)
    assert (again.objective, again.accuracy, again.seconds) == (0.5, 0.8, 1.5)


def test_records_are_complete_and_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="val_objective"):
        EpochRecord.model_validate({"epoch": 1, "objective": 0.5, "accuracy": 0.8, "val_accuracy": 0.5, "seconds": 1.5})
    record = EpochRecord(epoch=1, objective=0.5, accuracy=0.8, val_objective=0.5, val_accuracy=0.8, seconds=1.5)
    with pytest.raises(ValidationError, match="frozen"):
        record.objective = 0.4
