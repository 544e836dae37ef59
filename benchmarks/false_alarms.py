"""How often is a real validation image said to be unlike the training images, or inverted?

The validation images that are judged are none of those that the distances are compared with: of a large data set those
behind the first thousand, of a small one each tenth in turn.

    python benchmarks/false_alarms.py digits fashion-mnist
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from regulens.data.catalog import load_dataset
from regulens.data.novelty import REFERENCES, novelties
from regulens.data.split import Split, split
from regulens.spec import DataSpec


def folds(parts: Split) -> Iterator[tuple[Split, NDArray[np.int64]]]:
    """Yield splits whose validation images are the references, and the images that are judged by them."""
    if len(parts.validation) >= 2 * REFERENCES:
        yield parts, parts.validation[REFERENCES:]
        return
    for tenth in np.array_split(parts.validation, 10):
        yield replace(parts, validation=np.setdiff1d(parts.validation, tenth)), tenth


def main() -> None:
    """Print the rates for each data set named."""
    for name in sys.argv[1:]:
        dataset = load_dataset(name)
        parts = split(len(dataset.labels), DataSpec(name=name, scale=1 / 255))
        found = [each for own, judged in folds(parts) for each in novelties(dataset.images[judged], dataset, own)]
        for what, alarms in (
            ("said to be unlike", [bool(each.notes) for each in found]),
            ("inverted", [each.inverted for each in found]),
        ):
            print(f"{name}: {sum(alarms)} of {len(alarms)} validation images {what}: {np.mean(alarms):.2%}")


if __name__ == "__main__":
    main()
