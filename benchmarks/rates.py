"""How often bounds of a difference of collapse rates err, and how often the gap rule flags a run that did not collapse.

The errors are exact: all pairs of counts are enumerated, none is drawn. For cells of 3 to 30 runs and a grid of true
rates the probability that a one-sided lower bound lies above the true difference is summed, for the exact bound of
``stats.rates``, for the score bound (Miettinen and Nurminen 1985) and for MOVER of Wilson's intervals (Newcombe 1998).
Upper bounds are lower bounds of the cells exchanged. The flags are simulated.

    python benchmarks/rates.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common import command, print_table
from regulens.stats.gaps import gap_flags
from regulens.stats.intervals import mover_difference, wilson
from regulens.stats.rates import RateDifference

Floats = NDArray[np.float64]
Bounds = Callable[[int, int, float, int], Floats]  # (n_a, n_b, alpha, most): lower bounds of up to ``most`` collapses
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

SIZES = (3, 4, 5, 7, 10, 15, 20, 30)
ALPHAS = (0.025, 0.0083, 0.004, 0.001)
RATES = np.linspace(0, 0.6, 25)  # and so all differences that are multiples of 0.025
CELLS, GUESSING = (0.88, 0.85, 0.90, 0.87), 0.1
SHAPES: dict[str, Draw] = {  # of standard deviation 1
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "exponential": lambda rng, shape: -rng.exponential(1, shape),
    "lognormal": lambda rng, shape: -np.exp(rng.standard_normal(shape)) / np.sqrt(np.e * (np.e - 1)),
    "lognormal, tail up": lambda rng, shape: np.exp(rng.standard_normal(shape)) / np.sqrt(np.e * (np.e - 1)),
}

LOGNORMAL_MEAN = 1 / np.sqrt(np.e - 1)
MEANS = {"normal": 0, "t3": 0, "exponential": -1, "lognormal": -LOGNORMAL_MEAN, "lognormal, tail up": LOGNORMAL_MEAN}


def exact(n_a: int, n_b: int, alpha: float, most: int) -> Floats:
    """Return the bounds of ``stats.rates``."""
    counts_a, counts_b = (range(min(n, most) + 1) for n in (n_a, n_b))
    return np.array([[RateDifference(a, n_a, b, n_b).lower(alpha) for b in counts_b] for a in counts_a])


def newcombe(n_a: int, n_b: int, alpha: float, most: int) -> Floats:
    """Return the bounds by MOVER of Wilson's."""
    of_a, of_b = ([wilson(k, n, 1 - 2 * alpha) for k in range(min(n, most) + 1)] for n in (n_a, n_b))
    return np.array([[mover_difference(a, b).low for b in of_b] for a in of_a])


def score(n_a: int, n_b: int, alpha: float, most: int) -> Floats:
    """Return the score bounds: where the statistic with rates of maximum likelihood at that difference is normal's."""
    a, b = np.arange(min(n_a, most) + 1)[:, None], np.arange(min(n_b, most) + 1)
    low, high = np.full((len(a), len(b)), -1.0), a / n_a - b / n_b
    for _ in range(40):
        middle = (low + high) / 2
        excluded = _score_statistic(a, n_a, b, n_b, middle) > stats.norm.isf(alpha)
        low, high = np.where(excluded, middle, low), np.where(excluded, high, middle)
    return low


