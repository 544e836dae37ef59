"""One training: what it reports, and that nothing outside its spec changes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from regulens.data.batches import Feed
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.errors import UserError
from regulens.models.regularizers import build_regularizer
from regulens.results import EpochRecord
from regulens.spec import RunSpec, run_id
from regulens.training.evaluate import evaluate
from regulens.training.loop import Trained, train

REGULARIZERS = ("none", "l2(0.01)", "dropout(0.1)", "batchnorm", "batchnorm + dropout(0.1)")
Make = Callable[..., RunSpec]


def same_bits(one: Trained, other: Trained) -> bool:
    weights, others = one.model.state_dict(), other.model.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_same_spec_gives_the_same_bits_whatever_ran_before(regularizer: str, tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec(regularizer, depth=2, epochs=2)
    first = train(spec, digits)
    train(tiny_spec("dropout(0.5)", seed=9), digits)
    torch.manual_seed(77)
    np.random.default_rng(5).normal(size=3)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            second = train(spec, digits)
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_num_threads() == 2
    finally:
        torch.set_default_dtype(torch.float32)
    assert same_bits(first, second)
    assert np.array_equal(first.probabilities, second.probabilities)


def test_training_leaves_the_callers_random_state_alone(tiny_spec: Make, digits: Dataset) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(tiny_spec("dropout(0.1)"), digits)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("change", [{"seed": 1}, {"regularizer": "dropout(0.1)"}, {"stage": "refit"}])
def test_other_seed_cell_or_stage_draws_other_weights(
    change: dict[str, object], tiny_spec: Make, digits: Dataset
) -> None:
    spec = tiny_spec()
    other = spec.model_copy(update=change)
    first, second = (train(each, digits).model.blocks[0].conv.weight for each in (spec, other))
    assert not torch.equal(first, second)


def test_train_numbers_are_an_evaluation_after_training(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec("l2(0.01)", depth=2)
    trained = train(spec, digits)
    parts = split(len(digits.labels), spec.data)
    for indices, loss, accuracy in (
        (parts.train, trained.result.train_loss, trained.result.train_accuracy),
        (parts.validation, trained.result.val_loss, trained.result.val_accuracy),
    ):
        images = torch.from_numpy(digits.images[indices]).float() * spec.data.scale
        labels = torch.from_numpy(digits.labels[indices]).long()
        logits = trained.model(images)
        kernels = [block.conv.weight for block in trained.model.blocks]
        penalty = 0.01 * sum(float(kernel.detach().double().square().sum()) for kernel in kernels)
        assert loss == pytest.approx(F.cross_entropy(logits, labels).item() + penalty, rel=1e-5)
        assert accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert trained.probabilities.shape == (len(parts.validation), 10)
    np.testing.assert_allclose(trained.probabilities.sum(1), 1, rtol=1e-5)


def test_epochs_are_reported_as_they_end(tiny_spec: Make, digits: Dataset) -> None:
    seen: list[EpochRecord] = []
    trained = train(tiny_spec(epochs=3), digits, seen.append)
    assert tuple(seen) == trained.result.epochs
    assert [record.epoch for record in seen] == [1, 2, 3]
    assert seen[-1].val_accuracy == trained.result.val_accuracy


def test_refit_trains_on_both_parts_and_judges_none(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec(stage="refit")
    trained = train(spec, digits)
    parts = split(len(digits.labels), spec.data)
    assert trained.result.train_images == len(parts.train) + len(parts.validation)
    assert trained.result.val_images == 0
    assert np.isnan(trained.result.val_accuracy)
    assert '"val_loss":null' in trained.result.model_dump_json()


def test_a_last_batch_of_one_image_does_not_crash_batch_norm(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec("batchnorm", depth=2)
    images = len(split(len(digits.labels), spec.data).train)
    alone = spec.model_copy(update={"train": spec.train.model_copy(update={"batch_size": images - 1})})
    trained = train(alone, digits)
    assert all(torch.isfinite(tensor).all() for tensor in trained.model.state_dict().values())


def test_a_diverging_run_is_reported_not_raised(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec()
    wild = spec.model_copy(update={"train": spec.train.model_copy(update={"learning_rate": 1e30})})
    result = train(wild, digits).result
    assert not np.isfinite(result.train_loss)
    assert 0 <= result.val_accuracy <= 1


def test_identity_is_the_hash_of_spec_and_data(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec()
    assert train(spec, digits).result.run_id == run_id(spec, digits.digest)


def test_too_deep_a_network_is_named(tiny_spec: Make, digits: Dataset) -> None:
    with pytest.raises(UserError, match=r"model\.depth = 6"):
        train(tiny_spec(depth=6), digits)


def test_evaluation_leaves_the_model_in_its_mode(tiny_spec: Make, digits: Dataset) -> None:
    model = train(tiny_spec("batchnorm"), digits).model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, build_regularizer("batchnorm"), Feed(digits, 1.0), np.arange(20))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_images_of_another_data_set_are_refused(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec()
    other = spec.model_copy(update={"data": spec.data.model_copy(update={"name": "fashion-mnist"})})
    with pytest.raises(UserError, match='the images given are of "digits"'):
        train(other, digits)
