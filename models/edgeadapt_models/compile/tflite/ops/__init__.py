"""Converters from ONNX operators to LiteRT's; importing this package registers all of them."""

from edgeadapt_models.compile.tflite.ops import (
    activation,
    convolution,
    elementwise,
    matrix,
    norm,
    pool,
    reduce,
    shape,
    spread,
)

CONVERTER_MODULES = (activation, convolution, elementwise, matrix, norm, pool, reduce, shape, spread)
