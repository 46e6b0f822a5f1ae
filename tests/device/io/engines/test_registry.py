"""Engines by name, from this package and from others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import engine_names, open_engine

_PLUGIN = """
from edgeadapt_device.io.engines.onnx import OnnxEngine

class Mine(OnnxEngine):
    pass
"""


def install(folder: Path, name: str, target: str) -> None:
    """A package with an entry point, as an installer leaves it."""
    (folder / "plugin_engine.py").write_text(_PLUGIN)
    info = folder / "plugin_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edgeadapt.engines]\n{name} = {target}\n")


def test_the_runtimes_of_the_bundle_format_are_there() -> None:
    assert {"onnxruntime", "tflite"} <= set(engine_names())


def test_an_unknown_engine_is_answered_with_the_known_ones(tiny: Bundle) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'caffe'; known: onnxruntime, tflite"):
        open_engine(tiny, EngineSection(runtime="caffe"))


def test_another_package_brings_an_engine(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "mine", "plugin_engine:Mine")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "mine" in engine_names()
    assert "plugin_engine" not in sys.modules
    engine = open_engine(tiny, EngineSection(runtime="mine"))
    assert type(engine).__name__ == "Mine"
    engine.build({})


def test_a_name_that_is_taken_is_refused_and_ours_stays(
    both: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "tflite", "plugin_engine:Mine")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="engine 'tflite' is registered twice"):
        engine_names()
    with pytest.raises(ConfigError, match="engine 'tflite' is registered twice"):
        open_engine(both, EngineSection(runtime="other"))
    assert type(open_engine(both, EngineSection(runtime="tflite"))).__name__ == "TfliteEngine"


def test_a_missing_library_is_named_with_the_way_to_install_it(
    both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"'ai_edge_litert', which is not installed: .*edgeadapt\[tflite\]"):
        open_engine(both, EngineSection(runtime="tflite"))


def test_a_plug_in_that_misses_a_package_says_which(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "other", "no_such_package:Mine")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"other needs package .no_such_package.\W.*install no_such_package"
    ):
        open_engine(tiny, EngineSection(runtime="other"))
