"""How much memory one more worker costs: the private memory (USS) of the processes that train the lab.

Sampled every 0.2 s while the workers train, started anew each time, with as many seeds as workers, so that each has
some eight runs to do: the peak of a worker, of the parent, and of all of them together. USS is what would be freed if a
process ended. The images, which lie in memory once and are mapped by all workers, are mapped here too, so that they
are private to none even where there is one worker; like `regulens run`, the parent also holds a copy of its own.

    python benchmarks/memory.py
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import active_children
from statistics import median

import psutil

from common import command, in_turn, lab, machine, parser, print_table, shared_data, spread, timed_stage, warm_executor
from regulens.data.catalog import load_dataset
from regulens.data.dataset import SharedDataset
from regulens.spec import StudySpec

SECONDS = 0.2


@dataclass
class Peaks:
    """The largest USS in MiB seen of each process, and of all at one time."""

    processes: dict[int, float] = field(default_factory=dict)
    together: float = 0.0

    def sample(self, pids: list[int]) -> None:
        """Take one more sample of all processes."""
        uss = {pid: psutil.Process(pid).memory_full_info().uss / 2**20 for pid in pids}
        self.processes = {pid: max(now, self.processes.get(pid, 0.0)) for pid, now in uss.items()}
        self.together = max(self.together, sum(uss.values()))

    @property
    def parent(self) -> float:
        """Of this process."""
        return self.processes[os.getpid()]

    @property
    def workers(self) -> list[float]:
        """Of the other ones."""
        return [peak for pid, peak in self.processes.items() if pid != os.getpid()]


@contextmanager
def watched(pids: list[int]) -> Iterator[Peaks]:
    """Sample the processes until the block ends."""
    peaks, ended = Peaks(), threading.Event()

    def watch() -> None:
        peaks.sample(pids)
        while not ended.wait(SECONDS):
            peaks.sample(pids)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def measure(study: StudySpec, data: dict[str, SharedDataset], workers: int) -> Peaks:
    """Train the study with so many workers."""
    with warm_executor(workers) as executor:
        pids = [process.pid for process in active_children() if process.pid is not None]
        if len(pids) != workers:
            raise RuntimeError(f"{len(pids)} processes are at work, not {workers}")
        with watched([os.getpid(), *pids]) as peaks:
            timed_stage(study, data, executor)
    return peaks


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--images", type=int, help="train, validation and test together (default: all)")
    given = options.parse_args()
    studies = {workers: lab(workers, given.epochs, given.images) for workers in sorted(set(given.workers))}
    name = lab(1).data.name
    with shared_data(lab(1)) as data:
        held, mapped = load_dataset(name), data[name].open()
        if held.images.sum() != mapped.images.sum():  # every page of both is touched
            raise RuntimeError("the images are not mapped as they were laid out")
        calls = {workers: partial(measure, study, data, workers) for workers, study in studies.items()}
        rounds = in_turn(calls, given.rounds)
    rows, before = [], 0
    for workers in calls:
        peaks = [sample[workers] for sample in rounds]
        added = "" if not before else _added(rounds, before, workers)
        rows.append(
            [
                workers,
                spread([max(one.workers) for one in peaks], 0),
                f"{median(median(one.workers) for one in peaks):.0f}",
                spread([one.parent for one in peaks], 0),
                spread([one.together for one in peaks], 0),
                added,
            ]
        )
        before = workers
    print(f"`{command()}` on {machine()}")
    headers = ["workers", "largest worker, MiB", "median worker, MiB", "parent, MiB", "all together, MiB"]
    print_table([*headers, "per added worker, MiB"], rows)


def _added(rounds: list[dict[int, Peaks]], before: int, workers: int) -> str:
    return spread(
        [(sample[workers].together - sample[before].together) / (workers - before) for sample in rounds], digits=0
    )


if __name__ == "__main__":
    main()
