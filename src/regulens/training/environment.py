"""What a result may depend on in its last bits: the thread count is pinned, the rest is recorded."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from regulens.results import Environment


@contextmanager
def pinned_torch() -> Iterator[None]:
    """One thread, float32 and gradients on, whatever the caller had set; restored afterwards."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


@cache
def environment() -> Environment:
    """Return the versions and the machine that this process trains with."""
    return Environment(
        regulens=version("regulens"),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        platform=f"{platform.system()} {platform.machine()}",
        cpu=f"{_cpu_model()} ({torch.backends.cpu.get_cpu_capability()})",
        device="cpu",
        kernels="torch",
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
