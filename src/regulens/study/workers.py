"""How many processes a study is worked on by."""

from __future__ import annotations

from numbers import Integral
from types import NoneType

from regulens.errors import UserError, check_type
from regulens.executors.local import available_cores

GPU_WORKERS = 4  # processes take turns on a GPU: more of them only hide what each does on its core


def check_workers(workers: int | None, device: str = "cpu") -> int:
    """Return how many processes to use: as many as asked for, or one per core (on a GPU, ``GPU_WORKERS`` at most).

    Raises:
        UserError: if fewer than one is asked for, or there is no such device.
    """
    check_type(workers, (Integral, NoneType), "workers", "a whole number")
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")
    on_gpu = device != "cpu" and _is_gpu(device)
    if workers is None:
        return min(available_cores(), GPU_WORKERS) if on_gpu else available_cores()
    return workers


def _is_gpu(device: str) -> bool:
    from regulens.training.device import find_device  # brings torch, which a run on the CPU waits for only later

    return find_device(device).type == "cuda"
