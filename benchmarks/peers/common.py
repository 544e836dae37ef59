"""What the three scripts share: their command line, the data file and the lines they print."""

import argparse
import json

import numpy as np

REGULARIZERS = ("none", "l2", "dropout", "batchnorm")
ALL_NETWORKS = [(depth, regularizer) for depth in (1, 2) for regularizer in REGULARIZERS]


def parse_arguments(description):
    """Return the command line's data, networks, epochs and seed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help=".npz with {train,val}_images and {train,val}_labels")
    parser.add_argument(
        "--networks", type=_networks, default=ALL_NETWORKS, help="such as 1/none,2/batchnorm; default: all eight"
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _networks(text):
    networks = {f"{depth}/{regularizer}": (depth, regularizer) for depth, regularizer in ALL_NETWORKS}
    unknown = [name for name in text.split(",") if name not in networks]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown network {unknown[0]!r}; there are {', '.join(networks)}")
    return [networks[name] for name in text.split(",")]


def load_arrays(path):
    """Return train images (N, 28, 28), uint8 or scaled float32, and labels (N,) int64, then the same of validation."""
    with np.load(path) as arrays:
        return (
            arrays["train_images"],
            arrays["train_labels"].astype(np.int64),
            arrays["val_images"],
            arrays["val_labels"].astype(np.int64),
        )


def print_network(depth, regularizer, seconds, val_accuracy):
    """Print the line of one finished network."""
    line = {"depth": depth, "regularizer": regularizer, "seconds": seconds, "val_accuracy": val_accuracy}
    print(json.dumps(line), flush=True)


def print_total(trainings, seconds):
    """Print the last line."""
    print(json.dumps({"trainings": trainings, "seconds": seconds}), flush=True)
