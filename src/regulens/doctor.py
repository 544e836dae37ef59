"""What trainings run on here, in pairs of a name and a finding."""

from __future__ import annotations

import os
import platform

import torch

from regulens import __version__
from regulens.data.catalog import CATALOG, locate
from regulens.executors.local import available_cores
from regulens.kernels.paths import NATIVE, kernels_in_use, native_levels, why_not_native
from regulens.training.environment import cpu_model


def examine() -> list[tuple[str, str]]:
    """Return the findings that ``regulens doctor`` prints.

    Raises:
        UserError: if ``REGULENS_KERNELS`` or ``REGULENS_ISA`` ask for what is not there.
    """
    return [
        ("regulens", __version__),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("processor", cpu_model()),
        ("kernels", _kernels()),
        ("instruction sets", ", ".join(native_levels()) or "none: no native kernels"),
        ("torch", f"{torch.__version__}, its own code for {torch.backends.cpu.get_cpu_capability()}"),
        ("workers", f"{available_cores()} (the cores that this process may use), one thread each"),
        ("cuda", _cuda()),
        *((f"data: {info.name}", found.place if (found := locate(info)) else "not here") for info in CATALOG.values()),
    ]


def _kernels() -> str:
    in_use = kernels_in_use()
    if in_use.startswith(NATIVE):
        return in_use
    if why_not_native:
        return f"{in_use}: this installation has no native ones ({why_not_native}); several times slower"
    return f"{in_use}, as REGULENS_KERNELS={os.environ['REGULENS_KERNELS']} asks; several times slower than native"


def _cuda() -> str:
    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return "no device" if torch.version.cuda else "no: this build of torch is for the CPU only"
