"""Export a torch module to an ONNX graph in which every norm slot is an initializer of its own.

The TorchScript exporter with training=PRESERVE on an eval model is used because it is the one that keeps
BatchNorm as separate nodes with exact outputs. It shares one initializer among equal tensors (two fresh
BatchNorms have equal statistics), so each norm node is given fresh initializers, named after its slots.
Dynamic control flow would be frozen into the graph without a word: it is an error here.
Byte offsets are in `wire_walk`, the probe outputs in `probe`, the check against torch in `parity`.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.norms import NormSite, describe_modules, other_norms

INPUT = "input"
OUTPUTS = ("logits", "embedding")
OPSET = 17
"""First with LayerNormalization; ReduceMean still takes its axes as an attribute."""

_TORCH = Path(torch.__file__).parent
_NORM_OPERATORS = {"BatchNormalization": "batch", "LayerNormalization": "layer"}


def export_graph(
    module: nn.Module, example: Tensor, sites: tuple[NormSite, ...], values: dict[str, FloatArray]
) -> onnx.ModelProto:
    """Export `module` (on the CPU, in eval mode).

    Args:
        module: forward returns (logits [N, K], embedding [N, D]).
        example: float32 [N, C, H, W] with N >= 2.
        sites: its norm layers in order of execution.
        values: the base value of every slot.

    Raises:
        CompileError: the exporter refuses the module, its forward pass depends on values, or the norm
            nodes of the graph are not the norm layers that ran.
    """
    model = onnx.load_from_string(_export_bytes(module, example))
    nodes = norm_nodes(model)
    found = [_NORM_OPERATORS[node.op_type] for node in nodes]
    if found != [site.kind for site in sites]:
        raise CompileError(
            f"the exported graph has {len(nodes)} norm nodes ({', '.join(found)}), but {len(sites)} "
            f"norm layers ran ({', '.join(site.path for site in sites)}); "
            "use norm modules, not their functional forms"
        )
    _free_names(model.graph, set(values))
    for node, site in zip(nodes, sites, strict=True):
        del node.input[1:]
        for _, name in site.slots:
            node.input.append(name)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values[name], name))
    _drop_unused(model.graph)
    _clean(model)
    return model


def norm_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The norm nodes of a graph, in order."""
    return [node for node in model.graph.node if node.op_type in _NORM_OPERATORS]


def _export_bytes(module: nn.Module, example: Tensor) -> bytes:
    try:
        with warnings.catch_warnings(record=True) as recorded, tempfile.TemporaryDirectory() as scratch:
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
                output_names=list(OUTPUTS),
                dynamic_axes={name: {0: "batch"} for name in (INPUT, *OUTPUTS)},
            )
            data = Path(scratch, "model.onnx").read_bytes()
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise CompileError(
            f"the model cannot be exported to ONNX opset {OPSET}: {type(error).__name__}: {error}; "
            f"found: {describe_modules(module)}"
        ) from error
    _refuse_control_flow(recorded, module)
    return data


def _refuse_control_flow(recorded: list[warnings.WarningMessage], module: nn.Module) -> None:
    """Raise on the tracer's warnings; give all others back to whoever listens.

    Torch's own norm layers make it warn too: they compare shapes, which the tracer takes for values.
    """
    for entry in recorded:
        if issubclass(entry.category, TracerWarning):
            norms = other_norms(module)
            if norms and _TORCH in Path(entry.filename).parents:
                raise CompileError(
                    f"{norms}: of the norm layers only BatchNorm and LayerNorm can be compiled; "
                    "make a SyncBatchNorm the BatchNorm of the same values; "
                    f"found: {describe_modules(module)}"
                )
            raise CompileError(
                "the forward pass depends on tensor values (dynamic control flow), which a graph cannot "
                f"hold: {entry.message} ({entry.filename}:{entry.lineno}); found: {describe_modules(module)}"
            )
        warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)


def _free_names(graph: onnx.GraphProto, names: set[str]) -> None:
    """Rename whatever bears a slot's name: other nodes may share it, and must not change with the slot."""
    for tensor in graph.initializer:
        tensor.name = _freed(tensor.name, names)
    for node in graph.node:
        node.input[:] = [_freed(name, names) for name in node.input]
        node.output[:] = [_freed(name, names) for name in node.output]


def _freed(name: str, names: set[str]) -> str:
    return f"{name}/shared" if name in names else name


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that nothing reads any more."""
    outputs = {output.name for output in graph.output}
    while True:
        used = outputs.union(*(node.input for node in graph.node))
        nodes = [node for node in graph.node if used.intersection(node.output)]
        if len(nodes) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(nodes)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _clean(model: onnx.ModelProto) -> None:
    """Nothing of the machine or the moment goes into the file: equal models give equal bytes."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
