"""The order in which runs are started, judged by a simulation of workers that each take the next one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regulens.data.dataset import SharedDataset
from regulens.spec import DataSpec, ModelSpec, RunSpec, TrainSpec, arithmetic
from regulens.study.runner import Job, even_then_longest_first

DATA = SharedDataset(Path("nowhere"), "digits", 1797, (8, 8, 1), tuple("0123456789"), "digest")


def job(epochs: int, seed: int) -> Job:
    spec = RunSpec(data=DataSpec(name="digits"), train=TrainSpec(epochs=epochs), seed=seed)
    return Job(spec, DATA, Path("runs"))


def cost(each: Job) -> int:
    return arithmetic(each.spec, DATA.image_shape, DATA.images)


def ends(jobs: Sequence[Job], workers: int) -> float:
    """Return when the last worker is done."""
    free_at = [0] * workers
    for each in jobs:
        heapq.heapreplace(free_at, free_at[0] + cost(each))
    return max(free_at)


def earliest_end(jobs: Sequence[Job], workers: int) -> float:
    """Return a time before which no order ends: an even share; k + 1 of the k * workers + 1 longest on one worker."""
    costs = sorted(map(cost, jobs), reverse=True)
    doubled = [sum(costs[k * (workers - 1) : k * workers + 1]) for k in range((len(costs) - 1) // workers + 1)]
    return max(sum(costs) / workers, *doubled)


def idle_at_the_end(jobs: Sequence[Job], workers: int) -> int:
    """Return for how long some worker has nothing to do while another still works."""
    free_at = [0] * workers
    for each in jobs:
        heapq.heapreplace(free_at, free_at[0] + cost(each))
    return max(free_at) - min(free_at)


def study(epochs_of_cells: Sequence[int], seeds: int) -> list[Job]:
    return [job(epochs, seed) for seed in range(seeds) for epochs in epochs_of_cells]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True), st.integers(1, 12), st.integers(1, 6))
@settings(deadline=None, max_examples=100)
def test_every_job_is_started_once(epochs: list[int], seeds: int, workers: int) -> None:
    jobs = study(epochs, seeds)
    ordered = even_then_longest_first(jobs, workers)
    assert len(ordered) == len(jobs)
    assert set(ordered) == set(jobs)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True), st.integers(1, 12), st.integers(1, 6))
@settings(deadline=None, max_examples=200)
def test_it_ends_within_a_third_of_the_earliest_possible_end(epochs: list[int], seeds: int, workers: int) -> None:
    jobs = study(epochs, seeds)  # a third is what longest-first guarantees (Graham 1969)
    assert ends(even_then_longest_first(jobs, workers), workers) <= 4 / 3 * earliest_end(jobs, workers)


def test_shortest_first_would_break_that_bound() -> None:
    jobs = study([1, 2, 40], seeds=1)
    assert ends(sorted(jobs, key=cost), 2) > ends(even_then_longest_first(jobs, 2), 2)
    jobs = sorted(study([6, 7, 8, 9, 10, 40], seeds=1), key=cost)
    assert ends(jobs, 2) > 4 / 3 * earliest_end(jobs, 2)


def test_one_long_network_does_not_leave_the_others_waiting() -> None:
    jobs = study([1, 2, 3, 4, 40], seeds=6)
    assert idle_at_the_end(jobs, 3) > 20 * cost(job(1, 0))
    assert idle_at_the_end(even_then_longest_first(jobs, 3), 3) <= 4 * cost(job(1, 0))


def test_a_long_study_goes_seed_by_seed_until_its_end() -> None:
    ordered = even_then_longest_first(study([1, 2, 3], seeds=20), workers=2)
    seeds = [each.spec.seed for each in ordered]
    assert seeds[:45] == sorted(seeds[:45])
    assert max(seeds[:45]) == 14
    assert [cost(each) for each in ordered[:3]] == sorted((cost(each) for each in ordered[:3]), reverse=True)


@pytest.mark.parametrize(
    ("field", "more"), [("depth", 2), ("filters", 64), ("kernel_size", 5), ("dense", 300), ("padding", "same")]
)
def test_arithmetic_grows_with_the_network(field: str, more: object) -> None:
    spec = RunSpec(model=ModelSpec(depth=1, filters=16, dense=8))
    larger = spec.model_copy(update={"model": spec.model.model_copy(update={field: more})})
    assert arithmetic(larger, (28, 28, 1), 1000) > arithmetic(spec, (28, 28, 1), 1000)


def test_arithmetic_is_that_of_the_lab_by_hand() -> None:
    spec = RunSpec(model=ModelSpec(depth=1, filters=16, dense=80), train=TrainSpec(epochs=5))
    convolution, dense = 26 * 26 * 16 * 9, 13 * 13 * 16 * 80
    assert arithmetic(spec, (28, 28, 1), 70_000) == 5 * 70_000 * (convolution + dense)


@pytest.mark.parametrize(
    ("text", "layers"),
    [("none", 0), ("l2(0.01)", 0), ("batchnorm", 1), ("dropout(0.1)", 1), ("batchnorm + dropout(0.1)", 2)],
)
def test_runs_with_layers_of_a_regularizer_count_as_longer(text: str, layers: int) -> None:
    plain = RunSpec(model=ModelSpec(depth=2, filters=16, dense=80))
    maps = 13 * 13 * 16 + 5 * 5 * 16
    more = arithmetic(plain.model_copy(update={"regularizer": text}), (28, 28, 1), 1) - arithmetic(
        plain, (28, 28, 1), 1
    )
    assert more == plain.train.epochs * layers * 25 * (maps + 80)
