"""What was run, in short: the facts at the head of a report."""

from __future__ import annotations

from collections.abc import Sequence

from regulens.report.networks import CellReport
from regulens.report.wording import counted
from regulens.results import RunResult
from regulens.spec import ModelSpec, StudySpec, TrainSpec, level_of
from regulens.study.grid import cells, level_text, with_levels


def facts_of(study: StudySpec, reports: Sequence[CellReport], results: Sequence[RunResult]) -> list[tuple[str, str]]:
    """Return what was run: name and text of each fact."""
    made = results[-1].environment
    first_runs = list({cell.spec.parts: cell.runs[0] for cell in reversed(reports)}.values())[::-1]
    versions = f"Regulens {made.regulens}, Python {made.python}, torch {made.torch}, numpy {made.numpy}"
    return [
        ("Data", _data_text(study)),
        ("Split", "; ".join(_split_text(run, len(first_runs) > 1) for run in first_runs)),
        ("Networks", _networks_text(study)),
        ("Architecture", _architecture_text(study)),
        ("Training", _training_text(study)),
        ("Software", versions),
        ("Machine", f"{made.cpu}, {made.platform}, device {made.device}, one thread per run"),
        ("SHA-256 of the data", ", ".join(dict.fromkeys(run.dataset_digest for run in first_runs))),
    ]


def _data_text(study: StudySpec) -> str:
    name, scale = _field_text(study, "data.name"), _field_text(study, "data.scale")
    return f"{name}; pixels 0..255 times {scale}{_standardized(study)}"


def _standardized(study: StudySpec) -> str:
    how = "standardized to mean 0 and SD 1 over the training images"
    if "data.standardize" in study.factors:
        return f", then, where standardize is True, {how}"
    return f", then {how}" if study.data.standardize else ""


def _split_text(run: RunResult, several: bool) -> str:
    data = run.spec.data
    shares = f"{1 - data.validation - data.test:.0%} / {data.validation:.0%} / {data.test:.0%}"
    return (
        f"{data.name + ', ' if several else ''}{run.train_images:,} train and {run.val_images:,} validation images, "
        f"the rest held out as the test set ({shares}); scikit-learn's train_test_split twice, random_state "
        f"{data.split_seed}, not stratified; a refit has {run.train_images + run.val_images:,}"
    )


def _networks_text(study: StudySpec) -> str:
    factors = "; ".join(f"{path}: {', '.join(map(level_text, levels))}" for path, levels in study.factors.items())
    networks = counted(len(cells(study)), "configuration")
    return f"{networks} ({factors or 'no factors'}), {counted(study.seeds, 'seed')} each"


def _architecture_text(study: StudySpec) -> str:
    model = {name: _field_text(study, f"model.{name}") for name in ModelSpec.model_fields}
    return (
        f"regularizer {_field_text(study, 'regularizer')}; {model['depth']} blocks of convolution (kernel size "
        f"{model['kernel_size']}, {model['filters']} filters, {model['padding']} padding), ReLU and max pooling of "
        f"{model['pool']}; a dense layer of {model['dense']} with ReLU; softmax. Kernels use Glorot-uniform "
        "initialization, biases zero. Dropout and batch norm are applied after each pooling layer and after the dense "
        "layer; L2 acts on convolution kernels. Losses are mean negative log-likelihoods, without the L2 penalty; the "
        "objective that is minimized includes it"
    )


def _training_text(study: StudySpec) -> str:
    train = {name: _field_text(study, f"train.{name}") for name in TrainSpec.model_fields}
    return (
        f"SGD on the cross-entropy, learning rate {train['learning_rate']}, momentum {train['momentum']}, batches of "
        f"{train['batch_size']}, {train['epochs']} epochs"
    )


def _field_text(study: StudySpec, path: str) -> str:
    """Write the value that all cells share in this field, or its levels if it is a factor."""
    levels = [{path: level} for level in study.factors.get(path, [])] or [{}]
    return " or ".join(level_text(level_of(with_levels(study, level), path)) for level in levels)
