"""Engines by name. A runtime's library is imported only when its engine is opened.

Another package brings an engine by an entry point in the group "edgeadapt.engines": its name, and a callable
that takes (bundle, settings) and returns an `Engine`. A name that is taken is refused, whoever took it; the
runtimes of the bundle format are always ours. Installed packages are looked through only for a name that is
not one of these, or for all names: the library for it takes 4 MB and 60 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt.registry import Registry
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines.base import Engine

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "edgeadapt.engines"
EngineMaker: TypeAlias = Callable[[Bundle, EngineSection], Engine]
_ENGINES: Registry[EngineMaker] = Registry("engine")


@_ENGINES.register("onnxruntime")
def _onnxruntime(bundle: Bundle, settings: EngineSection) -> Engine:
    from edgeadapt_device.io.engines.onnx import OnnxEngine

    return OnnxEngine(bundle, settings)


@_ENGINES.register("tflite")
def _tflite(bundle: Bundle, settings: EngineSection) -> Engine:
    from edgeadapt_device.io.engines.tflite import TfliteEngine

    return TfliteEngine(bundle, settings)


_EXTRAS = {"onnxruntime": "device", "tflite": "tflite"}


def engine_names() -> tuple[str, ...]:
    """All that can be asked for, sorted; whether the libraries are there shows when one is opened."""
    return _all().names()


def open_engine(bundle: Bundle, settings: EngineSection) -> Engine:
    """The engine that the configuration names.

    Raises:
        ConfigError: no such engine (lists the known ones), or its library is missing or does not load.
        BundleError: the bundle has no model for it.
    """
    known = _ENGINES if settings.runtime in _ENGINES else _all()
    make = known.get(settings.runtime)
    try:
        return make(bundle, settings)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("edgeadapt"):
            raise  # a defect of ours, not something to install
        extra = _EXTRAS.get(settings.runtime)
        fix = f"pip install 'edgeadapt[{extra}]'" if extra else f"install {error.name}"
        raise ConfigError(
            f"engine.runtime: {settings.runtime} needs package {error.name!r}, which is not installed: {fix}"
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"engine.runtime: the library of {settings.runtime} is installed but does not load "
            f"(is it for this processor, and for NumPy {np.__version__}?): {error}"
        ) from error


def _all() -> Registry[EngineMaker]:
    """The registered ones and those of installed packages, whose code is loaded when one is opened."""
    from importlib.metadata import entry_points

    known: Registry[EngineMaker] = Registry("engine")
    for name in _ENGINES:
        known.add(name, _ENGINES.get(name))
    for point in entry_points(group=GROUP):
        known.add(point.name, _load_later(point))
    return known


def _load_later(point: EntryPoint) -> EngineMaker:
    def make(bundle: Bundle, settings: EngineSection) -> Engine:
        loaded: EngineMaker = point.load()
        return loaded(bundle, settings)

    return make
