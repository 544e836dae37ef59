import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from regulens.data.split import Split, split
from regulens.errors import UserError
from regulens.spec import DataSpec

IMAGES = st.integers(20, 500)
SPECS = st.builds(
    DataSpec,
    validation=st.integers(10, 45).map(lambda percent: percent / 100),
    test=st.integers(10, 45).map(lambda percent: percent / 100),
    split_seed=st.integers(0, 2**32 - 1),
)


def parts(found: Split) -> list[list[int]]:
    return [part.tolist() for part in (found.train, found.validation, found.test)]


@given(IMAGES, SPECS)
@settings(deadline=None, max_examples=50)
def test_every_image_is_in_exactly_one_part(images: int, spec: DataSpec) -> None:
    found = split(images, spec)
    assert sorted(chain(*parts(found))) == list(range(images))
    assert [part.dtype for part in (found.train, found.validation, found.test)] == [np.int64] * 3


@given(IMAGES, st.integers(6, 29), st.integers(6, 29))
@settings(deadline=None, max_examples=50)
def test_the_held_out_share_is_rounded_up_and_parted_to_within_one_image(
    images: int, validation: int, test: int
) -> None:
    found = split(images, DataSpec(validation=validation / 64, test=test / 64))  # 64ths add up exactly
    held_out = math.ceil(images * (validation + test) / 64)
    assert len(found.validation) + len(found.test) == held_out
    assert abs(len(found.validation) - held_out * validation / (validation + test)) <= 1


@given(IMAGES, SPECS)
@settings(deadline=None, max_examples=25)
def test_the_same_numbers_give_the_same_split(images: int, spec: DataSpec) -> None:
    assert parts(split(images, spec)) == parts(split(images, spec.model_copy()))


def test_another_seed_gives_another_split_of_the_same_sizes() -> None:
    one, other = (split(200, DataSpec(split_seed=seed)) for seed in (1, 2))
    assert [len(part) for part in parts(one)] == [len(part) for part in parts(other)]
    assert all(set(a) != set(b) for a, b in zip(parts(one), parts(other), strict=True))


def test_sixty_thousand_images_are_split_as_the_lab_did() -> None:
    train, rest = train_test_split(np.arange(60_000), test_size=0.3, random_state=123)
    test, validation = train_test_split(rest, test_size=0.5, random_state=123)
    found = split(60_000, DataSpec())
    assert [len(part) for part in parts(found)] == [42_000, 9_000, 9_000]
    np.testing.assert_array_equal(found.train, train)
    np.testing.assert_array_equal(found.validation, validation)
    np.testing.assert_array_equal(found.test, test)


def test_shares_of_a_tenth_and_a_fifth_are_exactly_that() -> None:
    found = split(60_000, DataSpec(validation=0.1, test=0.2))
    assert [len(part) for part in parts(found)] == [42_000, 6_000, 12_000]


def test_the_refit_part_is_train_and_validation_without_the_test_part() -> None:
    found = split(100, DataSpec())
    assert found.refit.tolist() == [*found.train.tolist(), *found.validation.tolist()]
    assert set(found.refit.tolist()).isdisjoint(found.test.tolist())


def test_a_training_is_fitted_on_train_and_judged_on_validation_a_refit_is_fitted_on_both_and_judged_on_none() -> None:
    found = split(100, DataSpec())
    assert found.fitted("train").tolist() == found.train.tolist()
    assert found.judged("train").tolist() == found.validation.tolist()
    assert found.fitted("refit").tolist() == found.refit.tolist()
    assert found.judged("refit").tolist() == []


@given(st.integers(100, 300), st.integers(20, 99), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_a_limit_draws_so_many_images_with_the_seed_of_the_split(images: int, limit: int, seed: int) -> None:
    found = split(images, DataSpec(limit=limit, split_seed=seed))
    drawn, _ = train_test_split(np.arange(images), train_size=limit, random_state=seed)
    assert sorted(chain(*parts(found))) == sorted(drawn.tolist())
    assert len(drawn) == limit


@pytest.mark.parametrize("limit", [100, 101, 60_000])
def test_a_limit_not_below_the_images_changes_nothing(limit: int) -> None:
    assert parts(split(100, DataSpec(limit=limit))) == parts(split(100, DataSpec()))


@pytest.mark.parametrize(
    ("images", "spec"),
    [
        (2, DataSpec()),
        (3, DataSpec(validation=0.01, test=0.01)),
        (10, DataSpec(validation=0.001, test=0.001)),
        (1000, DataSpec(limit=10, validation=0.01, test=0.01)),
        (1000, DataSpec(test=1e-20)),
    ],
)
def test_a_part_without_images_is_refused(images: int, spec: DataSpec) -> None:
    with pytest.raises(UserError) as caught:
        split(images, spec)
    message = str(caught.value)
    assert f"data.validation = {spec.validation}, data.test = {spec.test}" in message
    assert f"{min(images, spec.limit or images)} images" in message
    assert "each part needs at least one" in message
    assert "\n" not in message
