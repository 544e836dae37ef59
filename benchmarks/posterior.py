"""How often a posterior share above 95 % is wrong: under zero effect, and at the edge of the region of equivalence.

Normal runs of one spread, each cell compared with one control; the region is measured in true standard errors of a
difference, and the prior's scale is ten times its half-width, as for accuracies (0.05 and 0.005; without a region, the
unit-information prior). Under zero effect a share of better or worse above 95 % is wrong; at the edge, where all true
differences are +ROPE, one of better, worse or equivalent. A share of 0.05 of 10,000 studies has a standard error of
0.002. Tables: by the number of comparisons, with the prior of the analysis; one comparison with narrower and wider
priors and a flat one, with spreads that differ fourfold, and with an exponential tail; and how far Welch's t is from
the distribution of Behrens and Fisher under the flat prior; resplits of equal learners.

    python benchmarks/posterior.py
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from common import command, print_table
from regulens.stats.posterior import PosteriorShares, Prior, correlated_posterior, posterior_shares, weak_prior

NS, ROPES, FAMILIES = (3, 5, 10, 20, 30), (0.0, 0.25, 1.0, 4.0), (1, 3, 6)
SURE = 0.95
Values = NDArray[np.float64]


def differences(rng: np.random.Generator, studies: int, n: int, effect: float) -> tuple[Values, Values, Values]:
    """Draw the estimates, standard errors and degrees of freedom of six comparisons with a control, (studies, 6).

    The true standard error is 1; every true difference is ``effect``.
    """
    cells = max(FAMILIES) + 1
    means = rng.normal(0, math.sqrt(0.5), (studies, cells))  # variance / n of each cell is 1/2
    errors = 0.5 * rng.chisquare(n - 1, (studies, cells)) / (n - 1)
    both = errors[:, 1:] + errors[:, :1]
    df = both**2 * (n - 1) / (errors[:, 1:] ** 2 + errors[:, :1] ** 2)
    return means[:, 1:] - means[:, :1] + effect, np.sqrt(both), df


def prior_of(rope: float, n: int, rng: np.random.Generator) -> Prior:
    """Return the analysis' prior: of accuracies, whose range is 200 ropes, or without a rope of unbounded responses."""
    if rope > 0:
        return weak_prior((0, 200 * rope), [])
    return weak_prior((-math.inf, math.inf), [math.sqrt(n / 2) * rng.standard_normal(100_000)])


def shares_of_wrong(shares: PosteriorShares, edge: bool) -> list[tuple[float, float]]:
    """Return for one comparison and the worst of 3 and 6 how often beyond, and within, is above 95 % and wrong."""
    beyond = np.maximum(shares.better, shares.worse) > SURE
    within = (shares.equivalent > SURE) if edge else np.zeros_like(beyond)
    wrong = [[float(side[:, :m].any(axis=1).mean()) for side in (beyond, within)] for m in FAMILIES]
    return [(beyond_any, within_any) for beyond_any, within_any in wrong]


def main_table(rng: np.random.Generator, studies: int) -> None:
    """Print the wrong shares by n, the region's width and the number of comparisons."""
    rows = []
    for n in NS:
        for rope in ROPES:
            prior = prior_of(rope, n, rng)
            cells: list[str] = []
            for edge in (False, True):
                estimate, error, df = differences(rng, studies, n, rope if edge else 0.0)
                wrong = shares_of_wrong(posterior_shares(estimate, error, df, rope, prior), edge)
                cells += [f"{beyond:.3f}" + (f" / {within:.3f}" if edge else "") for beyond, within in wrong]
            rows.append([n, f"{rope:g}", *(cells if rope else [*cells[:3], "", "", ""])])
    names = ["one", "worst of 3", "worst of 6"]
    heads = [*(f"zero, {name}" for name in names), *(f"edge, {name}" for name in names)]
    print("\nShares above 95 % that are wrong (at the edge: better or worse / equivalent)")
    print_table(["n", "ROPE/se", *heads], rows)


def unlike_cells(rng: np.random.Generator, studies: int, n: int, *, tail: bool) -> tuple[Values, Values, Values]:
    """Draw one comparison of equal means with a control of a quarter of the spread, each (studies,).

    With a ``tail`` the first cell's runs are exponential, with a long tail to the left. The true standard error is 1.
    """
    spreads = math.sqrt(n / 17) * np.array([4.0, 1.0])
    first = 1 - rng.exponential(1, (studies, n)) if tail else rng.standard_normal((studies, n))
    runs = [spreads[0] * first, spreads[1] * rng.standard_normal((studies, n))]
    errors = [each.var(axis=1, ddof=1) / n for each in runs]
    both = errors[0] + errors[1]
    df = both**2 * (n - 1) / (errors[0] ** 2 + errors[1] ** 2)
    return runs[0].mean(axis=1) - runs[1].mean(axis=1), np.sqrt(both), df


