"""Regulens and three peers train the lab: eight networks, one seed, validation after every epoch, the same images.

Each is a command of its own, one at a time, in turn: stage.py, and the scripts in peers/. From each two times are
taken: the seconds that it reports itself, from the first training to the last, its imports and the loading of the
images before the clock; and the whole command, from its start to its end. Regulens does more in these seconds than
its peers: it also evaluates each network on its training images, and stores weights, predictions and results; its
whole command verifies the checksums of the data set, while the peers read an uncompressed .npz of the lab's split.

On the lab's own pixels, 0 to 255, most filters die, which Regulens makes use of; with --scaled, pixels from 0 to 1,
they live.

    python benchmarks/lab.py --rounds 3 --tensorflow-python tf/bin/python
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from common import command, in_turn, lab, machine, parser, print_table, spread
from regulens.data.catalog import load_dataset
from regulens.data.split import split
from regulens.spec import StudySpec
from regulens.study.protocol import planned

HERE = Path(__file__).resolve().parent
PEERS = {
    "pytorch_tuned": "PyTorch, tuned by hand",
    "pytorch_usual": "PyTorch, as usual",
    "keras_tensorflow": "Keras on TensorFlow",
}
OURS = "Regulens"


@dataclass(frozen=True)
class Took:
    """What one command took: its own seconds, the whole command's, and what its networks score."""

    seconds: float
    whole: float
    val_accuracies: tuple[float, ...]


def export(study: StudySpec, path: Path) -> None:
    """Write the lab's split as the peers read it."""
    dataset = load_dataset(study.data.name)
    parts = split(len(dataset.labels), study.data)
    arrays: dict[str, Any] = {}
    for name, part in (("train", parts.train), ("val", parts.validation)):
        images = dataset.images[part, ..., 0]
        if study.data.scale != 1:
            images = images * np.float32(study.data.scale)
        arrays |= {f"{name}_images": images, f"{name}_labels": dataset.labels[part]}
    np.savez(path, **arrays)


def run(words: list[str], trainings: int) -> Took:
    """Run a command to its end; anything but all its lines is an error."""
    started = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{Path(words[1]).name} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    *networks, total = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not len(networks) == total["trainings"] == trainings:
        sys.exit(f"{Path(words[1]).name} trained {len(networks)} networks, not {trainings}")
    return Took(total["seconds"], whole, tuple(network["val_accuracy"] for network in networks))


def versions_of(python: str) -> str:
    """Return the versions of Keras and TensorFlow of an interpreter."""
    asked = "import keras, tensorflow; print(f'Keras {keras.__version__}, TensorFlow {tensorflow.__version__}')"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"--tensorflow-python {python} has no Keras with TensorFlow:\n{done.stderr[-500:]}")
    return done.stdout.strip()


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--images", type=int, help="train, validation and test together (default: all)")
    options.add_argument("--scaled", action="store_true", help="pixels from 0 to 1, in place of 0 to 255")
    options.add_argument("--tensorflow-python", default=sys.executable, help="interpreter that has TensorFlow")
    options.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    given = options.parse_args()
    study = lab(1, given.epochs, given.images, given.scaled)
    trainings = len(planned(study))
    versions = f", {versions_of(given.tensorflow_python)}" if "keras_tensorflow" in given.peers else ""

    with TemporaryDirectory() as folder:
        data = Path(folder) / "split.npz"
        export(study, data)
        epochs = ["--epochs", str(given.epochs)]
        limit = ["--images", str(given.images)] if given.images else []
        scaled = ["--scaled"] if given.scaled else []
        commands = {OURS: [sys.executable, str(HERE / "stage.py"), *epochs, *limit, *scaled]}
        for peer in given.peers:
            python = given.tensorflow_python if peer == "keras_tensorflow" else sys.executable
            commands[PEERS[peer]] = [python, str(HERE / "peers" / f"{peer}.py"), "--data", str(data), *epochs]
        calls = {name: partial(run, words, trainings) for name, words in commands.items()}
        rounds = in_turn(calls, given.rounds)

    rows = []
    for name in calls:
        took = [sample[name] for sample in rounds]
        rows.append(
            [
                name,
                spread([60 * trainings / one.seconds for one in took], 1),
                spread([sample[name].seconds / sample[OURS].seconds for sample in rounds]),
                spread([one.whole for one in took], 1),
                spread([sample[name].whole / sample[OURS].whole for sample in rounds]),
                f"{median(took[-1].val_accuracies):.3f}",
            ]
        )
    print(f"`{command()}` on {machine()}{versions}")
    headers = ["", "runs per minute", "its time to Regulens'", "whole command, s", "whole command to Regulens'"]
    print_table([*headers, "median validation accuracy"], rows)


if __name__ == "__main__":
    main()
