"""What the benchmarks share: the lab's studies, a timed training stage, alternation, and the tables they print."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch

from regulens.data.catalog import load_dataset
from regulens.data.dataset import SharedDataset, share
from regulens.errors import RegulensError
from regulens.executors.base import Failed, Report
from regulens.executors.local import LocalExecutor, available_cores
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.study.protocol import planned
from regulens.study.runner import ignore, run_pending
from regulens.study.store import Store
from regulens.study.study_file import read_study
from regulens.training.environment import environment

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser that has ``--rounds``."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help=f"of alternation (default: {rounds})")
    return made


def lab(seeds: int, epochs: int | None = None, images: int | None = None, scaled: bool = False) -> StudySpec:
    """Return the study of the lab; ``images`` limits train, validation and test together, ``scaled`` is 1/255."""
    study = read_study("lab")
    data = study.data.model_copy(update={"limit": images} | ({"scale": 1 / 255} if scaled else {}))
    train = study.train.model_copy(update={"epochs": epochs or study.train.epochs})
    return study.model_copy(update={"seeds": seeds, "data": data, "train": train})


@contextmanager
def shared_data(study: StudySpec) -> Iterator[dict[str, SharedDataset]]:
    """Lay the study's images out for workers in a temporary folder."""
    with TemporaryDirectory() as folder:
        yield {study.data.name: share(load_dataset(study.data.name), Path(folder))}


@contextmanager
def warm_executor(workers: int, device: str = "cpu") -> Iterator[LocalExecutor]:
    """Start fresh workers that have imported all that a training imports, and have begun to use the device."""
    with LocalExecutor(workers) as executor:
        for event in executor.run(import_all, [device] * workers):
            if isinstance(event, Failed):
                raise RegulensError(f"a worker could not be started: {event.error}")
        yield executor


def import_all(device: str, _: Report) -> None:
    """Do in a worker what comes before the clock; this module has imported the rest."""
    torch.zeros(1, device=device).item()


def timed_stage(
    study: StudySpec, data: Mapping[str, SharedDataset], executor: LocalExecutor, device: str = "cpu"
) -> tuple[float, list[RunResult]]:
    """Run a study's training stage into a new folder, as ``regulens run`` does; return its seconds and results."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        store, started = Store(folder), time.perf_counter()
        results = run_pending(
            planned(study),
            "train",
            study=study,
            folder=folder,
            store=store,
            executor=executor,
            data=data,
            on_event=ignore,
            device=device,
        )
        return time.perf_counter() - started, results


def in_turn(calls: Mapping[Key, Callable[[], Value]], rounds: int) -> list[dict[Key, Value]]:
    """Return what each call returns in each round; every round begins with another call."""
    samples, names = [], list(calls)
    for number in range(rounds):
        first = number % len(names)
        sample: dict[Key, Value] = {}
        for name in names[first:] + names[:first]:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            sample[name] = calls[name]()
        samples.append(sample)
    return samples


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write the median and the range of values: ``3.41 (3.35..3.60)``; a single value alone."""
    text = f"{median(values):.{digits}f}"
    return f"{text} ({min(values):.{digits}f}..{max(values):.{digits}f})" if len(values) > 1 else text


def machine(device: str = "cpu") -> str:
    """Describe in a line what a training depends on here."""
    here = environment(device)
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    memory = f"{pages / 2**30:.0f} GiB, " if pages else ""
    gpu = "" if here.device == "cpu" else f"{here.device}, "
    return (
        f"{here.cpu}, {available_cores()} cores, {memory}{gpu}{here.platform}, Python {here.python}, "
        f"torch {here.torch}, Regulens {here.regulens}, kernels: {here.kernels}"
    )


def command() -> str:
    """Return the command line, paths shortened to their last part."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table, its first column to the left."""
    lines = [headers, ["---"] + ["---:"] * (len(headers) - 1), *rows]
    print("\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines), flush=True)
