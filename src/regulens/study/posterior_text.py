"""The posterior shares beside the verdicts as text and as JSON, labelled as Bayesian and exploratory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from regulens.stats.analysis import Analysis
from regulens.stats.cells import LEAST_RUNS
from regulens.stats.comparison_posteriors import Posterior, comparison_posteriors
from regulens.study.text_table import NOTHING, TextTable

POSTERIOR_TITLE = "posterior shares, Bayesian and exploratory"


def share_text(share: float) -> str:
    """Write a probability with three decimals; 0 and 1 only where they are exact."""
    if math.isnan(share):
        return NOTHING
    if 0.9995 <= share < 1:
        return "> 0.999"
    return "< 0.001" if 0 < share < 0.0005 else f"{share:.3f}"


def posterior_table(analysis: Analysis) -> TextTable | None:
    """Return the shares beside each verdict; ``None`` if no comparison has any."""
    found = comparison_posteriors(analysis)
    if not any(found):
        return None
    others = tuple(analysis.comparisons[0].where)
    rows = tuple(
        (
            *map(str, each.where.values()),
            f"{each.a} – {each.b}",
            each.result.word if each.result else "no runs",
            *_shares(posterior, analysis),
        )
        for each, posterior in zip(analysis.comparisons, found, strict=True)
    )
    columns = (*others, analysis.comparisons[0].factor, "verdict", *share_columns(analysis))
    return TextTable(len(others) + 1, columns, rows)


def share_columns(analysis: Analysis) -> tuple[str, ...]:
    """Return the names of the shares; without a region of equivalence nothing is equivalent."""
    return ("better", *(["equivalent"] if analysis.design.rope else []), "worse", "other priors ±")


def _shares(found: Posterior | None, analysis: Analysis) -> tuple[str, ...]:
    if found is None:
        return (NOTHING,) * len(share_columns(analysis))
    within = [found.equivalent] if analysis.design.rope else []
    return tuple(map(share_text, (found.better, *within, found.worse, found.change)))


def posterior_note(analysis: Analysis) -> str:
    """Say in sentences what the shares are, under which prior, and how far they may be trusted."""
    found = [each for each in comparison_posteriors(analysis) if each is not None]
    return shares_explained(found, analysis, f"{analysis.design.rope:g}", f"{found[0].prior.scale:.2g}")


def shares_explained(found: Sequence[Posterior], analysis: Analysis, rope: str, scale: str) -> str:
    """Return the sentences on posterior shares, with the region's half-width and the prior's scale as written."""
    kinds = f"beyond or within ±{rope}" if analysis.design.rope else "above or below zero"
    text = (
        "Posterior shares are exploratory, and no verdict depends on them: the probabilities that the true difference "
        f"is {kinds}, under the t model of the intervals and a weak prior (Cauchy about zero, half of it within "
        f"±{scale}), on the same conditions as the verdict and unadjusted for the number of comparisons. Other priors: "
        "the most that a share changes by under a prior five times narrower or wider. Of normal runs that do not "
        "differ, better or worse exceeds 0.95 in up to 9 % of single comparisons and 34 % of sets of six."
    )
    left_out = len(analysis.comparisons) - len(found)
    if left_out:
        text += (
            f" {left_out} of {len(analysis.comparisons)} have none: shares need a t interval, which medians, means "
            f"with collapsed runs, and cells with fewer than {LEAST_RUNS} runs or without spread do not have."
        )
    return text


def posterior_numbers(found: Posterior | None) -> dict[str, float]:
    """Return the shares as a comparison's dictionary has them; nothing where there are none."""
    if found is None:
        return {}
    return {
        "posterior_better": found.better,
        "posterior_equivalent": found.equivalent,
        "posterior_worse": found.worse,
        "posterior_change": found.change,
        "posterior_scale": found.prior.scale,
    }
