"""How large a network's maps are, and how much there is to compute."""

from __future__ import annotations

from collections.abc import Iterator

from regulens.errors import UserError
from regulens.notation import parse_regularizer
from regulens.spec.run import ModelSpec, RunSpec

_LAYER_PER_ACTIVATION = 25  # multiplications that take as long as batch norm or dropout do (docs/performance.md)


def feature_sizes(model: ModelSpec, image_shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """Yield (height, width) after each block's pooling.

    Raises:
        UserError: if the image of shape (H, W, C) is used up before the last block.
    """
    size = (image_shape[0], image_shape[1])
    for block in range(model.depth):
        height, width = (_after_block(side, model) for side in size)
        if min(height, width) < 1:
            fixes = [f"depth <= {block}"] if block else []
            fixes += ['padding = "same"'] if _fits(model.model_copy(update={"padding": "same"}), image_shape) else []
            fixes += ["a smaller pool"] if model.padding == "same" else ["a smaller kernel_size or pool"]
            raise UserError(
                f"model.depth = {model.depth} is too deep for {image_shape[0]}x{image_shape[1]} images: block "
                f"{block + 1} is left with {size[0]}x{size[1]}; use {' or '.join(fixes)}"
            )
        size = (height, width)
        yield size


def arithmetic(spec: RunSpec, image_shape: tuple[int, int, int], images: int) -> int:
    """Return about how many multiplications a run's forward passes take: to tell long runs from short ones.

    What a regularizer's layers do is counted as multiplications that would take as long.

    Args:
        spec: the run.
        image_shape: (H, W, C) of the images.
        images: how many the data set has.
    """
    model, channels, per_image, activations = spec.model, image_shape[2], 0, 0
    for height, width in feature_sizes(model, image_shape):
        outputs = height * width * model.pool**2 * model.filters
        per_image += outputs * model.kernel_size**2 * channels
        channels = model.filters
        activations += height * width * channels
    per_image += height * width * channels * model.dense
    layers = sum(term.kind in {"batchnorm", "dropout"} for term in parse_regularizer(spec.regularizer))
    per_image += layers * _LAYER_PER_ACTIVATION * (activations + model.dense)
    return spec.train.epochs * min(images, spec.data.limit or images) * per_image


def _fits(model: ModelSpec, image_shape: tuple[int, int, int]) -> bool:
    size = min(image_shape[:2])
    for _ in range(model.depth):
        size = _after_block(size, model)
    return size >= 1


def _after_block(side: int, model: ModelSpec) -> int:
    convolved = side if model.padding == "same" else side - model.kernel_size + 1
    return convolved // model.pool if convolved > 0 else 0
