"""Torch modules and exported programs to ONNX graphs that keep norm layers as nodes of their own.

The TorchScript exporter with training=PRESERVE on an eval model keeps BatchNorm as separate nodes with exact
outputs, and names constants after parameters. Where it fails, or meets Python control flow, the newer
exporter is asked, unoptimised (its optimiser folds BatchNorm away): it follows control flow on shapes, and
refuses that on values. Which nodes are norm layers is found in `analyse`; what the exporters leave behind is
cleared away in `graph.tidy`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from edgeadapt.errors import CompileError
from edgeadapt_models.compile.graph.inputs import INPUT
from edgeadapt_models.compile.graph.outputs import OUTPUTS

OPSET = 17
"""First with LayerNormalization; ReduceMean still takes its axes as an attribute."""
_NEW_OPSET = 18
"""The oldest that the newer exporter writes."""

_TORCH = Path(torch.__file__).parent
_FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, NotImplementedError)


def export_module(module: nn.Module, example: Tensor, outputs: int) -> onnx.ModelProto:
    """Export a module (on the CPU, in eval mode).

    Args:
        module: forward returns logits [N, K], or (logits, embedding [N, D]).
        example: [N, *shape] with N >= 2.
        outputs: how many tensors forward returns, 1 or 2.

    Raises:
        CompileError: neither exporter can; says why each failed.
    """
    try:
        return _trace(module, example, outputs)
    except CompileError as first:
        try:
            return _capture(module, example, outputs)
        except CompileError as second:
            raise CompileError(f"{first}; the newer exporter: {second}") from second


def export_program(program: torch.export.ExportedProgram, outputs: int) -> onnx.ModelProto:
    """Export what torch.export made, under its own example; raises CompileError."""
    return _capture(program, None, outputs)


def _trace(module: nn.Module, example: Tensor, outputs: int) -> onnx.ModelProto:
    names = OUTPUTS[:outputs]
    try:
        with (
            warnings.catch_warnings(record=True) as recorded,
            tempfile.TemporaryDirectory() as scratch,
            _plain_attention(),
            _silent(),
        ):
            # The exporter announces its own retirement; what it says about the model is checked below.
            # (Filters that make it an error do not do: torch's C code turns that into a SystemError.)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("always", category=TracerWarning)
            torch.onnx.export(
                module,
                (example,),
                f"{scratch}/model.onnx",
                dynamo=False,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(names),
                dynamic_axes={name: {0: "batch"} for name in (INPUT, *names)},
            )
            data = Path(scratch, "model.onnx").read_bytes()
    except _FAILURES as error:
        raise CompileError(
            f"the model cannot be exported to ONNX opset {OPSET}: {type(error).__name__}: {_short(error)}"
        ) from error
    _refuse_control_flow(recorded)
    return onnx.load_from_string(data)


def _refuse_control_flow(recorded: list[warnings.WarningMessage]) -> None:
    """Raise on the tracer's warnings about the model; give all others back to whoever listens.

    Torch's own layers make it warn too: they compare shapes, which the tracer takes for values.
    """
    for entry in recorded:
        if not issubclass(entry.category, TracerWarning):
            warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)
        elif _TORCH not in Path(entry.filename).parents:
            raise CompileError(
                "the forward pass depends on tensor values (dynamic control flow), which a graph cannot "
                f"hold: {entry.message} ({entry.filename}:{entry.lineno})"
            )


def _capture(
    model: nn.Module | torch.export.ExportedProgram, example: Tensor | None, outputs: int
) -> onnx.ModelProto:
    dynamic = None if example is None else ({0: torch.export.Dim.AUTO},)
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                () if example is None else (example,),
                dynamo=True,
                optimize=False,
                opset_version=_NEW_OPSET,
                input_names=[INPUT],
                output_names=list(OUTPUTS[:outputs]),
                dynamic_shapes=dynamic,
                verbose=False,
            )
    except (ImportError, torch.onnx.errors.OnnxExporterError, *_FAILURES) as error:
        cause = error.__cause__ or error
        raise CompileError(f"{type(cause).__name__}: {_short(cause)}") from error
    if program is None:
        raise CompileError("the exporter returned nothing")
    proto: onnx.ModelProto = program.model_proto
    return proto


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Transformer layers as operators that the exporter knows, not as one kernel for inference."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter's C++ code prints the whole graph on the process' own stdout when it fails."""
    try:
        kept = os.dup(1)
    except OSError:  # closed: nobody is to be spared
        yield
        return
    sys.stdout.flush()
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The newer exporter tells of its steps on stdout and in the log."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _short(error: BaseException) -> str:
    """The first lines of an exporter's essay."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4])[:600]
