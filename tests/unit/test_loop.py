"""One training: what it reports, and that nothing outside its spec changes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from regulens.data.batches import Feed, PixelScaling
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.errors import UserError
from regulens.kernels.paths import native_levels, using_kernels
from regulens.models.regularizers import build_regularizer
from regulens.results import EpochRecord
from regulens.spec import RunSpec, run_id
from regulens.training import loop
from regulens.training.evaluate import evaluate
from regulens.training.loop import Trained, build_run_model, train

REGULARIZERS = ("none", "l2(0.01)", "dropout(0.1)", "batchnorm", "batchnorm + dropout(0.1)")
Make = Callable[..., RunSpec]
PATHS = ["reference", *["native"] * bool(native_levels())]


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
        assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
        assert accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert trained.result.epochs[-1].val_objective == pytest.approx(trained.result.val_loss + penalty, rel=1e-5)
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
    evaluate(model, build_regularizer("batchnorm"), Feed(digits, PixelScaling(1.0)), np.arange(20))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def standardized(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"data": spec.data.model_copy(update={"standardize": True})})


@pytest.mark.parametrize("kernels", PATHS)
@pytest.mark.parametrize("stage", ["train", "refit"])
def test_standardized_runs_are_fitted_and_judged_on_pixels_standardized_by_what_they_are_fitted_on(
    stage: str, kernels: str, tiny_spec: Make, digits: Dataset
) -> None:
    spec = standardized(tiny_spec(stage=stage))
    with using_kernels(kernels):
        trained = train(spec, digits)
    parts = split(len(digits.labels), spec.data)
    fitted = parts.train if stage == "train" else np.concatenate([parts.train, parts.validation])
    pixels = digits.images * spec.data.scale
    images = torch.from_numpy((pixels - pixels[fitted].mean()) / pixels[fitted].std()).float()
    loss = F.cross_entropy(trained.model(images[fitted]), torch.from_numpy(digits.labels[fitted]).long())
    assert trained.result.train_loss == pytest.approx(loss.item(), rel=1e-4)
    assert trained.scaling.mean == pytest.approx((pixels[fitted].mean(),))
    if stage == "train":
        with torch.no_grad():
            expected = trained.model(images[parts.validation]).softmax(1)
        np.testing.assert_allclose(trained.probabilities, expected, atol=1e-5)


def test_standardizing_makes_the_scale_before_it_immaterial(tiny_spec: Make, digits: Dataset) -> None:
    spec = standardized(tiny_spec(epochs=3))
    raw = spec.model_copy(update={"data": spec.data.model_copy(update={"scale": 1.0})})
    one, other = (Feed(digits, train(each, digits).scaling) for each in (spec, raw))
    ((images, _),), ((others, _),) = (feed.batches(np.arange(50), 50) for feed in (one, other))
    torch.testing.assert_close(images, others, rtol=1e-5, atol=1e-5)


def first_weights(spec: RunSpec, dataset: Dataset) -> torch.Tensor:
    return build_run_model(spec, dataset).dense.weight


def masks_key(spec: RunSpec, dataset: Dataset) -> int:
    return build_run_model(spec, dataset).regularizer.key


@pytest.mark.parametrize("source", ["init", "order", "dropout", "split"])
def test_seeds_vary_only_what_they_are_told_to(source: str, tiny_spec: Make, digits: Dataset) -> None:
    one, other = (
        tiny_spec("dropout(0.2)", seed=seed, epochs=2).model_copy(update={"vary": (source,)}) for seed in (0, 5)
    )
    assert torch.equal(first_weights(one, digits), first_weights(other, digits)) == (source != "init")
    assert (masks_key(one, digits) == masks_key(other, digits)) == (source != "dropout")
    first, second = train(one, digits), train(other, digits)
    assert np.array_equal(first.val_indices, second.val_indices) == (source != "split")
    assert not same_bits(first, second)


def test_seed_zero_is_the_same_training_whatever_else_varies(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec("dropout(0.2)")
    everything, order = (
        train(spec.model_copy(update={"vary": vary}), digits)
        for vary in (("init", "order", "dropout", "split"), ("order",))
    )
    assert same_bits(everything, order)
    assert same_bits(everything, train(spec, digits))


def test_runs_that_differ_in_nothing_that_varies_are_the_same(tiny_spec: Make, digits: Dataset) -> None:
    runs = [train(tiny_spec(seed=seed).model_copy(update={"vary": ("dropout",)}), digits) for seed in (1, 2)]
    assert same_bits(*runs)
    assert runs[0].result.run_id != runs[1].result.run_id


def refit_by_updates(spec: RunSpec) -> RunSpec:
    return RunSpec.model_validate(spec.model_dump() | {"stage": "refit", "refit": "updates"})


@pytest.mark.parametrize("batch_size", [7, 16, 500])
def test_a_refit_by_updates_takes_as_many_steps_as_its_training(
    batch_size: int, tiny_spec: Make, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(epochs=3)
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"batch_size": batch_size})})
    sizes: list[int] = []
    one_step = loop.train_step

    def counted(*arguments: object, **options: object) -> object:
        sizes.append(len(arguments[-1]))
        return one_step(*arguments, **options)

    monkeypatch.setattr(loop, "train_step", counted)
    images = split(len(digits.labels), spec.data)
    by_epochs, by_updates = spec.model_copy(update={"stage": "refit"}), refit_by_updates(spec)
    steps = {}
    for name, each in (("training", spec), ("epochs", by_epochs), ("updates", by_updates)):
        sizes.clear()
        result = train(each, digits).result
        steps[name] = list(sizes)
        assert result.updates == len(sizes)
    per_epoch = -(-len(images.train) // batch_size), -(-len(images.refit) // batch_size)
    assert (len(steps["training"]), len(steps["epochs"])) == (3 * per_epoch[0], 3 * per_epoch[1])
    assert len(steps["updates"]) == len(steps["training"])
    assert steps["updates"] == steps["epochs"][: len(steps["updates"])]


def test_a_last_epoch_cut_short_reports_the_means_of_what_it_saw(
    tiny_spec: Make, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = refit_by_updates(tiny_spec(epochs=3))
    seen: list[tuple[float, int, int]] = []
    one_step = loop.train_step

    def watched(*arguments: object, **options: object) -> object:
        loss, hits = one_step(*arguments, **options)
        seen.append((loss.item(), int(hits), len(arguments[-1])))
        return loss, hits

    monkeypatch.setattr(loop, "train_step", watched)
    last = train(spec, digits).result.epochs[-1]
    per_epoch = -(-len(split(len(digits.labels), spec.data).refit) // spec.train.batch_size)
    cut = seen[(last.epoch - 1) * per_epoch :]
    assert 0 < len(cut) < per_epoch
    images = sum(size for _, _, size in cut)
    assert last.objective == pytest.approx(sum(loss * size for loss, _, size in cut) / images)
    assert last.accuracy == pytest.approx(sum(hits for _, hits, _ in cut) / images)


def test_the_rule_of_a_refit_is_part_of_its_identity(tiny_spec: Make, digits: Dataset) -> None:
    by_epochs, by_updates = tiny_spec(stage="refit"), refit_by_updates(tiny_spec())
    assert run_id(by_epochs, digits.digest) != run_id(by_updates, digits.digest)


def test_a_training_by_itself_is_one_at_once(tiny_spec: Make, digits: Dataset) -> None:
    assert train(tiny_spec(), digits).result.workers == 1


def test_images_of_another_data_set_are_refused(tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec()
    other = spec.model_copy(update={"data": spec.data.model_copy(update={"name": "fashion-mnist"})})
    with pytest.raises(UserError, match='the images given are of "digits"'):
        train(other, digits)
