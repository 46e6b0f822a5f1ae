"""Check what is to be compiled, before any work: the data, and what the module returns.

Every error says what was found and what is needed. Whether the graph equals the module is in `parity`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.norms import describe_modules, record_norm_inputs


def check_calibration_data(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    input_shape: tuple[int, int, int],
    classes: int,
) -> None:
    """Raise CompileError unless there are images of the input's shape of every class."""
    channels, height, width = input_shape
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
        raise CompileError(
            f"calibration images must be uint8 [N, {height}, {width}, {channels}], "
            f"got {images.dtype} {images.shape}"
        )
    if len(images) < 2 or labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise CompileError(
            f"calibration needs at least 2 images and an integer label for each, "
            f"got {len(images)} images and labels {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise CompileError(
            f"labels run from {labels.min()} to {labels.max()}, but there are {classes} classes"
        )
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise CompileError(f"calibration images of classes {missing} are missing: each needs a prototype")


def check_outputs(module: nn.Module, example: Tensor, classes: int) -> tuple[int, list[tuple[str, Tensor]]]:
    """Run the module once and check what it returns.

    Returns:
        The embedding's width D, and the inputs of its norm layers in order of execution.

    Raises:
        CompileError: forward fails, or does not return (logits [N, K], embedding [N, D]) in float32,
            or what it returns is not finite.
    """
    kinds = {str(p.dtype) for p in module.parameters() if p.dtype != torch.float32}
    if kinds:
        raise CompileError(f"the model holds parameters of {', '.join(sorted(kinds))}; float32 is needed")
    try:
        outputs, inputs = record_norm_inputs(module, example)
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise CompileError(
            f"the model fails on an input of shape {tuple(example.shape)}: {error}; "
            f"found: {describe_modules(module)}"
        ) from error
    if not (
        isinstance(outputs, tuple) and len(outputs) == 2 and all(_is_matrix(o, example) for o in outputs)
    ):
        raise CompileError(
            "forward must return (logits [N, K], embedding [N, D]) in float32, "
            f"got {_describe(outputs)} for N = {len(example)}"
        )
    logits, embedding = outputs
    if logits.shape[1] != classes:
        raise CompileError(f"the model has {logits.shape[1]} outputs, but {classes} class names were given")
    if not (logits.isfinite().all() and embedding.isfinite().all()):
        raise CompileError(
            f"the model returns NaN or infinity for calibration images; not finite: {_not_finite(module)}"
        )
    return int(embedding.shape[1]), inputs


def _not_finite(module: nn.Module) -> str:
    """Names of the parameters and buffers that hold NaN or infinity."""
    return ", ".join(n for n, value in module.state_dict().items() if not value.isfinite().all()) or "none"


def _is_matrix(value: object, example: Tensor) -> bool:
    return (
        isinstance(value, Tensor)
        and value.ndim == 2
        and len(value) == len(example)
        and value.dtype == torch.float32
    )


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(_describe(item) for item in value)})"
    return type(value).__name__
