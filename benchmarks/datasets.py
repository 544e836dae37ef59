"""Coverage of what is said across data sets: effects, a new set, spreads, interquartile means, profiles, signed ranks.

    python benchmarks/datasets.py

Worlds of effects: on each set two cells of normal runs, whose standard errors are one, or spread over a factor of ten
(log-uniform), or so and each set's effect is in proportion to the logarithm of its standard error, as near a ceiling.
Spreads between sets are 0, 1/2, 1 and 4 standard errors; a column gives the least and the greatest coverage over them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common import command, print_table
from regulens.stats.datasets import equal_weights, random_effects
from regulens.stats.estimates import interquartile_mean
from regulens.stats.intervals import Interval
from regulens.stats.profiles import interquartile_gain_of_sets, interquartile_mean_of_sets, performance_profile
from regulens.stats.ranks import rank_levels

SETS = (3, 5, 10, 20)
SPREADS = (0.0, 0.5, 1.0, 4.0)
WORLDS = ("equal standard errors", "standard errors 1 to 10", "effects along the standard errors")
Floats = NDArray[np.float64]


def effects(world: str, spread: float, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the true effect and the standard error of sets; effects have mean 0."""
    place = rng.uniform(-0.5, 0.5, shape)
    error = np.ones(shape) if world == WORLDS[0] else 10.0**place
    return spread * (place * math.sqrt(12) if world == WORLDS[2] else rng.standard_normal(shape)), error


