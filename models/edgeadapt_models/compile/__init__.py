"""Compile torch models to bundles. Start at `edgeadapt_models.compile.compiler`."""

from edgeadapt_models.compile.compiler import Compilation, compile_draft, compile_model, compile_module
from edgeadapt_models.compile.parity import ParityFigure
from edgeadapt_models.compile.pretrained import compile_pretrained
from edgeadapt_models.compile.tiny import tiny_bundle, tiny_images, tiny_module

__all__ = [
    "Compilation",
    "ParityFigure",
    "compile_draft",
    "compile_model",
    "compile_module",
    "compile_pretrained",
    "tiny_bundle",
    "tiny_images",
    "tiny_module",
]
