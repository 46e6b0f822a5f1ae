"""Bundles: what a device installs, and how slot values are written into a model."""

from edgeadapt.bundle.bundle import CALIBRATION_NAME, MANIFEST_NAME, SLOTS_NAME, Bundle
from edgeadapt.bundle.calibration import Calibration
from edgeadapt.bundle.folder import read_folder
from edgeadapt.bundle.inversion import MomentInversion
from edgeadapt.bundle.manifest import (
    Artifact,
    FileDigest,
    InputSpec,
    Manifest,
    NormLayer,
    Slot,
    decode_manifest,
    encode_manifest,
)
from edgeadapt.bundle.materialise import SlotValues, materialise
from edgeadapt.bundle.writes import Copy, Region, Write

__all__ = [
    "CALIBRATION_NAME",
    "MANIFEST_NAME",
    "SLOTS_NAME",
    "Artifact",
    "Bundle",
    "Calibration",
    "Copy",
    "FileDigest",
    "InputSpec",
    "Manifest",
    "MomentInversion",
    "NormLayer",
    "Region",
    "Slot",
    "SlotValues",
    "Write",
    "decode_manifest",
    "encode_manifest",
    "materialise",
    "read_folder",
]
