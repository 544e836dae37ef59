"""How many seeds it takes to see that they are correlated: the power of tests of the first autocorrelation.

Cells of n runs along the seeds, an autoregression of first order; the test pools the lag-one autocorrelations of the
cells (each plus 1 / n, its bias) over their standard error under independence, one-sided at 5 %. The error of a
comparison that assumes independent runs is shown as well.

    python benchmarks/serial.py
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common import command, print_table

CELLS = (2, 4, 8)
NS = (5, 10, 20, 30, 50, 100)


def runs(rho: float, n: int, cells: int, studies: int) -> NDArray[np.float64]:
    """Draw (studies, cells, n) normal runs."""
    x = np.random.default_rng(n).standard_normal((studies, cells, n))
    for place in range(1, n):
        x[..., place] = rho * x[..., place - 1] + np.sqrt(1 - rho**2) * x[..., place]
    return x


def statistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (studies,) the sum over the cells of the lag-one autocorrelations."""
    centered = x - x.mean(-1, keepdims=True)
    return np.asarray(((centered[..., 1:] * centered[..., :-1]).sum(-1) / (centered**2).sum(-1)).sum(-1))


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=4000)
    studies = options.parse_args().studies
    print(f"`{command()}`: power of the test of autocorrelation, one-sided 5 %; the error of a comparison of two cells")
    rows: list[list[object]] = []
    for rho in (0.2, 0.5):
        for cells in CELLS:
            powers = []
            for n in NS:
                critical = np.quantile(statistic(runs(0.0, n, cells, 4 * studies)), 0.95)
                powers.append(f"{np.mean(statistic(runs(rho, n, cells, studies)) > critical):.2f}")
            rows.append([rho, f"power, {cells} cells", *powers])
        pairs = [runs(rho, n, 2, studies) for n in NS]
        p = [stats.ttest_ind(x[:, 0], x[:, 1], axis=1, equal_var=False).pvalue for x in pairs]
        rows.append([rho, "error of a 95 % interval", *(f"{np.mean(each < 0.05):.2f}" for each in p)])
    print_table(["rho", "", *(f"n = {n}" for n in NS)], rows)


if __name__ == "__main__":
    main()
