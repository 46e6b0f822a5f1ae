"""Which function writes which ONNX operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import onnx

from edgeadapt_models.compile.tflite.lower.context import Context

Converter: TypeAlias = Callable[[Context, onnx.NodeProto], None]

CONVERTERS: dict[str, Converter] = {}


def converts(*operators: str) -> Callable[[Converter], Converter]:
    """Register a converter for the ONNX `operators`."""

    def register(converter: Converter) -> Converter:
        for operator in operators:
            if operator in CONVERTERS:
                raise ValueError(f"two converters for {operator}")
            CONVERTERS[operator] = converter
        return converter

    return register
