"""Float artifacts built node by node: lifelike values, every slot at its place, a probe of every norm layer.

Nothing here comes from the compiler, so what is tested is the contract between artifacts only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgeadapt.bundle import (
    Artifact,
    Calibration,
    Copy,
    NormLayer,
    Region,
    SlotValues,
    Write,
    materialise,
)
from edgeadapt.bundle.inversion import MomentInversion
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.wire_walk import initializer_spans
from edgeadapt_models.compile.quantise.graph import FloatArtifact

Array = npt.NDArray[Any]
PROBE = ("probe_mean", "probe_mean_square")


def run(model: bytes, x: FloatArray) -> dict[str, FloatArray]:
    """Every output of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": x}), strict=True))


class Net:
    """A graph in the making. Methods return the name of a tensor; the first one is "input".

    Attributes:
        frames: float32 [N, *shape] that statistics are fitted to.
    """

    def __init__(self, shape: tuple[int, ...], *, seed: int = 0, count: int = 96, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        rough = self.rng.uniform(0, 1, (count, *shape))
        level = self.rng.uniform(0, 1, (count, shape[0], *(1 for _ in shape[1:])))
        self.frames = (0.5 * rough + 0.5 * level).astype(np.float32)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.layers: list[NormLayer] = []
        self.measured: list[tuple[str, Literal["input", "output"]]] = []
        self.base: dict[str, FloatArray] = {}
        self.writes: list[Callable[[Callable[[str], Region]], Write]] = []
        self.opset = opset
        self._cut: set[str] = set()

    def op(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node."""
        result = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [result], f"node_{result}", **attributes))
        return result

    def constant(self, value: Any, name: str = "") -> str:
        """Add an initializer."""
        held = np.asarray(value)
        held = held.astype(np.float32) if held.dtype == np.float64 else held
        chosen = name or f"c{len(self.constants)}"
        self.constants[chosen] = held
        return chosen

    def value(self, tensor: str) -> FloatArray:
        """What a tensor is on the frames."""
        if tensor == "input":
            return self.frames
        return run(self._model((tensor,)).SerializeToString(), self.frames)[tensor]

    def random(self, *shape: int) -> FloatArray:
        """Weights of a sensible size: the first axis is the output's."""
        fan_in = int(np.prod(shape[1:])) or 1
        weights = self.rng.normal(size=shape) * np.sqrt(2 / fan_in)
        return np.asarray(weights, np.float32)

    def conv(
        self, x: str, channels: int, kernel: int = 3, *, group: int = 1, bias: bool = False, **attributes: Any
    ) -> str:
        """A convolution that keeps the size unless it strides."""
        before = self.value(x)
        spatial = before.ndim - 2
        weight = self.constant(self.random(channels, before.shape[1] // group, *[kernel] * spatial))
        inputs = [x, weight]
        if bias:
            inputs.append(self.constant(self.rng.normal(size=channels) * 0.3))
        pads = [kernel // 2] * (2 * spatial)
        return self.op("Conv", *inputs, group=group, pads=pads, **attributes)

    def norm(self, x: str, scale: FloatArray | None = None, *, bias: float = 0.3) -> str:
        """BatchNorm with the frames' statistics."""
        before = self.value(x).astype(np.float64)
        axes = (0, *range(2, before.ndim))
        channels = before.shape[1]
        chosen = self.rng.uniform(0.5, 1.5, (channels,)) if scale is None else scale
        slots = self.slots(
            "batch",
            scale=chosen,
            bias=self.rng.normal(size=(channels,)) * bias,
            mean=np.asarray(before.mean(axes)),
            var=np.asarray(before.var(axes)),
        )
        self.measured.append((x, "input"))
        return self.op("BatchNormalization", x, *slots, epsilon=1e-5)

    def slots(self, kind: Any, **values: Array) -> list[str]:
        """A norm layer's slots as initializers that are copied."""
        name = f"norm{len(self.layers)}"
        offset = sum(layer.channels for layer in self.layers)
        names = {part: f"{name}.{part}" for part in values}
        for part, value in values.items():
            self.base[names[part]] = np.asarray(value, np.float32)
            self.constant(value, names[part])
        self.layers.append(NormLayer(name, kind, len(values["scale"]), 1e-5, offset, **names))
        return list(names.values())

    def channel(self, tensor: str) -> NormLayer:
        """A "channel" layer over `tensor`; its writes are the caller's."""
        before = self.value(tensor).astype(np.float64)
        axes = (0, *range(2, before.ndim))
        mean, var = before.mean(axes), before.var(axes)
        name = f"norm{len(self.layers)}"
        parts = {"scale": np.sqrt(var + 1e-5), "bias": mean, "mean": mean, "var": var}
        self.base |= {f"{name}.{part}": np.asarray(value, np.float32) for part, value in parts.items()}
        offset = sum(layer.channels for layer in self.layers)
        layer = NormLayer(name, "channel", len(mean), 1e-5, offset, *(f"{name}.{part}" for part in parts))
        self.layers.append(layer)
        self.measured.append((tensor, "output"))
        return layer

    def write(self, make: Callable[[Callable[[str], Region]], Write]) -> None:
        """A write of the artifact, made when it is known where each initializer lies."""
        self.writes.append(make)

    def head(self, x: str, classes: int = 6) -> None:
        """Pool, embedding and logits."""
        pooled = self.op("GlobalAveragePool", x)
        self.op("Flatten", pooled, name="embedding")
        width = self.value("embedding").shape[1]
        weight, bias = (
            self.constant(self.random(classes, width), "head.weight"),
            self.constant(self.rng.normal(size=classes), "head.bias"),
        )
        self.op("Gemm", "embedding", weight, bias, name="logits", transB=1)

    def _model(self, outputs: tuple[str, ...]) -> onnx.ModelProto:
        shape = ["batch", *self.frames.shape[1:]]
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def artifact(self) -> FloatArtifact:
        """The graph as an artifact."""
        model = self._model(("logits", "embedding"))
        data: bytes = model.SerializeToString(deterministic=True)
        at = {name: span.offset for name, span in initializer_spans(data).items()}

        def region(name: str) -> Region:
            return Region(at[name], self.constants[name].shape)

        writes: list[Write] = [Copy(slot, region(slot)) for slot in self.base if slot in at]
        writes += [make(region) for make in self.writes]
        places = tuple(place for _, place in self.measured)
        artifact = Artifact("onnxruntime", "model.onnx", "probe.bin", tuple(writes), places)
        return FloatArtifact(data, self._probe(), artifact, tuple(self.layers), self.base)

    def _probe(self) -> bytes:
        graph = onnx.GraphProto()
        parts: dict[str, list[str]] = {name: [] for name in PROBE}
        for index, (tensor, _) in enumerate(self.measured):
            rank, kind = self.value(tensor).ndim, self.layers[index].kind
            axes = list(range(1, rank - 1) if kind == "layer" else range(2, rank))
            graph.node.append(helper.make_node("Mul", [tensor, tensor], [f"probe{index}/square"]))
            for name, source in zip(PROBE, (tensor, f"probe{index}/square"), strict=True):
                result = f"probe{index}/{name}"
                graph.node.append(self._mean(source, result, axes, graph))
                parts[name].append(result)
        for name, inputs in parts.items():
            if inputs:
                graph.node.append(helper.make_node("Concat", inputs, [name], axis=1))
                graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        suffix: bytes = onnx.ModelProto(graph=graph).SerializeToString(deterministic=True)
        return suffix

    def _mean(self, source: str, result: str, axes: list[int], graph: onnx.GraphProto) -> onnx.NodeProto:
        if not axes:
            return helper.make_node("Identity", [source], [result])
        if self.opset < 18:
            return helper.make_node("ReduceMean", [source], [result], axes=axes, keepdims=0)
        graph.initializer.append(numpy_helper.from_array(np.array(axes), f"{result}/axes"))
        return helper.make_node("ReduceMean", [source, f"{result}/axes"], [result], keepdims=0)


def patched(source: FloatArtifact, values: SlotValues) -> bytes:
    """The float model under a patch."""
    return materialise(source.model, source.artifact, source.layers, values, source.base)


def noise(expected: FloatArray, actual: FloatArray) -> float:
    """Root mean square error over the standard deviation of what was expected."""
    return float(np.sqrt(np.mean((expected - actual) ** 2)) / expected.std())


def norm_patch(
    source: FloatArtifact, *, seed: int = 0, strength: float = 0.3, keep: Mapping[str, Array] | None = None
) -> dict[str, FloatArray]:
    """A patch of every norm slot that keeps the signs of scales."""
    rng = np.random.default_rng(seed)
    values: dict[str, FloatArray] = {}
    for layer in source.layers:
        spread = np.abs(source.base[layer.scale]).mean()
        for part in ("scale", "bias", "mean", "var"):
            name = getattr(layer, part)
            if not name:
                continue
            held = source.base[name]
            if part in ("scale", "var"):
                changed = held * np.exp(rng.normal(size=held.shape) * strength)
            else:
                deviation = np.sqrt(source.base[layer.var]) if part == "mean" else spread
                changed = held + rng.normal(size=held.shape) * strength * deviation
            values[name] = changed.astype(np.float32)
    return values | {name: np.asarray(value, np.float32) for name, value in (keep or {}).items()}


def moments(
    artifact: Artifact, probe: Mapping[str, FloatArray], source: FloatArtifact, values: SlotValues
) -> tuple[FloatArray, FloatArray]:
    """[P] mean and variance over frames of every layer's input, as a device would compute them."""
    channels = sum(layer.channels for layer in source.layers)
    plain = Calibration(
        np.zeros(channels, np.float32), np.ones(channels, np.float32), *(np.ones(1, np.float32),) * 5
    )
    inversion = MomentInversion(artifact, source.layers, plain, {**source.base, **values})
    mean, square = inversion.apply(*(probe[name] for name in PROBE))
    centre = mean.mean(axis=0, dtype=np.float64)
    return centre.astype(np.float32), (square.mean(axis=0, dtype=np.float64) - centre**2).astype(np.float32)
