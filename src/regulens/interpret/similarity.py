"""How alike representations are: debiased linear CKA between layers, seeds and regularizers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.errors import UserError

LEAST_IMAGES = 4
_COLUMNS = 4096
"""Features are multiplied out so many at a time, in double precision."""
_CONSTANT = 1e-5
"""Features that spread less than this share of their size are constant: single precision cannot tell."""
_ROUNDING = 1e-9


def centred_gram(features: ArrayLike) -> NDArray[np.float32]:
    """Return the U-centred Gram matrix of a representation, as a vector of length 1.

    With ``K = X X'`` and its diagonal set to zero, entry i, j is ``K_ij`` less the sums of row i and of column j over
    n - 2, plus the sum of all over (n - 1)(n - 2). The inner product of two of these is n (n - 3) times the unbiased
    estimator of HSIC of Song, Smola, Gretton, Bedo and Borgwardt (2012, JMLR 13, 1393-1434; this form: Szekely and
    Rizzo 2014, Annals of Statistics 42, 2382-2412). Only what lies above the diagonal is returned: the matrix is
    symmetric.

    Args:
        features: (n, p), a row per image; the same images in the same order for all that will be compared.

    Returns:
        (n (n - 1) / 2,) of Euclidean length 1; NaN throughout if the features are the same for all images or for all
        but one (a dead layer), or one is not finite.

    Raises:
        UserError: if there are fewer than 4 images.
    """
    x = np.asarray(features)
    if x.ndim != 2:
        raise ValueError(f"features must be (images, features), got shape {x.shape}")
    n = len(x)
    if n < LEAST_IMAGES:
        raise UserError(f"similarity of representations needs at least {LEAST_IMAGES} images, got {n}; name more")
    above = np.triu_indices(n, 1)
    gram = _gram_without_diagonal(x)
    if gram is None:
        return np.full(len(above[0]), np.nan, np.float32)
    rows = gram.sum(axis=1) / (n - 2)
    vector = (gram - rows[:, None] - rows + rows.sum() / (n - 1))[above]
    length = float(np.linalg.norm(vector))
    if length <= _ROUNDING * float(np.linalg.norm(gram)):  # one image differs from all others: nothing pairs share
        return np.full(len(vector), np.nan, np.float32)
    return np.asarray(vector / length, np.float32)


def _gram_without_diagonal(x: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Return X X' of the centred features with zeros on its diagonal, ``None`` if they are constant or not finite."""
    gram, largest, spread = np.zeros((len(x), len(x))), 0.0, 0.0
    for start in range(0, x.shape[1], _COLUMNS):
        columns = np.asarray(x[:, start : start + _COLUMNS], np.float64)
        centred = columns - columns.mean(axis=0)
        largest, spread = max(largest, float(np.abs(columns).max())), max(spread, float(np.abs(centred).max()))
        gram += centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    return gram if np.isfinite(gram).all() and spread > _CONSTANT * largest else None


def cka_matrix(grams: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the debiased linear CKA of every pair of representations, from their ``centred_gram``.

    ``CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))`` (Kornblith, Norouzi, Lee and Hinton 2019, ICML) with the
    unbiased HSIC, as in Nguyen, Raghu and Kornblith (2021, ICLR): near 0 for unrelated representations however many
    features they have (it may be slightly negative), 1 for representations that differ by a rotation, a permutation, a
    shift and one common scale. It does depend on the images, and on the scale of single features.

    Args:
        grams: m vectors, of the same images.

    Returns:
        (m, m), symmetric; NaN in the rows and columns of dead layers, 1 on the rest of the diagonal.
    """
    stacked = np.asarray(grams)
    if stacked.ndim != 2:
        raise ValueError(f"grams must be vectors of the same images, got shape {stacked.shape}")
    similarity = (stacked @ stacked.T).astype(np.float64)
    dead = np.isnan(stacked[:, :1]).any(axis=1)
    np.fill_diagonal(similarity, np.where(dead, np.nan, 1.0))
    return np.clip(similarity, -1.0, 1.0)


def layer_cka(grams: Sequence[Sequence[NDArray[np.float32]]] | NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the debiased linear CKA of every layer of every run of a network with every other, see ``cka_matrix``.

    Args:
        grams: r runs of s layers each, of the same images and in the same order.

    Returns:
        (r, s, r, s): layer a of run i with layer b of run j at [i, a, j, b]; NaN where either is dead.
    """
    stacked = np.asarray(grams)
    if stacked.ndim != 3:
        raise ValueError(f"grams must be (runs, layers, pairs of images), got shape {stacked.shape}")
    runs, layers, pairs = stacked.shape
    return cka_matrix(stacked.reshape(runs * layers, pairs)).reshape(runs, layers, runs, layers)


def correspondence(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say where the layer of another run that is most similar to a layer is the same one.

    The mean over pairs is the accuracy of identifying corresponding layers of Kornblith, Norouzi, Lee and Hinton (2019,
    ICML, section 6.1); chance is one in s.

    Args:
        similarity: (r, s, r, s) of r runs of s layers, as from ``layer_cka``.

    Returns:
        (r, r, s): at [i, j, a] 1 if of all layers of run j layer a is the most similar to layer a of run i, else 0; NaN
        where either of these two is dead. Dead layers are nobody's partner.
    """
    if similarity.ndim != 4 or similarity.shape[:2] != similarity.shape[2:]:
        raise ValueError(f"similarity must be (runs, layers, runs, layers), got shape {similarity.shape}")
    own = np.einsum("iaja->ija", similarity)
    best = np.where(np.isnan(similarity), -np.inf, similarity).max(axis=3).transpose(0, 2, 1)
    return np.where(np.isnan(own), np.nan, own >= best)
