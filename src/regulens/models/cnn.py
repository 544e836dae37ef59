"""The networks of a study: convolution blocks, one dense layer, logits. Activations are (N, H, W, C)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regulens.errors import UserError, check_type
from regulens.kernels.ops import conv_relu_pool, dense
from regulens.models.regularizers import Regularizer, build_regularizer, keeps_zeros
from regulens.spec import ModelSpec, feature_sizes


class ConvBlock(nn.Module):
    """Convolution, bias, ReLU and max pooling, then the regularizer's layer if it has one."""

    def __init__(self, channels: int, spec: ModelSpec, regularizer: nn.Module | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, spec.filters, spec.kernel_size, padding=spec.padding)
        self.padding = spec.padding
        self.pool = spec.pool
        self.regularizer = regularizer

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, H', W', filters) for (N, H, W, channels)."""
        conv = self.conv
        pooled = conv_relu_pool(x, conv.weight, conv.bias, self.padding, self.pool)  # type: ignore[arg-type]  # it has a bias
        return pooled if self.regularizer is None else self.regularizer(pooled)


class CNN(nn.Module):
    """``depth`` blocks, a dense ReLU layer with the regularizer's layer behind it, and the logits.

    The dense layer's columns are in (H, W, C) order, as the flattened activations are.
    """

    def __init__(
        self,
        spec: ModelSpec,
        image_shape: tuple[int, int, int],
        classes: int,
        regularizer: Regularizer,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        height, width = list(feature_sizes(spec, image_shape))[-1]
        channels = [image_shape[2]] + [spec.filters] * (spec.depth - 1)
        self.image_shape = image_shape
        self.blocks = nn.ModuleList(
            ConvBlock(channel, spec, regularizer.layer(spec.filters, generator)) for channel in channels
        )
        self.dense = nn.Linear(height * width * spec.filters, spec.dense)
        self.regularizer = regularizer.layer(spec.dense, generator)
        self.output = nn.Linear(spec.dense, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) for images (N, H, W, C)."""
        x = images
        for block in self.blocks:
            x = block(x)
        x = F.relu(dense(x, self.dense.weight, self.dense.bias, rectified=self.rectified))
        if self.regularizer is not None:
            x = self.regularizer(x)
        logits: Tensor = self.output(x)
        return logits

    @property
    def rectified(self) -> bool:
        """Whether what the dense layer reads has come through a ReLU, and nothing since has moved its zeros."""
        block = self.blocks[-1]
        assert isinstance(block, ConvBlock)
        return keeps_zeros(block.regularizer)

    def expanded(self) -> nn.Sequential:
        """Return the same network as named ordinary torch modules that share its parameters.

        It takes and gives what ``forward`` does; between its ``to_nchw`` and ``to_nhwc`` layers maps are
        (N, C, H, W), as torch's modules want them.
        """
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, block in enumerate(self.blocks, start=1):
            assert isinstance(block, ConvBlock)
            layers[f"to_nchw{number}"] = Permute(0, 3, 1, 2)
            layers[f"conv{number}"] = block.conv
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"pool{number}"] = nn.MaxPool2d(block.pool)
            layers[f"to_nhwc{number}"] = Permute(0, 2, 3, 1)
            layers |= _named(block.regularizer, str(number))
        layers["flatten"] = nn.Flatten()
        layers["dense"] = self.dense
        layers["relu"] = nn.ReLU()
        layers |= _named(self.regularizer, "")
        layers["output"] = self.output
        sequence = nn.Sequential(layers)
        shared = set(self.modules())
        for module in sequence.modules():
            if module not in shared:  # those that are shared keep the mode they are in
                module.training = self.training
        return sequence


class Permute(nn.Module):
    """Reorders the axes of its input."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        """Return a view of ``x``."""
        return x.permute(self.axes)


def build_model(
    spec: ModelSpec,
    image_shape: tuple[int, int, int],
    classes: int,
    regularizer: Regularizer | str = "none",
    seed: int = 0,
    *,
    dropout_seed: int | None = None,
) -> CNN:
    """Build and initialise a network as Keras does: Glorot uniform kernels, zero biases.

    Args:
        spec: its shape.
        image_shape: (H, W, C) of the images.
        classes: number of logits.
        regularizer: in the notation of study files, or one made with ``build_regularizer``.
        seed: of the initial weights.
        dropout_seed: of the masks; by default ``seed``.

    Raises:
        UserError: if the network is too deep for the images, or the notation is not readable.
    """
    check_type(spec, ModelSpec, "spec", "a ModelSpec (networks of your own cannot be trained yet)")
    check_type(classes, Integral, "classes", "a whole number")
    if not isinstance(image_shape, Sequence) or len(image_shape) != 3:
        raise UserError(f"image_shape must be (height, width, channels), got {image_shape!r:.60}")
    if not isinstance(regularizer, Regularizer):
        regularizer = build_regularizer(regularizer)
    masks = torch.Generator().manual_seed(seed if dropout_seed is None else dropout_seed)
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation is overwritten: it shall leave no trace
        model = CNN(spec, image_shape, classes, regularizer, masks)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # these layers have a bias
    return model


@dataclass(frozen=True)
class LayerRow:
    """One line of a layer table: name, what it is, output shape without the batch, parameters."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: int


def layer_table(model: CNN) -> list[LayerRow]:
    """Return the network's layers as Keras' ``summary`` lists them, activations and reorderings left out."""
    rows = []
    x = torch.zeros(1, *model.image_shape, dtype=model.output.weight.dtype)
    with evaluating(model), torch.no_grad():
        for name, layer in model.expanded().named_children():
            x = layer(x)
            if isinstance(layer, nn.ReLU | Permute):
                continue
            shape = x.permute(0, 2, 3, 1).shape if isinstance(layer, nn.Conv2d | nn.MaxPool2d) else x.shape
            rows.append(LayerRow(name, _kind(layer), tuple(shape[1:]), *parameter_counts(layer)))
    return rows


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode; every part of it is put back into the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def parameter_counts(module: nn.Module) -> tuple[int, int]:
    """Return (total, trainable) numbers of a module; moving statistics count as not trainable, as in Keras."""
    total = sum(tensor.numel() for tensor in module.state_dict().values())
    return total, sum(parameter.numel() for parameter in module.parameters())


def _named(regularizer: nn.Module | None, suffix: str) -> dict[str, nn.Module]:
    if regularizer is None:
        return {}
    parts = regularizer if isinstance(regularizer, nn.Sequential) else [regularizer]
    return {type(part).__name__.removesuffix("Layer").lower() + suffix: part for part in parts}


def _kind(layer: Any) -> str:
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return f"conv {height}x{width}x{layer.in_channels}x{layer.out_channels}"
    if isinstance(layer, nn.MaxPool2d):
        return f"max pool {layer.kernel_size}"
    if isinstance(layer, nn.Linear):
        return f"dense {layer.out_features}"
    return str(getattr(layer, "title", type(layer).__name__.lower()))
