"""What a result may depend on in its last bits: the thread count is pinned, the rest is recorded."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch

from regulens import __version__
from regulens.kernels.paths import REFERENCE, kernels_in_use
from regulens.results import Environment
from regulens.training.device import find_device


@contextmanager
def pinned_torch() -> Iterator[None]:
    """One thread, float32 throughout and gradients on, whatever the caller had set; restored afterwards."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    try:
        with torch.enable_grad(), cudnn:
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


@cache
def environment(device: str = "cpu") -> Environment:
    """Return the versions and the machine that this process trains with on ``device``."""
    place = find_device(device)
    on_gpu = place.type == "cuda"
    return Environment(
        regulens=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        platform=f"{platform.system()} {platform.machine()}",
        cpu=f"{cpu_model()} ({torch.backends.cpu.get_cpu_capability()})",
        device=torch.cuda.get_device_name(place) if on_gpu else "cpu",
        kernels=REFERENCE if on_gpu else kernels_in_use(),
    )


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
