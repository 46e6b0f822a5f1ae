"""Operators that put numbers around or between those that are there: padding, blocks, tiles, resizing."""

from __future__ import annotations

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgeadapt_models.compile.tflite.file.program import Array
from edgeadapt_models.compile.tflite.lower.context import Context, Op, attributes
from edgeadapt_models.compile.tflite.lower.layout import channels_last, identity, stored_shape
from edgeadapt_models.compile.tflite.ops.registry import converts

_MIRRORS = {"reflect": schema.MirrorPadMode.REFLECT}


@converts("Pad")
def _pad(context: Context, node: onnx.NodeProto) -> None:
    """A constant around any axes, or the image mirrored."""
    mode = attributes(node).get("mode", "constant")
    if mode != "constant" and mode not in _MIRRORS:
        raise context.fail(node, f"mode is {mode!r}")
    amounts, fill = _amounts(context, node)
    name = node.input[0]
    order = context.order(name)
    table = np.array([amounts.get(axis, (0, 0)) for axis in order], np.int32)
    if table.min() < 0:
        raise context.fail(node, "it cuts")
    inputs = [context.stored(name, order), context.literal(table)]
    shape = stored_shape(context.shape(node.output[0]), order)
    if mode in _MIRRORS:
        options = schema.MirrorPadOptionsT()
        options.mode = _MIRRORS[mode]
        tensor = context.emit(Op.MIRROR_PAD, inputs, shape, options)
    elif fill == 0.0:
        tensor = context.emit(Op.PAD, inputs, shape, schema.PadOptionsT())
    else:
        inputs.append(context.literal(np.array(fill, np.float32)))
        tensor = context.emit(Op.PADV2, inputs, shape, schema.PadV2OptionsT())
    context.define(node.output[0], tensor, order)


def _amounts(context: Context, node: onnx.NodeProto) -> tuple[dict[int, tuple[int, int]], float]:
    """((before, after) of each logical axis that is padded, the constant)."""
    values, rank = attributes(node), context.rank(node.input[0])
    given: list[Array | None] = [context.constant(name) if name else None for name in node.input[1:]]
    given += [None] * (3 - len(given))
    table, fill, axes = given
    if table is None and "pads" not in values:
        raise context.fail(node, "how much it pads is computed from the input")
    pads = values["pads"] if table is None else table.tolist()
    names = range(rank) if axes is None else axes.tolist()
    half = len(pads) // 2
    amounts = {int(axis) % rank: (pads[i], pads[half + i]) for i, axis in enumerate(names)}
    return amounts, float(values.get("value", 0.0) if fill is None else fill.reshape(()))


@converts("DepthToSpace", "SpaceToDepth")
def _blocks(context: Context, node: onnx.NodeProto) -> None:
    """In mode DCR, which is LiteRT's."""
    values = attributes(node)
    if values.get("mode", "DCR") != "DCR":
        raise context.fail(node, "mode is not DCR")
    spread = node.op_type == "DepthToSpace"
    options = schema.DepthToSpaceOptionsT() if spread else schema.SpaceToDepthOptionsT()
    options.blockSize = values["blocksize"]
    code = Op.DEPTH_TO_SPACE if spread else Op.SPACE_TO_DEPTH
    order = channels_last(4)
    shape = stored_shape(context.shape(node.output[0]), order)
    tensor = context.emit(code, [context.stored(node.input[0], order)], shape, options)
    context.define(node.output[0], tensor, order)


@converts("Tile")
def _tile(context: Context, node: onnx.NodeProto) -> None:
    repeats = context.constant(node.input[1])
    if repeats is None:
        raise context.fail(node, "how often it repeats is computed from the input")
    rank = context.rank(node.input[0])
    inputs = [context.stored(node.input[0]), context.literal(repeats.astype(np.int32))]
    tensor = context.emit(Op.TILE, inputs, context.shape(node.output[0]), schema.TileOptionsT())
    context.define(node.output[0], tensor, identity(rank))


@converts("Resize")
def _resize(context: Context, node: onnx.NodeProto) -> None:
    """Images: linear with half-pixel centres or aligned corners, or nearest by flooring."""
    values = attributes(node)
    mode = values.get("mode", "nearest")
    centres = values.get("coordinate_transformation_mode", "half_pixel")
    rounding = values.get("nearest_mode", "round_prefer_floor")
    name, result = node.input[0], node.output[0]
    if context.rank(name) != 4 or context.shape(name)[:2] != context.shape(result)[:2]:
        raise context.fail(node, "it is not over height and width")
    order = channels_last(4)
    size = context.literal(np.array(context.shape(result)[2:], np.int32))
    inputs = [context.stored(name, order), size]
    shape = stored_shape(context.shape(result), order)
    if mode == "linear" and centres in ("half_pixel", "align_corners"):
        linear = schema.ResizeBilinearOptionsT()
        linear.halfPixelCenters, linear.alignCorners = centres == "half_pixel", centres == "align_corners"
        tensor = context.emit(Op.RESIZE_BILINEAR, inputs, shape, linear, version=3)
    elif mode == "nearest" and (centres, rounding) == ("asymmetric", "floor"):
        nearest = schema.ResizeNearestNeighborOptionsT()
        tensor = context.emit(Op.RESIZE_NEAREST_NEIGHBOR, inputs, shape, nearest)
    else:
        raise context.fail(node, f"mode {mode!r}, {centres!r}, {rounding!r} is not one that LiteRT has")
    context.define(result, tensor, order)
