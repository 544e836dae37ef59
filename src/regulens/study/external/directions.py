"""Which values of a response are better, by its name."""

from __future__ import annotations

from regulens.stats.verdicts import Direction
from regulens.study.external.names import last_part, words

_LESS = {
    *("loss", "losses", "nll", "entropy", "xent", "bce", "objective", "penalty", "perplexity", "ppl", "bpc", "bpb"),
    *("err", "error", "errors", "mistakes", "mae", "mse", "rmse", "mape", "mad", "rms", "deviance", "residual"),
    *("ece", "mce", "brier", "miscalibration", "wer", "cer", "ter", "eer", "fid", "kid", "lpips", "hamming"),
    *("gap", "regret", "divergence", "kl", "fpr", "fnr", "misclassification", "overfitting"),
    *("time", "times", "runtime", "walltime", "elapsed", "duration", "latency", "sec", "secs", "second", "seconds"),
    *("ms", "minutes", "hours", "energy", "joule", "joules", "watt", "watts", "kwh", "carbon", "emissions"),
    *("cost", "costs", "memory", "mem", "bytes", "mb", "gb", "flops", "macs", "parameters", "params"),
}
_TURNED = {
    *("neg", "negative", "negated", "minus", "inverse", "gain", "gains", "improvement", "reduction", "decrease"),
    *("saved", "saving", "savings", "per", "throughput", "speed", "speedup", "skill", "r2", "likelihood"),
}
"""Beside these, what is usually to be low may be to be high: ``neg_mean_squared_error``, ``images_per_second``."""
_ACCURACY = {"acc", "accuracy", "accuracies", "auc", "auroc", "f1", "precision", "recall"}
_OF_ACCURACY = {"gap", "time", "times", "second", "seconds", "sec", "secs", "minutes", "hours"}
"""Low is better beside the name of an accuracy too: ``acc_gap``, ``time_to_90_accuracy``."""


def usual_direction(column: str) -> Direction:
    """Return whether a higher or a lower response is usually better, by its name; ``higher`` where that does not tell.

    A loss, an error, a time or a cost is better if it is lower. The name may have a group in front, as in
    ``metrics/val_loss``; words of both kinds leave ``higher``, as in ``accuracy_at_lowest_loss``.
    """
    said = set(words(last_part(column)))
    if said >= {"neg", "likelihood"} or said >= {"negative", "likelihood"}:
        return "lower"
    of_both = _TURNED & said or (_ACCURACY & said and not _OF_ACCURACY & said)
    return "lower" if _LESS & said and not of_both else "higher"
