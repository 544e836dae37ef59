"""The lab's training stage as one command, which lab.py runs beside the peers: it prints the lines that they print.

Its clock starts when all workers have imported what they need and the images are laid out for them, as the tuned
peer's does, and stops when every run is trained and stored.

    python benchmarks/stage.py --epochs 5
"""

from __future__ import annotations

import argparse
import json

from common import lab, shared_data, timed_stage, warm_executor
from regulens.executors.local import available_cores


def main() -> None:
    """Train, and print a line of JSON for each network and one for all."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--epochs", type=int, default=5)
    arguments.add_argument("--images", type=int, help="train, validation and test together (default: all)")
    arguments.add_argument("--scaled", action="store_true", help="pixels from 0 to 1, in place of 0 to 255")
    arguments.add_argument("--workers", type=int, default=available_cores())
    given = arguments.parse_args()
    study = lab(given.seeds, given.epochs, given.images, given.scaled)
    with shared_data(study) as data, warm_executor(given.workers) as executor:
        seconds, results = timed_stage(study, data, executor)
    for result in results:
        network = {"depth": result.spec.model.depth, "regularizer": result.spec.regularizer}
        print(json.dumps(network | {"seconds": result.train_seconds, "val_accuracy": result.val_accuracy}))
    print(json.dumps({"trainings": len(results), "seconds": seconds}))


if __name__ == "__main__":
    main()
