"""What is LiteRT's own: the names of its package, both graphs in one file, integer tensors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt_device.config import EngineSection
from edgeadapt_device.io.engines import open_engine
from edgeadapt_device.io.engines.litert import find_library
from edgeadapt_device.io.engines.tflite import TfliteEngine
from edgeadapt_models.compile import tiny_images


def forget(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make a package one that is not installed, and its old name one that was not imported yet."""
    for name in ("tflite_runtime", "tflite_runtime.interpreter"):
        sys.modules.pop(name, None)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.interpreter", raising=False)


def old_name(folder: Path) -> None:
    """`tflite_runtime` with the interpreter of today, which has the same interface."""
    package = folder / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text("from ai_edge_litert_kept import Interpreter\n")


def test_the_new_name_comes_first() -> None:
    library = find_library()
    assert library.interpreter.__module__ == "ai_edge_litert.interpreter"
    assert library.title.startswith("ai_edge_litert 2.")


def test_the_old_name_is_found_where_only_that_is_installed(
    both: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ai_edge_litert.interpreter as real

    monkeypatch.setitem(sys.modules, "ai_edge_litert_kept", real)
    old_name(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget(monkeypatch, "ai_edge_litert")
    try:
        assert find_library().title == "tflite_runtime"
        engine = TfliteEngine(both)
        scores = engine.build({}).run(tiny_images(2)[0], probe=True)
    finally:
        for name in ("tflite_runtime", "tflite_runtime.interpreter"):
            sys.modules.pop(name, None)
    assert scores.logits.shape == (2, 10)
    assert engine.report.runtime == "tflite_runtime"


def test_a_package_that_is_there_but_does_not_load_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text("import a_part_that_is_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget(monkeypatch, "ai_edge_litert")
    with pytest.raises(ModuleNotFoundError, match="a_part_that_is_missing"):
        find_library()


def test_a_library_that_does_not_load_is_said_to_be_there(
    both: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text("raise ImportError('wrong ELF class: ELFCLASS32')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget(monkeypatch, "ai_edge_litert")
    with pytest.raises(ConfigError, match=r"tflite is installed but does not load \(.*\): wrong ELF class"):
        open_engine(both, EngineSection(runtime="tflite"))


def test_a_library_for_another_numpy_is_said_with_the_way_out(
    both: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tflite_runtime` 2.14 with NumPy 2 opens no model, in these words."""
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '2.14.0'\n")
    (package / "interpreter.py").write_text(
        "class Interpreter:\n"
        "    def __init__(self, **_):\n"
        "        raise SystemError('<built-in method> returned a result with an exception set')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    forget(monkeypatch, "ai_edge_litert")
    try:
        engine = open_engine(both, EngineSection(runtime="tflite"))
        with pytest.raises(
            ConfigError, match=r"tflite_runtime 2\.14\.0 does not work with NumPy .*'numpy<2'"
        ):
            engine.build({})
    finally:
        for name in ("tflite_runtime", "tflite_runtime.interpreter"):
            sys.modules.pop(name, None)


def test_providers_are_not_its_own_and_that_is_said(both: Bundle) -> None:
    engine = TfliteEngine(both, EngineSection(runtime="tflite", providers=("CUDA", "cpu")))
    assert engine.report.refused == ("CUDA does not run: execution providers are ONNX Runtime's",)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_probe_and_the_fast_graph_take_turns(both: Bundle, threads: int) -> None:
    session = TfliteEngine(both, EngineSection(runtime="tflite", precision="float32", threads=threads)).build(
        {}
    )
    images = tiny_images(3, seed=8)[0]
    plain = [session.run(image[None], probe=False).logits for image in images]
    for image, wanted in zip(images, plain, strict=True):
        np.testing.assert_allclose(session.run(image[None], probe=True).logits, wanted, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(session.run(image[None], probe=False).logits, wanted)
