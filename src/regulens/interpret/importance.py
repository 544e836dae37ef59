"""What a filter is good for: the accuracy that is lost when it says the same of every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.interpret.activations import Batches
from regulens.kernels.ops import conv_relu_pool
from regulens.models.cnn import CNN, ConvBlock, evaluating


@dataclass(frozen=True, eq=False)
class FilterImportance:
    """What the filters of one convolution are worth to a network.

    Attributes:
        layer: the convolution.
        images: how many the accuracy is of.
        accuracy: in [0, 1], of the network as it is.
        lost: (filters,) float64, the accuracy lost by silencing each, negative where it is gained; NaN where a
            logit of the network is not a finite number.
    """

    layer: str
    images: int
    accuracy: float
    lost: NDArray[np.float64]


def filter_importance(
    model: CNN, batches: Batches, means: Mapping[str, NDArray[np.float64]]
) -> dict[str, FilterImportance]:
    """Silence every filter in turn and count what the network then gets right, in one pass over the images.

    A filter is silenced by replacing its map, behind the ReLU and before pooling, by its mean over images and positions
    (mean ablation: Morcos et al. 2018, "On the importance of single directions for generalization", ICLR, who clamp
    units to zero or to their mean). Max pooling of a constant is that constant, so the pooled map is set to it; what
    follows, normalisation included, is run as ever.

    Args:
        model: run in eval mode and left as it was.
        batches: at least one image.
        means: (filters,) of each convolution over the same images, by name: ``FilterResponses.mean``.

    Raises:
        ValueError: if there are no images.
    """
    hits = {name: torch.zeros(len(mean) + 1, dtype=torch.int64) for name, mean in means.items()}
    images_seen, finite = 0, True
    with evaluating(model), torch.no_grad():
        blocks = _blocks(model)
        for images, labels in batches:
            logits = model(images)
            finite = finite and bool(logits.isfinite().all())
            right = _right(logits, labels)
            x = images
            for name, (block, behind) in blocks.items():
                pooled = conv_relu_pool(x, block.conv.weight, block.conv.bias, block.padding, block.pool)  # type: ignore[arg-type]  # it has a bias
                hits[name] += torch.tensor([right, *_silenced(pooled, means[name], behind, labels, right)])
                x = pooled if block.regularizer is None else block.regularizer(pooled)
            images_seen += len(labels)
    if not images_seen:
        raise ValueError("the importance of filters needs at least one image, got none")
    return {name: _importance(name, counts.numpy(), images_seen, finite) for name, counts in hits.items()}


def _blocks(model: CNN) -> dict[str, tuple[ConvBlock, nn.Sequential]]:
    """Return each block by its convolution's name in the expanded network, with all that follows its pooling."""
    network = model.expanded()
    names = [name for name, _ in network.named_children()]
    head = list(network)[names.index("flatten") :]
    pairs: dict[str, tuple[ConvBlock, nn.Sequential]] = {}
    for number, block in enumerate(model.blocks):
        assert isinstance(block, ConvBlock)
        own = [] if block.regularizer is None else [block.regularizer]
        pairs[f"conv{number + 1}"] = (block, nn.Sequential(*own, *model.blocks[number + 1 :], *head))
    return pairs


def _silenced(
    pooled: Tensor, means: NDArray[np.float64], behind: nn.Sequential, labels: Tensor, right: int
) -> list[int]:
    """Return how many images are right with each filter silenced; ``pooled`` (B, H, W, filters) is left as it was.

    ``right`` is how many are with none silenced: a map that is zero throughout is its mean already.
    """
    counts = [right] * len(means)
    for number in np.flatnonzero(means):
        own = pooled[..., number].clone()
        pooled[..., number] = float(means[number])
        counts[number] = _right(behind(pooled), labels)
        pooled[..., number] = own
    return counts


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(1) == labels).sum())


def _importance(layer: str, hits: NDArray[np.int64], images: int, finite: bool) -> FilterImportance:
    lost = (hits[0] - hits[1:]) / images
    return FilterImportance(layer, images, float(hits[0] / images), lost if finite else np.full(len(lost), np.nan))
