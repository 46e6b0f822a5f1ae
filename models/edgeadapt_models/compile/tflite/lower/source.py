"""An ONNX graph with what converters often ask of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from edgeadapt_models.compile.tflite.lower.trace import Trace


@dataclass(frozen=True, slots=True)
class Source:
    """Indices over a graph.

    Attributes:
        initializers: names of the graph's initializers.
        producers: the node that computes each value.
        consumers: the nodes that read it.
        readers: how many times each value is read; graph outputs count as a reader.
    """

    graph: onnx.GraphProto
    trace: Trace
    initializers: frozenset[str]
    producers: Mapping[str, onnx.NodeProto]
    consumers: Mapping[str, tuple[onnx.NodeProto, ...]]
    readers: Mapping[str, int]

    @staticmethod
    def of(graph: onnx.GraphProto, trace: Trace) -> Source:
        """Index the graph."""
        producers = {name: node for node in graph.node for name in node.output}
        consumers: dict[str, tuple[onnx.NodeProto, ...]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                consumers[name] = (*consumers.get(name, ()), node)
        readers = Counter(name for node in graph.node for name in node.input)
        readers.update(output.name for output in graph.output)
        initializers = frozenset(tensor.name for tensor in graph.initializer)
        return Source(graph, trace, initializers, producers, consumers, readers)

    def is_initial(self, name: str) -> bool:
        """Whether the value is the same for every input: a constant, or a mutable initializer."""
        return name in self.initializers or name in self.trace.constants

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that reads the value, if nothing else does, not even twice."""
        nodes = self.consumers.get(name, ())
        return nodes[0] if len(nodes) == 1 and self.readers[name] == 1 else None