def _score_statistic(a: Floats, n_a: int, b: Floats, n_b: int, difference: Floats) -> Floats:
    """Return Miettinen and Nurminen's statistic; the rate of b solves a cubic, in closed form."""
    n = n_a + n_b
    second = (n_a + 2 * n_b) * difference - n - a - b
    first = (n_b * difference - n - 2 * b) * difference + a + b
    zeroth = b * difference * (1 - difference)
    q = (second / (3 * n)) ** 3 - first * second / (6 * n**2) + zeroth / (2 * n)
    p = np.sqrt(np.maximum((second / (3 * n)) ** 2 - first / (3 * n), 0)) * np.where(q >= 0, 1, -1)
    ratio = np.clip(q / np.where(p == 0, 1, p**3), -1, 1)
    rate_b = 2 * p * np.cos((np.pi + np.arccos(ratio)) / 3) - second / (3 * n)
    rate_b = np.clip(rate_b, np.maximum(0, -difference), np.minimum(1, 1 - difference))
    rate_a = np.clip(rate_b + difference, 0, 1)
    variance = (rate_a * (1 - rate_a) / n_a + rate_b * (1 - rate_b) / n_b) * n / (n - 1)
    return (a / n_a - b / n_b - difference) / np.sqrt(np.maximum(variance, 1e-24))


METHODS: dict[str, Bounds] = {"exact": exact, "score": score, "MOVER of Wilson": newcombe}


def worst_error(make: Bounds, sizes: tuple[int, int], alpha: float, rates: Floats, most: int) -> float:
    """Return the largest probability, over pairs of evenly spaced rates, of a bound above their difference, / alpha."""
    of_a, of_b = (stats.binom.pmf(np.arange(min(n, most) + 1), n, rates[:, None]) for n in sizes)
    bounds, step = make(*sizes, alpha, most), rates[1] - rates[0]
    wrong = {i: bounds > i * step + 1e-9 for i in range(-len(rates) + 1, len(rates))}
    return max(float(a @ wrong[i - j] @ b) for i, a in enumerate(of_a) for j, b in enumerate(of_b)) / alpha


def error_tables() -> None:
    """Print the largest errors over all sizes, over cells of equal size, and of many runs at low rates."""
    found = {
        (name, alpha, n_a, n_b): worst_error(make, (n_a, n_b), alpha, RATES, 30)
        for name, make in METHODS.items()
        for alpha in ALPHAS
        for n_a in SIZES
        for n_b in SIZES
    }
    print("\nLargest one-sided error / alpha, and the share of the 64 pairs of sizes where it is above 1.1")
    rows = []
    for alpha in ALPHAS:
        of_method = [np.array([v for key, v in found.items() if key[:2] == (name, alpha)]) for name in METHODS]
        rows.append([alpha, *(f"{x.max():.2f}, {100 * np.mean(x > 1.1):.0f} %" for x in of_method)])
    print_table(["alpha", *METHODS], rows)
    print("\nLargest one-sided error / alpha, n runs of each: exact / score")
    rows = [
        [n, *(_of_both(found["exact", alpha, n, n], found["score", alpha, n, n]) for alpha in ALPHAS)] for n in SIZES
    ]
    for n in (100, 1000):  # rates with up to 15 collapses to be expected
        few = np.linspace(0, 15 / n, 31)
        rows.append(
            [
                n,
                *(
                    _of_both(*(worst_error(make, (n, n), alpha, few, 50) for make in (exact, score)))
                    for alpha in ALPHAS
                ),
            ]
        )
    print_table(["n", *map(str, ALPHAS)], rows)


def _of_both(exact_one: float, score_one: float) -> str:
    return f"{exact_one:.2f} / {score_one:.2f}"


def width_table() -> None:
    """Print what exactness costs: how far the lower bound lies below the true difference, on average."""
    print("\nMean of the true difference minus its lower bound, in points: exact / score")
    truths = ((0.0, 0.0), (0.1, 0.0), (0.3, 0.0), (0.1, 0.1), (0.3, 0.3), (0.0, 0.3))
    rows = []
    for n_a, n_b in ((5, 5), (10, 10), (30, 30), (5, 30), (30, 5), (100, 100)):
        for alpha in (0.025, 0.004):
            bounds = [make(n_a, n_b, alpha, 100) for make in (exact, score)]
            pmfs = [
                [stats.binom.pmf(np.arange(n + 1), n, p) for n, p in zip((n_a, n_b), pair, strict=True)]
                for pair in truths
            ]
            means = [[p - q - a @ each @ b for each in bounds] for (p, q), (a, b) in zip(truths, pmfs, strict=True)]
            rows.append([f"{n_a}, {n_b}", alpha, *(f"{100 * x:.1f} / {100 * y:.1f}" for x, y in means)])
    print_table(["n", "alpha", *(f"{100 * p:g} against {100 * q:g} %" for p, q in truths)], rows)


