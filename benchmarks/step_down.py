"""What stepping down would save, and whether it would hold the family's error, over mixtures of truths.

Comparisons whose estimates are independent, of one known standard error, are judged by
``verdicts.judge`` at alpha / m each; stepping down as Holm does, at alpha over the number of those without a final
token (better, worse, equivalent); and at alpha over the number of those without any token. Truths are zero, just inside
and on the edge of the region of equivalence, and one, three and six standard errors beyond it.

    python benchmarks/step_down.py
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from numpy.typing import NDArray

from common import command, print_table
from vectorized import Differences, verdicts

DF, ALPHA = 1e6, 0.05
FINAL = ("better", "worse", "equivalent")
OPEN = ("undecided", "too few runs")
RULES = ("alpha / m", "stepping down, final tokens", "stepping down, any token")


def drawn(truths: tuple[float, ...], studies: int, rng: np.random.Generator) -> Differences:
    """Draw (studies, comparisons) estimates, in standard errors, which all share."""
    values = np.array(truths) + rng.standard_normal((studies, len(truths)))
    one, none, runs = np.ones((1, 1)), np.zeros((1, 1), np.bool_), np.full((1, 1), 50.0)
    return Differences(values, one, DF * one, one, one, none, none, (runs, runs), one, one)


def stepped(found: Differences, rope: float, frees: tuple[str, ...] | None) -> NDArray[np.str_]:
    """Return the tokens after stepping down: those that ``frees`` names, or all, leave the family once said."""
    m = found.value.shape[1]
    at = np.stack([verdicts(found, rope, ALPHA / (m - done)) for done in range(m)])
    said = at[0]
    for _ in range(m):
        freed = np.isin(said, frees) if frees else ~np.isin(said, OPEN)
        done = np.minimum(freed.sum(1), m - 1)
        now = np.take_along_axis(at, done[None, :, None], 0)[0]
        said = np.where(np.isin(said, FINAL), said, now)
    return said


def false(said: NDArray[np.str_], truths: tuple[float, ...], rope: float) -> NDArray[np.bool_]:
    """Tell (studies,) whether any token is false; on the edge a difference counts as inside."""
    truth = np.array(truths)
    wrong = {
        "better": truth <= rope,
        "worse": truth >= -rope,
        "equivalent": np.abs(truth) > rope,
        "better (size open)": truth <= 0,
        "worse (size open)": truth >= 0,
    }
    return np.asarray(np.any([(said == token) & where for token, where in wrong.items()], axis=(0, 2)))


def errors(m: int, rope: float, studies: int) -> list[object]:
    """Return the largest error of each rule over all mixtures of truths, with the mixture."""
    kinds = {"0": 0.0, "edge": rope, "+1": rope + 1, "+3": rope + 3, "+6": rope + 6}
    if rope:
        kinds["inside"] = 0.8 * rope
    worst: list[tuple[float, str]] = [(0.0, "")] * len(RULES)
    for names in itertools.combinations_with_replacement(kinds, m):
        truths = tuple(kinds[name] for name in names)
        found = drawn(truths, studies, np.random.default_rng(studies))
        tokens = [verdicts(found, rope, ALPHA / m), stepped(found, rope, FINAL), stepped(found, rope, None)]
        shares = [float(false(each, truths, rope).mean()) for each in tokens]
        worst = [max(old, (share, ", ".join(names))) for old, share in zip(worst, shares, strict=True)]
    return [m, rope, *(f"{share:.3f} ({names})" for share, names in worst)]


def savings(m: int, effects: int, studies: int) -> list[object]:
    """Return what share of the runs stepping down saves at 80 % power of an effect, of so many of m."""
    rng = np.random.default_rng(m)
    needed = []
    for step in (False, True):
        low, high = 1.0, 8.0
        for _ in range(12):
            size = (low + high) / 2
            found = drawn((size,) * effects + (0.0,) * (m - effects), studies, rng)
            said = stepped(found, 0.0, FINAL) if step else verdicts(found, 0.0, ALPHA / m)
            low, high = (size, high) if (said[:, 0] == "better").mean() < 0.8 else (low, size)
        needed.append(high**2)
    return [m, f"{effects} of {m}", f"{1 - needed[1] / needed[0]:.0%}"]


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=4000, help="of each mixture (default: 4000)")
    given = options.parse_args()
    print(f"`{command()}`: the largest share of studies with a false token over all mixtures")
    cases = [(2, 0.0), (2, 1.0), (2, 4.0), (2, 8.0), (3, 0.0), (3, 4.0), (3, 8.0)]
    rows = [errors(m, rope, given.studies) for m, rope in cases]
    print_table(["m", "ROPE / se", *RULES], rows)
    print("\nRuns that stepping down saves at 80 % power, ROPE 0")
    print_table(["m", "effects", "saved"], [savings(m, k, given.studies) for m in (3, 6, 15) for k in (1, m)])


if __name__ == "__main__":
    main()
