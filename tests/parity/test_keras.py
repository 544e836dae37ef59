"""Our networks beside Keras' own: the same initial weights and batches give the same training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import pytest
import torch
from keras_twin import (
    Array,
    State,
    Twins,
    assert_close,
    clear_of_ties,
    garments,
    keras_float64,
    keras_model,
    keras_state,
    our_state,
    set_keras_state,
    set_our_state,
)
from numpy.typing import NDArray

from regulens.data.batches import Feed, PixelScaling
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.kernels.paths import using_kernels
from regulens.models.regularizers import BatchNormLayer, build_regularizer
from regulens.spec import DataSpec, ModelSpec, RunSpec, TrainSpec, random_state
from regulens.training.evaluate import evaluate
from regulens.training.loop import build_run_model, train

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",  # Keras 3.15 with numpy 2
    "ignore:Using padding='same' with even kernel:UserWarning",  # torch, on the speed of it
)

STEPS = 20
BATCH = 100
UNIT_RANGE = 1 / 255
PIXELS, LABELS = garments(STEPS * BATCH, seed=0)


def run_spec(regularizer: str, depth: int = 1, scale: float = UNIT_RANGE, **train_fields: float) -> RunSpec:
    return RunSpec(
        data=DataSpec(name="own:garments", scale=scale),
        model=ModelSpec(depth=depth),
        train=TrainSpec(**train_fields),
        regularizer=regularizer,
    )


SPECS = [
    run_spec(regularizer, depth, scale)
    for regularizer in ("none", "l2(0.01)", "batchnorm")
    for depth in (1, 2)
    for scale in (1.0, UNIT_RANGE)
]


def name_of(spec: RunSpec) -> str:
    return f"{spec.regularizer}-depth{spec.model.depth}-{'raw' if spec.data.scale == 1 else 'scaled'}"


def batch(step: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    chosen = slice(step * BATCH, (step + 1) * BATCH)
    return PIXELS[chosen], LABELS[chosen]


@dataclass(frozen=True)
class FreeRun:
    """Twenty float64 steps of both frameworks, and Keras' state before each."""

    spec: RunSpec
    losses: list[tuple[float, float]]
    states_before: list[State]
    our_state: State
    keras_state: State
    logits: tuple[Array, Array]


@pytest.fixture(scope="module", params=SPECS, ids=name_of)
def free_run(request: pytest.FixtureRequest) -> FreeRun:
    with keras_float64():
        twins = Twins.build(request.param, "float64")
        states, losses = [], []
        for step in range(STEPS):
            states.append(keras_state(twins.theirs))
            losses.append(twins.step(*batch(step)))
        logits = twins.logits(PIXELS[:BATCH])
        return FreeRun(request.param, losses, states, our_state(twins.ours), keras_state(twins.theirs), logits)


@pytest.fixture
def float64() -> Iterator[None]:
    with keras_float64():
        yield