def observed(effect: Floats, error: Floats, runs: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw each set's difference, and its variance as two cells of so many normal runs estimate it."""
    chi = rng.chisquare(runs - 1, (2, *effect.shape)).mean(axis=0) / (runs - 1)
    return effect + error * rng.standard_normal(effect.shape), error**2 * chi


def holds(interval: Interval, truth: float) -> bool:
    """Tell whether an interval has the truth in it."""
    return interval.low <= truth <= interval.high


def coverage_of_effects(
    world: str, rng: np.random.Generator, *, runs: int, sets: int, spread: float, studies: int
) -> list[float]:
    """Return the coverage of both means, both predictions, and of the spread."""
    effect, error = effects(world, spread, (studies, sets), rng)
    true, error_of_new = effects(world, spread, (studies,), rng)
    seen, _ = observed(true, error_of_new, runs, rng)
    inside = []
    for y, v, new, new_seen in zip(*observed(effect, error, runs, rng), true, seen, strict=True):
        equal, weighted = equal_weights(y), random_effects(y, v)
        inside.append(
            (
                holds(equal.mean, 0),
                holds(weighted.mean, 0),
                holds(equal.new, new_seen),
                holds(equal.new, new),
                holds(weighted.new, new),
                holds(weighted.spread, spread),
            )
        )
    return list(np.mean(inside, axis=0))


def effect_rows(studies: int, rng: np.random.Generator) -> Iterator[list[object]]:
    """Yield a row for each world, number of runs and number of sets."""
    for world in WORLDS:
        for runs in (3, 5, 10):
            for sets in SETS:
                found = np.array(
                    [
                        coverage_of_effects(world, rng, runs=runs, sets=sets, spread=spread, studies=studies)
                        for spread in SPREADS
                    ]
                )
                ends = zip(found.min(axis=0), found.max(axis=0), strict=True)
                yield [world, runs, sets, *(f"{low:.2f} to {high:.2f}" for low, high in ends)]


def draw_runs(kind: str, level: Floats, runs: int, rng: np.random.Generator) -> Floats:
    """Draw (sets, runs) with a standard deviation of one about their set's level."""
    shape = (len(level), runs)
    noise = rng.standard_normal(shape) if kind == "normal" else 1 - rng.exponential(1, shape)
    return level[:, None] + noise


def bootstrap(runs: Floats, rng: np.random.Generator, resamples: int = 200) -> Interval:
    """Return the interquartile mean with the percentiles of a bootstrap of each set's runs, as rliable has it."""
    places = rng.integers(0, runs.shape[1], (resamples, *runs.shape))
    drawn = np.take_along_axis(np.broadcast_to(runs, places.shape), places, axis=2).reshape(resamples, -1)
    low, high = np.quantile(interquartile_mean(drawn), [0.025, 0.975])
    return Interval(float(interquartile_mean(runs.ravel())), low, high, 0.95)


def middle_rows(studies: int, rng: np.random.Generator) -> Iterator[list[object]]:
    """Yield the coverage of interquartile means and of a profile at its median, for sets alike and far apart."""
    for kind in ("normal", "exponential"):
        for apart in (0.0, 5.0):
            for sets in (3, 5, 10):
                level = apart * np.arange(sets)
                many = np.sort(draw_runs(kind, level, 400_000 // sets, rng).ravel())
                truth, center = float(interquartile_mean(many)), float(np.median(many))
                for runs in (3, 5, 10):
                    inside = []
                    for _ in range(studies):
                        x, control = (draw_runs(kind, level, runs, rng) for _ in range(2))
                        profile = performance_profile(list(x), np.array([center]))
                        gain = interquartile_gain_of_sets(list(x), list(control))
                        inside.append(
                            (
                                holds(interquartile_mean_of_sets(list(x)), truth),
                                holds(bootstrap(x, rng), truth),
                                holds(gain, truth_of_gain(kind)),
                                profile.low[0] <= 0.5 <= profile.high[0],
                            )
                        )
                    shares = [f"{share:.3f}" for share in np.mean(inside, axis=0)]
                    yield [kind, "far apart" if apart else "alike", sets, runs, *shares]


def truth_of_gain(kind: str) -> float:
    """Return the interquartile mean of runs minus their own mean."""
    if kind == "normal":
        return 0.0
    share = np.linspace(0.25, 0.75, 100_001)
    return float(1 - np.mean(stats.expon.ppf(share)))


def rank_rows(studies: int, rng: np.random.Generator, levels: int = 4) -> Iterator[list[object]]:
    """Yield how often equal levels differ significantly, and one that is better than three by 1.5 sd."""
    for sets in (5, 8, *SETS[2:], 40):
        apart: dict[float, list[tuple[bool, bool, bool]]] = {0.0: [], 1.5: []}
        for effect, found in apart.items():
            for _ in range(studies):
                x = rng.standard_normal((sets, levels)) + effect * (np.arange(levels) == 0) + rng.normal(size=(sets, 1))
                ranks = rank_levels(x)
                first = [pair.p_holm <= 0.05 for pair in ranks.pairs if pair.a == 0]
                found.append((ranks.friedman_p <= 0.05, any(p.p_holm <= 0.05 for p in ranks.pairs), all(first)))
        null, real = (np.mean(found, axis=0) for found in apart.values())
        yield [sets, *(f"{share:.3f}" for share in (null[0], null[1], real[0], real[2]))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=2000, help="simulated studies per world (default: 2000)")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args(arguments)
    first, second, third = (np.random.default_rng([given.seed, table]) for table in range(3))
    print(f"`{command()}`: coverage of 95 % intervals\n")
    print_table(
        ["world", "runs", "sets", "mean, equal weights", "mean, Hartung-Knapp", "a new set's difference, equal weights",
         "a new set's true effect, equal weights", "the same, t prediction", "spread, Q-profile"],
        list(effect_rows(given.studies, first)),
    )  # fmt: skip
    print_table(
        ["runs", "sets are", "sets", "runs per set", "interquartile mean", "by stratified percentile bootstrap",
         "interquartile mean minus control", "profile at its median"],
        list(middle_rows(given.studies, second)),
    )  # fmt: skip
    print_table(
        ["sets", "Friedman, equal", "any pair, equal", "Friedman, one better", "it from all others"],
        list(rank_rows(given.studies, third)),
    )


if __name__ == "__main__":
    main()
