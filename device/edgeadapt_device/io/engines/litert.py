"""The LiteRT interpreter under either of its names: `ai_edge_litert`, and `tflite_runtime` of old."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any

MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


@dataclass(frozen=True, slots=True)
class Library:
    """What was found.

    Attributes:
        interpreter: the class `Interpreter`.
        title: package and version.
    """

    interpreter: Any
    title: str


def find_library() -> Library:
    """Import the newer name, or else the older; raises ModuleNotFoundError when there is neither.

    A package that is there but does not load (a library for another processor) raises ImportError as it is.
    """
    for name in MODULES:
        package = name.partition(".")[0]
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (package, name):
                raise
            continue
        return Library(module.Interpreter, f"{package} {_version(package)}".rstrip())
    raise ModuleNotFoundError("there is no LiteRT", name="ai_edge_litert")


def _version(package: str) -> str:
    # From the package itself where it says so: the library that asks installers takes 4 MB.
    module = sys.modules[package]
    if found := getattr(module, "__version__", ""):
        return str(found)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package.replace("_", "-"))
    except PackageNotFoundError:
        return ""
