"""Do networks that differ only in their seed point at the same pixels? Maps in, rank correlations out.

Rank correlations do not depend on the maps' units or on any monotone change of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike the maps of several networks are.

    Attributes:
        mean: the mean of Spearman's rank correlation over all pairs of networks; NaN with fewer than two maps.
        least, greatest: of the pairs; NaN likewise.
        map: (H, W), the part of each pixel in it: the product of two networks' standardised ranks, the mean over
            the pairs. Its mean over the pixels is ``mean``; positive where the networks put a pixel on the same
            side of their middle rank. NaN likewise.
        networks: how many maps were compared.
        left_out: how many were not, being constant or not finite: those of collapsed networks.
        pairs: (S, S), the rank correlation of each two networks; NaN of those left out.
    """

    mean: float
    least: float
    greatest: float
    map: NDArray[np.float64]
    networks: int
    left_out: int
    pairs: NDArray[np.float64]


def seed_agreement(maps: ArrayLike) -> Agreement:
    """Compare the maps (S, H, W) of one image by networks that differ only in their seed.

    Raises:
        ValueError: if the maps do not have that shape.
    """
    array = np.asarray(maps, np.float64)
    if array.ndim != 3:
        raise ValueError(f"maps must be (networks, H, W), got {array.shape}")
    ranks = standardised_ranks(array)
    flat = ranks.reshape(len(ranks), -1)
    every = flat @ flat.T / flat.shape[1]
    sound = np.isfinite(ranks).all(axis=(1, 2))
    ranks, used, lost = ranks[sound], int(sound.sum()), int((~sound).sum())
    if used < 2:
        return Agreement(math.nan, math.nan, math.nan, np.full(array.shape[1:], math.nan), used, lost, every)
    pairs = used * (used - 1) / 2
    products = (ranks.sum(axis=0) ** 2 - (ranks**2).sum(axis=0)) / 2 / pairs
    by_pair = every[np.ix_(sound, sound)][np.triu_indices(used, 1)]
    return Agreement(float(products.mean()), float(by_pair.min()), float(by_pair.max()), products, used, lost, every)


def rank_correlations(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of maps (..., H, W), map by map; NaN where one is constant or not finite."""
    correlations: NDArray[np.float64] = (standardised_ranks(a) * standardised_ranks(b)).mean(axis=(-2, -1))
    return correlations


def standardised_ranks(maps: ArrayLike) -> NDArray[np.float64]:
    """Return the ranks within each map (..., H, W), ties sharing theirs, with mean 0 and standard deviation 1.

    A map that is constant or holds a value that is not finite is NaN.
    """
    array = np.asarray(maps, np.float64)
    flat = array.reshape(*array.shape[:-2], -1)
    ranks = rankdata(flat, axis=-1) - (flat.shape[-1] + 1) / 2
    spread = np.sqrt((ranks**2).mean(axis=-1, keepdims=True))
    sound = np.isfinite(flat).all(axis=-1, keepdims=True) & (spread > 0)
    standardised: NDArray[np.float64] = np.where(sound, ranks / np.where(spread > 0, spread, 1), np.nan)
    return standardised.reshape(array.shape)
