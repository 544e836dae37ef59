from regulens.stats.estimate import IntervalEstimate
from regulens.stats.intervals import mover_difference, wilson


def RateDifference(ca, na, cb, nb):
    return IntervalEstimate(
        ca / na - cb / nb, lambda level: mover_difference(wilson(ca, na, level), wilson(cb, nb, level))
    )


def rate_sensitivity(ma, mb, pb, c):
    return (1 - pb) * (ma - mb) / (ma - c)
