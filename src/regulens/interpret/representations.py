"""What a network makes of images, stage by stage: the features that each learned layer hands on to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.errors import UserError, suggestion
from regulens.interpret.activations import INPUT, Batches
from regulens.models.cnn import evaluating


def stages(network: nn.Sequential) -> dict[str, str]:
    """Return where each stage of an expanded network ends: its name and the name of its last layer, in order.

    ``input`` ends before the first layer (an empty name). ``block1`` and so on are what the next convolution or the
    dense layer reads: after pooling and, where there is one, the regularizer's layer. ``dense`` is what the output
    layer reads, ``output`` the logits.
    """
    ends = {INPUT: ""}
    before = ""
    for name, _ in network.named_children():
        if name == "flatten" or (name.startswith("to_nchw") and before):
            ends[f"block{len(ends)}"] = before
        if name == "output":
            ends["dense"] = before
        before = name
    return ends | {"output": before}


def layer_features(
    network: nn.Sequential,
    batches: Batches,
    layers: Sequence[str] | None = None,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return the features of images at some stages of a network, in eval mode, the network left as it was.

    Args:
        network: the ``expanded()`` form of a CNN.
        batches: of images (B, H, W, C) float32 scaled, and labels (B,).
        layers: names of ``stages``; by default all.
        reduce: makes maps (B, H, W, C) smaller before they are kept; vectors (B, p) do not go through it.

    Returns:
        for each stage (N, p) float32, maps flattened in (H, W, C) order; labels (N,) int64.

    Raises:
        UserError: if a stage is not in the network, or there are no images.
    """
    ends = stages(network)
    wanted = list(ends) if layers is None else list(layers)
    for name in wanted:
        if name not in ends:
            raise UserError(f'no stage of this network is named "{name}"{suggestion(name, ends)}')
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    labels = [np.empty(0, np.int64)]
    with evaluating(network), torch.no_grad():
        for images, truth in batches:
            outputs = _outputs(network, images)
            labels.append(np.array(truth.cpu().numpy(), np.int64))
            for name in wanted:
                maps = outputs[ends[name]]
                small = reduce(maps) if reduce is not None and maps.ndim == 4 else maps
                kept[name].append(np.array(small.flatten(1).cpu().numpy(), np.float32))
    if len(labels) == 1:
        raise UserError("there are no images to read features from; name at least one")
    return {name: np.concatenate(parts) for name, parts in kept.items()}, np.concatenate(labels)


def _outputs(network: nn.Sequential, images: Tensor) -> dict[str, Tensor]:
    """Return what each layer gives, and under the empty name what the first one gets."""
    outputs = {"": images}
    x = images
    for name, layer in network.named_children():
        outputs[name] = x = layer(x)
    return outputs
