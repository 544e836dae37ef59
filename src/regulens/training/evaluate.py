"""Loss, accuracy and class probabilities of a network on some of a data set's images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from regulens.data.batches import Feed
from regulens.models.cnn import CNN, evaluating
from regulens.models.regularizers import Regularizer

EVALUATION_BATCH = 500


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network scores: loss in nats (the penalty included), accuracy in [0, 1], (N, classes) float32."""

    loss: float
    accuracy: float
    probabilities: NDArray[np.float32]


def evaluate(model: CNN, regularizer: Regularizer, feed: Feed, indices: NDArray[np.int64]) -> Evaluation:
    """Evaluate in eval mode, the model left in the mode it was in; no images give NaN.

    Nothing waits for the device before the last batch is on its way.
    """
    if len(indices) == 0:
        return Evaluation(math.nan, math.nan, np.empty((0, model.output.out_features), np.float32))
    weight = model.output.weight
    loss_sum = torch.zeros((), dtype=torch.float64, device=weight.device)
    hits = torch.zeros((), dtype=torch.int64, device=weight.device)
    probabilities = []
    with evaluating(model), torch.no_grad():
        penalty = regularizer.penalty(model)
        for images, labels in feed.batches(indices, EVALUATION_BATCH):
            logits = model(images)
            loss_sum += F.cross_entropy(logits, labels, reduction="sum")
            hits += (logits.argmax(1) == labels).sum()
            probabilities.append(logits.softmax(1))
    mean_loss = loss_sum.item() / len(indices) + (0.0 if penalty is None else penalty.item())
    return Evaluation(mean_loss, hits.item() / len(indices), torch.cat(probabilities).cpu().numpy())