def test_twenty_free_float64_steps_equal_keras(free_run: FreeRun) -> None:
    ours, theirs = zip(*free_run.losses, strict=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert_close(free_run.our_state, free_run.keras_state, 1e-6)
    assert_close({"logits": free_run.logits[0]}, {"logits": free_run.logits[1]}, 1e-6)


@pytest.fixture(params=["native", "reference"])
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    with using_kernels(request.param):
        yield request.param


@pytest.mark.usefixtures("kernels")
def test_each_float32_step_from_the_float64_weights_equals_keras(free_run: FreeRun) -> None:
    twins = Twins.build(free_run.spec, "float32")
    for step, state in enumerate(free_run.states_before):
        start = {name: array.astype(np.float32) for name, array in state.items()}
        set_our_state(twins.ours, start)
        set_keras_state(twins.theirs, start)
        pixels, labels = batch(step)
        clear = clear_of_ties(twins.ours, twins.images(pixels))
        assert len(clear) > BATCH // 4
        loss, their_loss = twins.step(pixels[clear], labels[clear])
        assert loss == pytest.approx(their_loss, rel=1e-4), f"loss of step {step}"
        assert_close(our_state(twins.ours), keras_state(twins.theirs), 1e-4)


def test_the_free_runs_train_every_weight_and_statistic(free_run: FreeRun) -> None:
    before = free_run.states_before[0]
    assert all(np.abs(free_run.our_state[name] - array).max() > 0 for name, array in before.items())


@pytest.mark.usefixtures("float64")
def test_moving_variance_is_the_biased_one() -> None:
    x = np.array([[0.0], [4.0]])  # variance 4 over the batch of two; 8 if it were the unbiased one
    ours, theirs = BatchNormLayer(1).double(), keras.layers.BatchNormalization()
    y = ours(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, keras.ops.convert_to_numpy(theirs(x, training=True)), rtol=1e-12)
    np.testing.assert_allclose(theirs.moving_variance, [0.99 * 1 + 0.01 * 4], rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.moving_variance, rtol=1e-12)
    np.testing.assert_allclose(ours.running_mean, theirs.moving_mean, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_batch_norm_defaults_are_those_of_keras() -> None:
    ours, theirs = BatchNormLayer(3), keras.layers.BatchNormalization()
    assert (ours.momentum, ours.epsilon) == (theirs.momentum, theirs.epsilon)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("depth", [1, 2])
def test_batch_norm_trains_on_one_image_as_keras_does(depth: int) -> None:
    twins = Twins.build(run_spec("batchnorm", depth), "float64")
    for image in range(3):
        loss, their_loss = twins.step(PIXELS[image : image + 1], LABELS[image : image + 1])
        assert loss == pytest.approx(their_loss, rel=1e-6)
    assert_close(our_state(twins.ours), keras_state(twins.theirs), 1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("regularizer", ["dropout(0.0)", "batchnorm + dropout(0.0)"])
def test_dropout_of_nothing_equals_keras(regularizer: str) -> None:
    twins = Twins.build(run_spec(regularizer), "float64")
    losses = [twins.step(*batch(step)) for step in range(3)]
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-6)
    assert_close(our_state(twins.ours), keras_state(twins.theirs), 1e-6)


@pytest.mark.usefixtures("float64")
def test_dropout_is_off_in_predictions_as_in_keras() -> None:
    ours, theirs = Twins.build(run_spec("dropout(0.5)"), "float64").logits(PIXELS[:BATCH])
    assert_close({"logits": ours}, {"logits": theirs}, 1e-6)


@pytest.mark.usefixtures("float64")
def test_momentum_is_that_of_keras() -> None:
    twins = Twins.build(run_spec("l2(0.01)", momentum=0.9), "float64")
    for step in range(5):
        twins.step(*batch(step))
    assert_close(our_state(twins.ours), keras_state(twins.theirs), 1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kernel_size", "pool"), [(2, 3), (3, 1), (4, 2), (5, 2)])
def test_other_shapes_equal_keras(padding: Literal["valid", "same"], kernel_size: int, pool: int) -> None:
    model = ModelSpec(depth=2, filters=5, kernel_size=kernel_size, padding=padding, pool=pool, dense=7)
    shape = (19, 22, 3)
    twins = Twins.build(RunSpec(model=model, data=DataSpec(scale=UNIT_RANGE)), "float64", shape)
    pixels = np.random.default_rng(1).integers(0, 256, (8, *shape), np.uint8)
    loss, their_loss = twins.step(pixels, LABELS[:8])
    assert loss == pytest.approx(their_loss, rel=1e-6)
    assert_close(our_state(twins.ours), keras_state(twins.theirs), 1e-6)


def small_dataset() -> Dataset:
    return Dataset("own:garments", PIXELS[:360], LABELS[:360], tuple("0123456789"))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("regularizer", ["none", "l2(0.01)", "batchnorm"])
def test_recorded_epochs_are_those_that_keras_fit_reports(regularizer: str) -> None:
    dataset, spec = small_dataset(), run_spec(regularizer, epochs=2)
    theirs = keras_model(spec.model, regularizer, spec.train)
    set_keras_state(theirs, our_state(build_run_model(spec, dataset)))
    shuffle = np.random.default_rng(random_state(spec, dataset.digest, "shuffle"))
    parts = split(len(dataset.labels), spec.data)
    assert len(parts.train) % BATCH != 0  # a last smaller batch, which a mean over batches would weigh too much
    images = dataset.images * np.float32(UNIT_RANGE)
    validation = images[parts.validation], dataset.labels[parts.validation]
    for epoch in train(spec, dataset).result.epochs:
        order = shuffle.permutation(parts.train)
        history = theirs.fit(
            images[order], dataset.labels[order], BATCH, shuffle=False, verbose=0, validation_data=validation
        ).history
        assert epoch.objective == pytest.approx(history["loss"][0], rel=1e-5)
        assert epoch.val_objective == pytest.approx(history["val_loss"][0], rel=1e-5)
        assert epoch.accuracy == pytest.approx(history["accuracy"][0], abs=1e-6)
        assert epoch.val_accuracy == pytest.approx(history["val_accuracy"][0], abs=1e-6)


@pytest.mark.parametrize("regularizer", ["none", "l2(0.01)", "batchnorm", "dropout(0.5)"])
def test_evaluation_is_that_of_keras(regularizer: str) -> None:
    dataset, spec = small_dataset(), run_spec(regularizer)
    twins = Twins.build(spec, "float32")
    twins.step(*batch(0))
    set_keras_state(twins.theirs, our_state(twins.ours))
    images = dataset.images * np.float32(UNIT_RANGE)
    loss, accuracy = twins.theirs.evaluate(images, dataset.labels, batch_size=BATCH, verbose=0)
    everything = np.arange(len(dataset.labels))
    feed = Feed(dataset, PixelScaling(UNIT_RANGE))
    judged = evaluate(twins.ours, build_regularizer(regularizer), feed, everything)
    assert judged.objective == pytest.approx(loss, rel=1e-5)
    penalty = sum(float(each.detach()) for each in twins.theirs.losses)
    assert judged.loss == pytest.approx(loss - penalty, rel=1e-5)
    assert judged.accuracy == pytest.approx(accuracy, abs=1e-6)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(twins.theirs.predict_on_batch(images)))
    np.testing.assert_allclose(judged.probabilities, probabilities, atol=1e-6)
