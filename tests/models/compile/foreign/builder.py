"""Write ONNX graphs by hand, in any opset, and run or compile them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgeadapt_models.compile.compiler import Compilation
from edgeadapt_models.compile.own import OwnModel, compile_own

Array = npt.NDArray[Any]
_IR = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


class Net:
    """A graph in the making."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.graph = onnx.GraphProto(name="net")
        self._count = 0

    def const(self, value: Array, name: str = "") -> str:
        """An initializer."""
        name = name or self._fresh("const")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node of one output."""
        output = output or self._fresh(kind.lower())
        self.graph.node.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def mean(self, x: str, axes: list[int], *, keepdims: int = 1) -> str:
        """ReduceMean, whose axes became an input with opset 18."""
        if self.opset < 18:
            return self.op("ReduceMean", x, axes=axes, keepdims=keepdims)
        return self.op("ReduceMean", x, self.const(np.array(axes, np.int64)), keepdims=keepdims)

    def shape(self, *sizes: int) -> str:
        """A constant shape."""
        return self.const(np.array(sizes, np.int64))

    def model(
        self, inputs: dict[str, list[Any]], *outputs: str, kind: int = TensorProto.FLOAT
    ) -> onnx.ModelProto:
        """The finished model; outputs are declared without shapes."""
        for name, dims in inputs.items():
            self.graph.input.append(helper.make_tensor_value_info(name, kind, dims))
        for name in outputs:
            self.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        made = helper.make_model(self.graph, opset_imports=[helper.make_opsetid("", self.opset)])
        made.ir_version = _IR[self.opset]
        return made

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


def run(model: onnx.ModelProto | bytes, x: Array) -> list[Array]:
    """Every output in ONNX Runtime."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {session.get_inputs()[0].name: x})]


def pictures(count: int, shape: tuple[int, int, int] = (16, 16, 3), seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random images uint8 [count, H, W, C] with a little structure."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(40, 200, (count, 1, 1, shape[2]))
    ramp = np.linspace(-30, 30, shape[0])[None, :, None, None] * rng.uniform(-1, 1, (count, 1, 1, 1))
    noise = rng.normal(0, 20, (count, *shape))
    return np.clip(level + ramp + noise, 0, 255).astype(np.uint8)


def as_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images as a bundle takes them, float32 NCHW in 0..1."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) / np.float32(255), dtype=np.float32)


def compiled(model: onnx.ModelProto, folder: Path, frames: Array | None = None, **said: Any) -> Compilation:
    """Save a model and its calibration data, and compile them as a person would."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    np.save(folder / "frames.npy", pictures(20) if frames is None else frames)
    own = OwnModel(calibration=folder / "frames.npy", onnx=folder / "model.onnx")
    return compile_own(replace(own, **said), folder / "bundle")


def fast(compilation: Compilation, values: dict[str, Array]) -> bytes:
    """The bundle's ONNX model with slot values written into it."""
    bundle = compilation.bundle
    return bundle.fast_model(bundle.artifact("onnxruntime"), values)
