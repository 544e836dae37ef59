"""What a run is known by, and the random streams that derive from it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from regulens.spec.run import EVERY_SEED, RunSpec, Source

SCHEMA_VERSION = 1
"""Hashed into every identity: raised only when the meaning of an existing field changes."""

Purpose = Literal["init", "shuffle", "dropout", "batch"]
"""What a stream of random numbers is for: the last two are layers' masks and the regularizer's batch hook."""

_SOURCE_OF: dict[Purpose, Source] = {"init": "init", "shuffle": "order", "dropout": "dropout", "batch": "dropout"}
"""The source of randomness that each stream belongs to."""


def run_id(spec: RunSpec, dataset_digest: str) -> str:
    """Return the run's identity: 16 hexadecimal digits of a hash of its spec and its data.

    Fields at their defaults are left out of the hash, so that a later field with a default does not
    orphan the runs of today.
    """
    return _identity("run", spec.model_dump(mode="json", exclude_defaults=True), dataset_digest)


def cell_id(spec: RunSpec, dataset_digest: str) -> str:
    """Return the identity shared by the runs that differ only in their seed."""
    fields = spec.model_dump(mode="json", exclude_defaults=True, exclude={"seed"})
    return _identity("cell", fields, dataset_digest)


def random_state(spec: RunSpec, dataset_digest: str, purpose: Purpose) -> int:
    """Return the 63-bit seed of one stream (``init``, ``shuffle``, ``dropout`` ...) of one run.

    Derived from the run's identity with numpy's ``SeedSequence([seed, cell, purpose])``: streams of
    different cells, seeds and purposes are independent, whatever runs before, beside or after. A stream of
    a source that is not varied is that of seed 0; which sources vary is no part of ``cell`` here, so that
    a stream is the same whatever else varies.
    """
    import numpy as np

    cell = spec.model_copy(update={"vary": EVERY_SEED})
    seed = spec.seed if _SOURCE_OF[purpose] in spec.vary else 0
    words = [seed, int(cell_id(cell, dataset_digest), 16), _word(purpose)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _identity(kind: str, fields: dict[str, Any], dataset_digest: str) -> str:
    content = {"schema": SCHEMA_VERSION, "kind": kind, "dataset": dataset_digest, "spec": fields}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _word(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
