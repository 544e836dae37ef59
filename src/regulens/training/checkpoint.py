"""Trained networks on disk: weights as safetensors, predictions beside them. No pickle is ever read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from regulens.data.dataset import Dataset
from regulens.errors import DataError, UserError
from regulens.files import write_atomically
from regulens.models.cnn import CNN, build_model
from regulens.spec import RunSpec
from regulens.training.loop import Trained
from regulens.training.predictions import PREDICTIONS, save_predictions

WEIGHTS = "weights.safetensors"


def save_run(folder: Path, trained: Trained, dataset: Dataset) -> None:
    """Write a run's ``weights.safetensors`` and, if it has a validation part, ``predictions.npz``."""
    model = trained.model
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    metadata = {
        "regulens": trained.result.spec.model_dump_json(),
        "image_shape": json.dumps(model.image_shape),
        "classes": str(model.output.out_features),
    }
    if trained.scaling.mean:  # otherwise the spec says it all
        metadata["pixels"] = json.dumps(asdict(trained.scaling))
    write_atomically(folder / WEIGHTS, save(tensors, metadata))
    if trained.result.val_images:
        save_predictions(folder / PREDICTIONS, trained.probabilities, trained.val_indices, dataset)


def saved_spec(folder: Path) -> RunSpec | None:
    """Return which run the weights in a folder are of, by their header alone; ``None`` where they cannot be read."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as archive:
            return RunSpec.model_validate_json((archive.metadata() or {}).get("regulens", ""))
    except (OSError, SafetensorError, UserError):
        return None


def load_model(folder: Path) -> CNN:
    """Rebuild a run's network from its folder, in eval mode.

    Raises:
        DataError: if the weights are absent, damaged or not a run of Regulens.
    """
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            state = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  # safe_open is no dict
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); move it elsewhere and run the study again to train this network anew"
        ) from None
    if "regulens" not in metadata:
        raise DataError(f"{path}: was not written by Regulens: it does not say which network it holds")
    try:
        return _rebuilt(metadata, state)
    except (ValueError, KeyError, TypeError, RuntimeError, UserError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise DataError(
            f"{path}: does not hold the network that it describes ({reason}); move it elsewhere and run the study "
            f"again to train this network anew"
        ) from None


def _rebuilt(metadata: Mapping[str, str], state: Mapping[str, torch.Tensor]) -> CNN:
    spec = RunSpec.model_validate_json(metadata["regulens"])
    height, width, channels = json.loads(metadata["image_shape"])
    shape = (spec.model, (height, width, channels), int(metadata["classes"]))
    with torch.device("meta"):  # without memory: what is described may be far larger than what is stored
        described = sum(parameter.numel() for parameter in build_model(*shape).parameters())
    if described > sum(tensor.numel() for tensor in state.values()):
        raise ValueError(f"it has {described:,} weights")
    model = build_model(*shape, spec.regularizer)
    model.load_state_dict(state)
    return model.to(torch.float32).eval()
