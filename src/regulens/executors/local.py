"""Local processes: each started once, fed one item at a time over its own pipe, ended with its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Self

import joblib

from regulens.executors.base import Done, Event, Failed, Progress, Report, Started
from regulens.search_path import child_environment

Function = Callable[[Any, Report], Any]

_SPAWN = multiprocessing.get_context("spawn")
_THREAD_VARIABLES = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def available_cores() -> int:
    """Return the number of cores this process may use: affinity and container limits are respected."""
    return int(joblib.cpu_count())


class LocalExecutor:
    """An executor over ``workers`` spawned processes, started when first needed and kept until closed.

    Args:
        workers: how many work at once; by default one per core this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or available_cores()
        self._pool: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Function, items: Sequence[Any]) -> Iterator[Event]:
        """Yield events as they come; closing the iterator, or an exception in its user, ends the work at once."""
        pending = deque(enumerate(items))
        while len(self._pool) < min(self.workers, len(items)):
            self._pool.append(_Worker())
        try:
            for worker in self._pool:
                yield from worker.feed(function, pending)
            while busy := {worker.pipe: worker for worker in self._pool if worker.index is not None}:
                for pipe in wait(list(busy)):
                    worker = busy[pipe]  # type: ignore[index]  # wait returns what it was given
                    event = worker.receive()
                    yield event
                    if isinstance(event, Done | Failed):
                        yield from self._healthy(worker).feed(function, pending)
        finally:
            self._drop([worker for worker in self._pool if worker.index is not None])

    def close(self) -> None:
        """End all processes."""
        self._drop(list(self._pool))

    def _healthy(self, worker: _Worker) -> _Worker:
        """Return the worker, or a new one in the place of a dead one."""
        if worker.process.is_alive():
            return worker
        self._drop([worker])
        self._pool.append(_Worker())
        return self._pool[-1]

    def _drop(self, workers: list[_Worker]) -> None:
        for worker in workers:
            self._pool.remove(worker)
            worker.stop()


class _Worker:
    """The parent's end of one process."""

    def __init__(self) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.index: int | None = None
        self.process: BaseProcess = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
        with _environment_of_workers():
            self.process.start()
        theirs.close()

    def feed(self, function: Function, pending: deque[tuple[int, Any]]) -> Iterator[Event]:
        """Send the next item, if there is one."""
        self.index = None
        if pending:
            self.index, item = pending.popleft()
            yield Started(self.index)
            with suppress(OSError):  # if the process has died, receive() reports it
                self.pipe.send((function, item))

    def receive(self) -> Event:
        """Return the next event of the item at work; a dead process is a failure of that item."""
        assert self.index is not None
        try:
            kind, payload = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            reason = f"its process ended with exit code {self.process.exitcode}"
            if self.process.exitcode == -getattr(signal, "SIGKILL", 9):
                reason += " (killed, perhaps for want of memory: try fewer --workers)"
            return Failed(self.index, reason, reason)
        if kind == "progress":
            return Progress(self.index, payload)
        return Done(self.index, payload) if kind == "done" else Failed(self.index, *payload)

    def stop(self) -> None:
        """End the process at once: it holds nothing that is not sent or written whole."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    """What a process inherits at its start: one thread, no script, no current folder, and a blocked Ctrl-C.

    Ctrl-C is the parent's to handle. A process begins with Python's own modules, never with a ``pickle.py`` of the
    current folder, and then takes over the parent's ``sys.path``.

    Without the script of ``__main__`` a worker does not run it again, so a user's script needs no
    ``if __name__ == "__main__":``; the functions that executors are given live in modules.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    variables = _THREAD_VARIABLES | child_environment()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)  # read once, when Python starts and its libraries are loaded
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _work(pipe: Connection) -> None:
    """The process: take items until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for systems without signal masks
    try:
        while True:
            function, item = pipe.recv()
            try:
                answer = ("done", function(item, lambda payload: pipe.send(("progress", payload))))
            except Exception as error:
                answer = ("failed", (" ".join(f"{type(error).__name__}: {error}".split()), traceback.format_exc()))
            pipe.send(answer)
    except (EOFError, OSError):
        return  # the parent is gone or wants no more