def speed_table(rng: np.random.Generator) -> None:
    """Print the seconds of bounds and p of comparisons with rates of 0 to 60 %."""
    print()
    rows = []
    for n, comparisons in ((5, 1000), (30, 500), (2000, 1)):
        counts = rng.binomial(n, rng.uniform(0, 0.6, (comparisons, 2))).tolist()
        start = time.process_time()
        for a, b in counts:
            difference = RateDifference(a, n, b, n)
            difference.interval(1 - 0.05 / 12), difference.p  # what it takes is measured
        rows.append([f"{comparisons} of {n} against {n} runs", f"{time.process_time() - start:.3f}"])
    print_table(["comparisons: interval and p", "s of CPU"], rows)


def world(shape: str, n: int, sd: float, rng: np.random.Generator) -> Floats:
    """Return the accuracies (4, n) of four cells."""
    return np.array(CELLS)[:, None] + sd * (SHAPES[shape](rng, (4, n)) - MEANS[shape])


def flagged(accuracies: Floats, failed: float | None) -> NDArray[np.bool_]:
    """Return the flags (4, n) of runs none of which counts as collapsed."""
    return np.array(gap_flags(list(accuracies), list(np.zeros(accuracies.shape, np.bool_)), failed))


def gap_tables(studies: int, rng: np.random.Generator) -> None:
    """Print the share of studies with a false flag, and the share of partial collapses that are flagged."""
    print(f"\nStudies of four cells with any false flag, % of {studies}: guessing known / unknown")
    sds = (0.003, 0.01, 0.02)
    rows = []
    for shape in SHAPES:
        for sd in sds:
            row = []
            for n in (3, 5, 10, 30):
                drawn = [world(shape, n, sd, rng) for _ in range(studies)]
                both = [100 * np.mean([flagged(x, failed).any() for x in drawn]) for failed in (GUESSING, None)]
                row.append(f"{both[0]:.1f} / {both[1]:.1f}")
            rows.append([shape, sd, *row])
    print_table(["runs", "sd", *(f"n = {n}" for n in (3, 5, 10, 30))], rows)
    print("\nShare of partial collapses (accuracy uniform in 0.2 to 0.7) flagged: guessing known / unknown")
    rows = []
    for rates in ((0.01,) * 4, (0.05,) * 4, (0.1,) * 4, (0.3,) * 4, (0, 0.1, 0.2, 0.3)):
        for sd in sds:
            label = "0, 10, 20, 30 %" if rates[0] == 0 else f"{100 * rates[0]:g} %"
            rows.append([label, sd, *(_power(rates, n, sd, studies // 4, rng) for n in (3, 5, 10, 30))])
    print_table(["rate", "sd", *(f"n = {n}" for n in (3, 5, 10, 30))], rows)


def _power(rates: tuple[float, ...], n: int, sd: float, studies: int, rng: np.random.Generator) -> str:
    """Return the share of partial collapses that are flagged where the trained runs are normal."""
    drawn = []
    for _ in range(studies):
        partial = rng.random((4, n)) < np.array(rates)[:, None]
        drawn.append((np.where(partial, rng.uniform(0.2, 0.7, (4, n)), world("normal", n, sd, rng)), partial))
    partial = np.array([each for _, each in drawn])
    return " / ".join(
        f"{np.array([flagged(x, failed) for x, _ in drawn])[partial].mean():.2f}" for failed in (GUESSING, None)
    )


def main() -> None:
    """Compute and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=4000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    rng = np.random.default_rng(given.seed)
    print(f"`{command()}`")
    speed_table(rng)
    error_tables()
    width_table()
    gap_tables(given.studies, rng)


if __name__ == "__main__":
    main()
