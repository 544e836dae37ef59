"""What every executor promises."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from regulens.executors.base import Done, Executor, Failed, Progress, Report, Started
from regulens.executors.local import LocalExecutor, available_cores

EXECUTORS: dict[str, Callable[[], Executor]] = {
    "one process": lambda: LocalExecutor(1),
    "two processes": lambda: LocalExecutor(2),
    "more processes than items": lambda: LocalExecutor(5),
}


def square(item: int, report: Report) -> int:
    report(f"half of {item}")
    report(f"all of {item}")
    return item * item


def fail_at_two(item: int, _: Report) -> int:
    if item == 2:
        raise ValueError("two is too many")
    return item


def die_at_two(item: int, _: Report) -> int:
    if item == 2:
        os._exit(7)
    return item


def own_process(_: int, report: Report) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def announce_and_wait(item: int, report: Report) -> int:
    report(os.getpid())
    time.sleep(600)
    return item


@pytest.fixture(params=list(EXECUTORS))
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = EXECUTORS[request.param]()
    yield made
    made.close()


def test_every_item_is_started_once_and_ends_in_its_value(executor: Executor) -> None:
    events = list(executor.run(square, [3, 1, 2]))
    assert sorted(event.index for event in events if isinstance(event, Started)) == [0, 1, 2]
    assert {event.index: event.value for event in events if isinstance(event, Done)} == {0: 9, 1: 1, 2: 4}


def test_progress_of_an_item_comes_in_order_between_its_start_and_its_end(executor: Executor) -> None:
    of_first: list[Any] = [event for event in executor.run(square, [3, 1, 2]) if event.index == 0]
    assert of_first == [Started(0), Progress(0, "half of 3"), Progress(0, "all of 3"), Done(0, 9)]


def test_no_items_give_no_events(executor: Executor) -> None:
    assert list(executor.run(square, [])) == []


def test_an_exception_fails_its_item_and_no_other(executor: Executor) -> None:
    events = list(executor.run(fail_at_two, [1, 2, 3]))
    [failure] = [event for event in events if isinstance(event, Failed)]
    assert (failure.index, failure.error) == (1, "ValueError: two is too many")
    assert "fail_at_two" in failure.details
    assert {event.value for event in events if isinstance(event, Done)} == {1, 3}


def test_a_dying_process_fails_its_item_and_no_other(executor: Executor) -> None:
    events = list(executor.run(die_at_two, [1, 2, 3, 4]))
    [failure] = [event for event in events if isinstance(event, Failed)]
    assert failure.index == 1
    assert "exit code 7" in failure.error
    assert {event.value for event in events if isinstance(event, Done)} == {1, 3, 4}


def test_work_is_done_in_other_processes_with_one_thread_each(executor: Executor) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    values = [event.value for event in executor.run(own_process, [0, 1, 2]) if isinstance(event, Done)]
    assert os.getpid() not in {process for process, _ in values}
    assert {threads for _, threads in values} == {"1"}
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_closing_the_iterator_ends_the_processes(executor: Executor) -> None:
    events = executor.run(announce_and_wait, [0])
    process = next(event.payload for event in events if isinstance(event, Progress))
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_an_executor_serves_several_runs_also_after_a_failure(executor: Executor) -> None:
    assert sum(isinstance(event, Failed) for event in executor.run(die_at_two, [2, 2, 1])) == 2
    values = [event.value for event in executor.run(square, [1, 2, 3, 4]) if isinstance(event, Done)]
    assert sorted(values) == [1, 4, 9, 16]


def test_a_closed_executor_has_no_processes_left(executor: Executor) -> None:
    processes = {event.value[0] for event in executor.run(own_process, [0, 1]) if isinstance(event, Done)}
    executor.close()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_local_executor_takes_one_process_per_usable_core() -> None:
    assert LocalExecutor().workers == available_cores() >= 1
