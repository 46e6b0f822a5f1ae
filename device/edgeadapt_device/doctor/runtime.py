"""Is the runtime there that the configuration names, in which version, and what can it compute with?"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from edgeadapt_device.config import EngineSection
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.io.engines import engine_names

# Engine to the distributions that may bring it, and the extra that installs one.
_PACKAGES = {
    "onnxruntime": (("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"), "device"),
    "tflite": (("ai-edge-litert", "tflite-runtime"), "tflite"),
}


def look(engine: EngineSection) -> Iterator[Finding]:
    """The configured runtime, and which others are installed."""
    if engine.runtime not in engine_names():
        known = ", ".join(engine_names())
        yield failed(
            "runtime", f"there is no engine {engine.runtime!r}", f"set engine.runtime to one of {known}"
        )
        return
    versions = {name: _version(names) for name, (names, _) in _PACKAGES.items()}
    others = ", ".join(text for name, text in versions.items() if text and name != engine.runtime)
    also = f"; also installed: {others}" if others else ""
    if engine.runtime not in _PACKAGES:
        yield ok("runtime", f"{engine.runtime}, from an installed package{also}")
        return
    version = versions[engine.runtime]
    if not version:
        extra = _PACKAGES[engine.runtime][1]
        yield failed(
            "runtime", f"{engine.runtime} is not installed{also}", f"pip install 'edgeadapt[{extra}]'"
        )
        return
    yield ok("runtime", f"{version}{also}")
    if engine.runtime == "onnxruntime":
        yield from _providers(engine)


def _version(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return ""


def _providers(engine: EngineSection) -> Iterator[Finding]:
    import onnxruntime

    from edgeadapt_device.io.engines.providers import CPU, full_names

    there = onnxruntime.get_available_providers()
    wanted = full_names(engine.providers) or (CPU,)
    missing = [name for name in wanted if name not in there]
    text = f"wanted {', '.join(wanted)}; this build has {', '.join(there)}"
    if missing:
        yield warning(
            "providers",
            text,
            f"install a build of ONNX Runtime with {missing[0]}, or take it out of engine.providers: "
            "until then the next one, or the CPU, computes",
        )
    else:
        yield ok("providers", text)
