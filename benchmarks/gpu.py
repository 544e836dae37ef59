"""The lab's training stage on a GPU, by the number of worker processes that share it, beside all cores of the CPU.

In turn within each round, each with fresh workers that have imported torch and begun to use their device before the
clock starts, and a new folder. The clock holds all else: recording the step as a CUDA graph, training, validation,
storing.

    python benchmarks/gpu.py --workers 1 2 4 8
"""

from __future__ import annotations

from functools import partial

from common import command, in_turn, lab, machine, parser, print_table, shared_data, spread, timed_stage, warm_executor
from regulens.data.dataset import SharedDataset
from regulens.executors.local import available_cores
from regulens.kernels.paths import kernels_in_use
from regulens.spec import StudySpec
from regulens.study.protocol import planned


def measure(study: StudySpec, data: dict[str, SharedDataset], workers: int, device: str) -> float:
    """Return the runs per minute of one training stage."""
    with warm_executor(workers, device) as executor:
        seconds, results = timed_stage(study, data, executor, device)
    return 60 * len(results) / seconds


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--device", default="cuda")
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8], help="on the GPU")
    options.add_argument("--seeds", type=int, default=2, help="so that eight workers have two runs each (default: 2)")
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--images", type=int, help="train, validation and test together (default: all)")
    given = options.parse_args()
    described = machine(given.device)  # fails at once where there is no such device
    study = lab(given.seeds, given.epochs, given.images)
    cpu = f"CPU, {available_cores()} workers, kernels: {kernels_in_use()}"
    places = {cpu: ("cpu", available_cores())}
    places |= {f"{given.device}, workers: {workers}": (given.device, workers) for workers in given.workers}
    with shared_data(study) as data:
        calls = {name: partial(measure, study, data, workers, device) for name, (device, workers) in places.items()}
        rounds = in_turn(calls, given.rounds)
    rows = []
    for name in calls:
        ratios = [sample[name] / sample[cpu] for sample in rounds]
        rows.append([name, spread([sample[name] for sample in rounds], 1), spread(ratios)])
    print(f"`{command()}`, {len(planned(study))} runs each, on {described}")
    print_table(["", "runs per minute", "to the CPU's"], rows)


if __name__ == "__main__":
    main()
