"""A bundle in memory, small enough to reason about: one BatchNorm of two channels, no runtime needed."""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle import (
    CALIBRATION_NAME,
    MANIFEST_NAME,
    SLOTS_NAME,
    Artifact,
    Bundle,
    Calibration,
    Copy,
    FileDigest,
    InputSpec,
    Manifest,
    NormLayer,
    Region,
    Slot,
    encode_manifest,
)
from edgeadapt.digest import sha256_hex
from edgeadapt.tensors import encode_tensors

SLOT_KINDS = {"bn.weight": "norm_scale", "bn.bias": "norm_bias", "bn.mean": "norm_mean", "bn.var": "norm_var"}


def calibration() -> Calibration:
    """Two probe channels, four signature features, three classes."""
    return Calibration(
        norm_mean=np.array([1.0, -1.0], np.float32),
        norm_var=np.array([4.0, 0.25], np.float32),
        signature_mean=np.zeros(4, np.float32),
        signature_std=np.array([1.0, 2.0, 0.5, 1.0], np.float32),
        class_signatures=np.zeros((3, 4), np.float32),
        prototypes=np.eye(3, 5, dtype=np.float32),
        entropy_quantiles=np.linspace(0, 1, 65, dtype=np.float32),
    )


def files() -> dict[str, bytes]:
    """The files of a bundle whose 'model' is a header of 3 bytes followed by four slots of two floats."""
    values = np.array([1, 1, 0, 0, 1, -1, 4, 0.25], "<f4")
    model = b"HDR" + values.tobytes() + b"TAIL"
    names = list(SLOT_KINDS)
    slots = dict(zip(names, values.astype(np.float32).reshape(4, 2), strict=True))
    content = {
        "model.onnx": model,
        "probe.bin": b"PROBE",
        CALIBRATION_NAME: calibration().encode(),
        SLOTS_NAME: encode_tensors(slots),
    }
    manifest = Manifest(
        name="toy",
        classes=("a", "b", "c"),
        input=InputSpec((1, 8, 8)),
        embedding_dim=5,
        slots=tuple(
            Slot(name, kind, "bn", (2,), 0.0 if kind == "norm_var" else -10.0, 10.0)  # type: ignore[arg-type]
            for name, kind in SLOT_KINDS.items()
        ),
        norm_layers=(NormLayer("bn", "batch", 2, 1e-5, 0, *names),),
        artifacts=(
            Artifact(
                "onnxruntime",
                "model.onnx",
                "probe.bin",
                tuple(Copy(name, Region(3 + 8 * i, (2,))) for i, name in enumerate(names)),
                ("input",),
            ),
        ),
        files=tuple(FileDigest(name, sha256_hex(data), len(data)) for name, data in content.items()),
    )
    return {MANIFEST_NAME: encode_manifest(manifest), **content}


def bundle() -> Bundle:
    """The bundle of `files`."""
    return Bundle.from_files(files())
