"""Regulens: which regularization helps here, is the difference real, and what did the network learn?"""

from regulens.search_path import leave_current_folder as _leave_current_folder
from regulens.search_path import runs_as_module as _runs_as_module

if _runs_as_module():  # `python -m` put the current folder first; a script that imports the package keeps its own path
    _leave_current_folder()

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing would be imported before the path of a command is clean
if TYPE_CHECKING:
    from regulens.api import Audit as Audit
    from regulens.api import Benchmark as Benchmark
    from regulens.api import Dataset as Dataset
    from regulens.api import Study as Study
    from regulens.api import Trained as Trained
    from regulens.api import UserError as UserError
    from regulens.api import audit_study as audit_study
    from regulens.api import bench_study as bench_study
    from regulens.api import build_model as build_model
    from regulens.api import build_regularizer as build_regularizer
    from regulens.api import load_dataset as load_dataset
    from regulens.api import load_study as load_study
    from regulens.api import run_study as run_study
    from regulens.api import train as train
    from regulens.report.datasets import draw_datasets as draw_datasets
    from regulens.report.inside.file_kernels import kernels_of_file as kernels_of_file
    from regulens.report.pareto import draw_costs as draw_costs
    from regulens.spec import DataSpec as DataSpec
    from regulens.spec import ModelSpec as ModelSpec
    from regulens.spec import RunSpec as RunSpec
    from regulens.spec import StudySpec as StudySpec
    from regulens.spec import TrainSpec as TrainSpec
    from regulens.study.own_numbers import OwnAnalysis as OwnAnalysis
    from regulens.study.own_numbers import analyze as analyze
    from regulens.weights.files import read_kernels as read_kernels

_HOMES = {
    "regulens.api": (
        "Audit",
        "Benchmark",
        "Dataset",
        "Study",
        "Trained",
        "UserError",
        "audit_study",
        "bench_study",
        "build_model",
        "build_regularizer",
        "load_dataset",
        "load_study",
        "run_study",
        "train",
    ),
    "regulens.report.datasets": ("draw_datasets",),
    "regulens.report.pareto": ("draw_costs",),
    "regulens.report.inside.file_kernels": ("kernels_of_file",),
    "regulens.spec": ("DataSpec", "ModelSpec", "RunSpec", "StudySpec", "TrainSpec"),
    "regulens.study.own_numbers": ("OwnAnalysis", "analyze"),
    "regulens.weights.files": ("read_kernels",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # names that __getattr__ imports on first use: torch stays out


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    import importlib

    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
