"""How large a study may be: counted before any of its networks or runs is made."""

from __future__ import annotations

import math
from collections.abc import Sized
from numbers import Integral
from types import NoneType

from regulens.errors import UserError, check_type
from regulens.spec import ClaimSpec, StudySpec

MAX_CELLS = 10_000
"""How many networks a study may have, those of its variations included, unless more are asked for."""
MAX_RUNS = 1_000_000
"""How many runs the first stage of a study may have."""
MAX_LISTED = 1_000
"""How many claims, variations and other tables of one kind a study may have."""
MAX_CONTRASTS = 100_000
"""On how many differences between networks the claims of a study may rest."""


def count_cells(study: StudySpec) -> int:
    """Return how many networks a study trains, those of its variations included; none of them is made for that."""
    return math.prod(map(len, study.factors.values())) * (1 + len(study.variations))


def check_size(study: StudySpec, max_cells: int | None = None) -> None:
    """Check how large a study is before any of its networks is made; by default it may have ``MAX_CELLS``.

    Raises:
        UserError: naming the number of networks, or what else is too much, and the limit.
    """
    check_type(max_cells, (Integral, NoneType), "max_cells", "a whole number")
    count, limit = count_cells(study), MAX_CELLS if max_cells is None else max_cells
    if count > limit:
        factors = " x ".join(str(len(levels)) for levels in study.factors.values())
        varied_too = f" x (1 + {len(study.variations)} variations)" if study.variations else ""
        raise UserError(
            f"the study has {count:,} networks ({factors} levels{varied_too}), more than {limit:,}; remove levels, "
            f"or allow them with --max-cells {count}"
        )
    for key, listed in _listed(study).items():
        if len(listed) > MAX_LISTED:
            raise UserError(f"{key}: the study has {len(listed):,} of them, more than {MAX_LISTED:,}; remove some")
    contrasts = sum(_most_contrasts(study, claim) for claim in study.claims)
    if contrasts > MAX_CONTRASTS:
        raise UserError(
            f"claims: rest on {contrasts:,} differences between networks, more than {MAX_CONTRASTS:,}; remove some, or "
            "name levels of the other factors with where"
        )


def _listed(study: StudySpec) -> dict[str, Sized]:
    """Return what a study lists beside its factors, by key."""
    return {
        "claims": study.claims,
        "variations": study.variations,
        "also_refit": study.also_refit,
        "published.cells": study.published.cells if study.published else (),
        "analysis.comparisons": study.analysis.comparisons if isinstance(study.analysis.comparisons, tuple) else (),
    }


def _most_contrasts(study: StudySpec, claim: ClaimSpec) -> int:
    """Return on how many differences between networks a claim rests at most."""
    places = math.prod(len(levels) for path, levels in study.factors.items() if path not in claim.where)
    return places * len(claim.response or (None,))


def check_runs(study: StudySpec) -> None:
    """Check how many runs the first stage of a study has before any of them is made.

    Raises:
        UserError: naming their number and the limit.
    """
    networks = math.prod(map(len, study.factors.values()))
    if networks * study.seeds > MAX_RUNS:
        raise UserError(
            f"{networks:,} networks x {study.seeds:,} seeds are {networks * study.seeds:,} runs, more than "
            f"{MAX_RUNS:,}; choose fewer seeds or levels"
        )