def prior_table(rng: np.random.Generator, studies: int) -> None:
    """Print the wrong shares of one comparison under narrower and wider priors, and of cells that are not alike."""
    rows = []
    for n in NS:
        estimates, errors, dfs = differences(rng, studies, n, 0.0)
        alike = estimates[:, 0], errors[:, 0], dfs[:, 0]
        unlike = [unlike_cells(rng, studies, n, tail=tail) for tail in (False, True)]
        for rope in ROPES[1:]:
            cases = [(alike, scale) for scale in (2.0, 10.0, 50.0, math.inf)] + [(each, 10.0) for each in unlike]
            found = []
            for (estimate, error, df), scale in cases:
                shares = posterior_shares(estimate, error, df, rope, Prior(scale * rope))
                found.append(f"{np.mean(np.maximum(shares.better, shares.worse) > SURE):.3f}")
            rows.append([n, f"{rope:g}", *found])
    print("\nOne comparison under zero effect: better or worse above 95 %, by the prior's scale")
    scales = ("2 ROPE", "10 ROPE (stated)", "50 ROPE", "flat")
    print_table(["n", "ROPE/se", *scales, "stated, spreads 1 and 4", "stated, the wider one exponential"], rows)


def welch_table(rng: np.random.Generator, draws: int) -> None:
    """Print how far the shares of Welch's t are from those of the distribution of Behrens and Fisher."""
    rows = []
    for n in NS:
        found = []
        for ratio in (1.0, 4.0, 16.0):
            parts = 1 / n, ratio**2 / n
            se = math.sqrt(sum(parts))
            df = (n - 1) * sum(parts) ** 2 / sum(part**2 for part in parts)
            noise = [math.sqrt(part) / se * rng.standard_t(n - 1, draws) for part in parts]
            worst = 0.0
            for rope in ROPES[1:]:
                for estimate in np.arange(0, 7.5, 0.5):
                    x = estimate + noise[0] - noise[1]
                    exact = np.array([(x > rope).mean(), (abs(x) < rope).mean(), (x < -rope).mean()])
                    welch = posterior_shares(estimate, 1.0, df, rope, Prior(math.inf)).together
                    worst = max(worst, float(np.abs(exact - welch).max()))
            found.append(f"{worst:.3f}")
        rows.append([n, *found])
    print("\nLargest difference of a share from Behrens and Fisher's, flat prior, by the ratio of the two spreads")
    print_table(["n", "1", "4", "16"], rows)


def split_table(rng: np.random.Generator, studies: int) -> None:
    """Print the wrong shares of resplits, whose differences correlate by the share of test images."""
    rows = []
    for n in NS:
        row: list[str] = []
        for fraction in (0.1, 0.3):
            common = rng.standard_normal((studies, 1))
            x = math.sqrt(fraction) * common + math.sqrt(1 - fraction) * rng.standard_normal((studies, n))
            error = x.std(axis=1, ddof=1) / math.sqrt(n)
            flat = Prior(math.inf)
            for shares in (
                correlated_posterior(x, fraction, 0, flat),
                correlated_posterior(x, fraction, 0, Prior(math.sqrt(2))),
                posterior_shares(x.mean(axis=1), error, n - 1, 0, flat),
            ):
                row.append(f"{np.mean(np.maximum(shares.better, shares.worse) > SURE):.3f}")
        rows.append([n, *row])
    names = ("correlated, flat prior", "correlated, weak prior", "as if independent")
    print("\nResplits of equal learners, no ROPE: better or worse above 95 %, by the share of test images")
    print_table(["splits", *(f"{fraction}: {name}" for fraction in (0.1, 0.3) for name in names)], rows)


def main() -> None:
    """Parse and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=10_000)
    given = options.parse_args()
    print(f"`{command()}`")
    rng = np.random.default_rng(0)
    main_table(rng, given.studies)
    prior_table(rng, given.studies)
    welch_table(rng, 10 * given.studies)
    split_table(rng, given.studies)


if __name__ == "__main__":
    main()
