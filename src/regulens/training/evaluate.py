"""Loss, objective, accuracy and class probabilities of a network on some of a data set's images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from regulens.data.batches import Feed
from regulens.kernels.ops import cross_entropy
from regulens.models.cnn import CNN, evaluating
from regulens.models.regularizers import Regularizer

EVALUATION_BATCH = 500


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network scores: accuracy in [0, 1], probabilities (N, classes) float32.

    The loss is the mean negative log-likelihood in nats, the objective that plus the regularizer's penalty.
    """

    loss: float
    objective: float
    accuracy: float
    probabilities: NDArray[np.float32]


def evaluate(model: CNN, regularizer: Regularizer, feed: Feed, indices: NDArray[np.int64]) -> Evaluation:
    """Evaluate in eval mode, the model left in the mode it was in; no images give NaN.

    Nothing waits for the device before the last batch is on its way.
    """
    if len(indices) == 0:
        return Evaluation(math.nan, math.nan, math.nan, np.empty((0, model.output.out_features), np.float32))
    logits = model.output.weight.new_empty(len(indices), model.output.out_features)
    labels = torch.empty(len(indices), dtype=torch.int64, device=logits.device)
    with evaluating(model), torch.no_grad():
        at = 0
        for images, truth in feed.batches(indices, EVALUATION_BATCH):
            here = slice(at, at := at + len(truth))  # into one buffer: small ones kept would pin the freed large ones
            logits[here], labels[here] = model(images), truth
        loss, hits = cross_entropy(logits, labels)
        penalty = regularizer.penalty(model)
        probabilities = logits.softmax(1).cpu().numpy()
    mean_loss = loss.item()
    objective = mean_loss + (0.0 if penalty is None else penalty.item())
    return Evaluation(mean_loss, objective, hits.item() / len(indices), probabilities)
