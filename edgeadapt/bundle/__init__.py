"""Bundles: what a device installs, and how slot values are written into a model."""

from edgeadapt.bundle.bundle import CALIBRATION_NAME, MANIFEST_NAME, Bundle
from edgeadapt.bundle.calibration import Calibration
from edgeadapt.bundle.folder import read_folder
from edgeadapt.bundle.manifest import (
    Artifact,
    FileDigest,
    InputSpec,
    Manifest,
    NormLayer,
    Slot,
    WriteRecipe,
    decode_manifest,
    encode_manifest,
)
from edgeadapt.bundle.materialise import SlotValues, materialise, read_slots

__all__ = [
    "CALIBRATION_NAME",
    "MANIFEST_NAME",
    "Artifact",
    "Bundle",
    "Calibration",
    "FileDigest",
    "InputSpec",
    "Manifest",
    "NormLayer",
    "Slot",
    "SlotValues",
    "WriteRecipe",
    "decode_manifest",
    "encode_manifest",
    "materialise",
    "read_folder",
    "read_slots",
]
