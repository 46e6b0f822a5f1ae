"""What the domain signature is measured on when a prompt moves the first norm layer's input.

A signature names the domain that a device is in, for the cloud's cohorts and for the device's own bank, and
must not change when the device is patched: else a device would see its own patch as a shift, and two
devices in one fog would differ because one of them is patched already. Adapters never lie before the first
norm layer. A prompt does, so the probe graph computes the way from the input to that layer a second time,
without the prompt. The copy is part of the suffix: the fast graph does not pay for it. What a write
rewrites on that way (the raw kernel of a folded first layer) is copied at its base value. Learning the
reference anew under each patch would not do: the cloud would still be told of a domain that is not there.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import numpy_helper

from edgeadapt_models.compile.extras.kinds.prompt import Prompted
from edgeadapt_models.compile.extras.plan import ProbePart
from edgeadapt_models.compile.extras.workpiece import Workpiece, ancestors, descendants

_PREFIX = "signature/"


def shielded(work: Workpiece, prompted: Prompted, first: str, written: Collection[str]) -> ProbePart:
    """The copy of the way from the input to `first`, the tensor that the first norm layer normalises.

    Args:
        work: the graph, with the prompt in it.
        prompted: where the prompt enters.
        first: the tensor.
        written: initializers whose bytes change on a device.
    """
    way = descendants(work.view, prompted.tensor) & ancestors(work.view, first)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    table: dict[str, str] = {}
    if prompted.clean is None:
        table[prompted.tensor] = prompted.source
    else:
        nodes.append(_copy(prompted.clean, table))
        assert prompted.value is not None
        _own(
            nodes[0], prompted.constant, numpy_helper.from_array(prompted.value, prompted.constant), constants
        )
    for node in work.view.nodes:
        if node.output[0] in way and node.output[0] != prompted.tensor:
            nodes.append(_copy(node, table))
            for name in set(node.input) & set(written):
                value = work.view.constant(name)
                assert value is not None
                _own(nodes[-1], name, numpy_helper.from_array(value, name), constants)
    return ProbePart(tuple(nodes), tuple(constants.values()), {}, table.get(first, first))


def _copy(node: onnx.NodeProto, table: dict[str, str]) -> onnx.NodeProto:
    """The node under other names, reading copies where there are some."""
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.name = f"{_PREFIX}{node.name or node.output[0]}"
    table.update((name, f"{_PREFIX}{name}") for name in node.output if name)
    copied.input[:] = [table.get(name, name) for name in node.input]
    copied.output[:] = [table.get(name, name) for name in node.output]
    return copied


def _own(
    node: onnx.NodeProto, name: str, tensor: onnx.TensorProto, constants: dict[str, onnx.TensorProto]
) -> None:
    """Make `node` read a constant of the suffix in place of `name`."""
    tensor.name = f"{_PREFIX}{name}"
    constants.setdefault(tensor.name, tensor)
    node.input[:] = [tensor.name if entry == name else entry for entry in node.input]
