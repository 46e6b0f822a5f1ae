"""Inference runtimes behind one Protocol: start at `base`. `open_engine` makes the one that is configured."""

from edgeadapt_device.io.engines.base import Engine, EngineReport, Frames, Scores, Session
from edgeadapt_device.io.engines.inputs import check_shape
from edgeadapt_device.io.engines.registry import engine_names, open_engine

__all__ = [
    "Engine",
    "EngineReport",
    "Frames",
    "Scores",
    "Session",
    "check_shape",
    "engine_names",
    "open_engine",
]
