"""Is the bundle whole, does its model run here, and does it say logits?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgeadapt.bundle import Bundle, Calibration, read_folder
from edgeadapt.bundle.manifest import InputSpec
from edgeadapt.errors import BundleError
from edgeadapt_device.config import DeviceConfig, EngineSection
from edgeadapt_device.core.outputs import doubt
from edgeadapt_device.doctor.finding import Finding, failed, ok, warning
from edgeadapt_device.io.engines import Frames, open_engine

_FRAMES = 8


def read(config: DeviceConfig, found: list[Bundle]) -> Iterator[Finding]:
    """Read the bundle, with every digest; a whole one is put into `found`."""
    try:
        bundle = read_folder(Path(config.device.bundle))
    except BundleError as error:
        yield failed(
            "bundle", str(error), "install the bundle again, all of its files, and set device.bundle"
        )
        return
    found.append(bundle)
    manifest = bundle.manifest
    models = ", ".join(artifact.title for artifact in manifest.artifacts)
    yield ok(
        "bundle",
        f"{manifest.name} {bundle.digest[:12]} is whole: {len(manifest.classes)} classes, models: {models}",
    )
    yield from _signatures(bundle.calibration)


def _signatures(calibration: Calibration) -> Iterator[Finding]:
    """What bundles lack that were made by an earlier release: the device works, and sees less."""
    lacks = [] if calibration.knows_classes else ["signatures of its classes"]
    if not calibration.signature_whitening.size:
        lacks.append("whitening")
    if lacks:
        yield warning(
            "signatures",
            f"the bundle has no {' and no '.join(lacks)}: only drift of more than "
            f"{float(calibration.drift_tolerance[0]):.1f} source deviations is told from frames of one class",
            "compile the model again with this release, and install the new bundle",
        )


def look(bundle: Bundle, settings: EngineSection) -> Iterator[Finding]:
    """Build a session as the device would, and run it."""
    engine = open_engine(bundle, settings)
    started_s = time.perf_counter()
    try:
        session = engine.build({})
    except BundleError as error:
        yield failed("model", str(error), "compile the model again, or for another runtime (engine.runtime)")
        return
    built_s = time.perf_counter() - started_s
    frames = _noise(bundle.manifest.input)
    started_s = time.perf_counter()
    scores = session.run(frames[:1], probe=False)
    frame_ms = 1000.0 * (time.perf_counter() - started_s)
    report = engine.report
    text = f"{report.runtime}, {report.precision}, on {report.device}: built in {built_s:.2f} s"
    text += f", a frame takes {frame_ms:.1f} ms"
    if report.refused:
        yield warning(
            "model", f"{text}; {'; '.join(report.refused)}", "mend that, or take it out of engine.providers"
        )
    else:
        yield ok("model", text)
    rest = session.run(frames[1:], probe=True)
    yield _outputs(np.concatenate([scores.logits, rest.logits]))


def _outputs(logits: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Finding:
    trouble = doubt(logits, differ=True)
    if trouble:
        return failed("outputs", trouble, "compile the model without its last activation, from whole weights")
    low, high = float(logits.min()), float(logits.max())
    return ok("outputs", f"logits from {low:.1f} to {high:.1f} on frames of noise")


def _noise(spec: InputSpec) -> Frames:
    """Frames that differ: darker and brighter noise."""
    rng = np.random.default_rng(0)
    level = np.linspace(0.1, 1.0, _FRAMES).reshape(-1, *(1,) * len(spec.frame_shape))
    if spec.kind == "image":
        return (rng.integers(0, 256, (_FRAMES, *spec.frame_shape)) * level).astype(np.uint8)
    return (rng.standard_normal((_FRAMES, *spec.frame_shape)) * level).astype(np.float32)
