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
def test_where_there_is_enough_work_no_worker_waits_long_for_another(
    epochs: list[int], seeds: int, workers: int
) -> None:
    jobs = study(epochs, seeds)
    total, longest = sum(map(cost, jobs)), max(map(cost, jobs))
    idle = idle_at_the_end(even_then_longest_first(jobs, workers), workers)
    if total >= 2 * longest * workers:
        assert idle <= longest / 2 + min(map(cost, jobs))


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
