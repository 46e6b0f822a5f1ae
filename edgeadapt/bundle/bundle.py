"""A bundle in memory: checked, immutable, content-addressed.

`Bundle.from_files` takes bytes and either returns a bundle whose every digest was verified or
raises. Nothing here touches a disk; see `bundle.folder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.bundle.fit import MAX_SLOT_BYTES, check_fit
from edgeadapt.bundle.inversion import MomentInversion
from edgeadapt.bundle.manifest import FORMAT_VERSION, Artifact, FileDigest, Manifest, Slot, decode_manifest
from edgeadapt.bundle.materialise import SlotValues, base_values, materialise
from edgeadapt.digest import sha256_hex
from edgeadapt.errors import BundleError, WireError
from edgeadapt.tensors import decode_tensors

MANIFEST_NAME = "manifest.json"
CALIBRATION_NAME = "calibration.safetensors"
SLOTS_NAME = "slots.safetensors"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a device installs.

    Attributes:
        digest: SHA-256 (hex) of the manifest's bytes, which hold the digests of all other files.
        manifest: the parsed manifest.
        files: every file but the manifest and the slots, verified.
        calibration: the parsed `calibration.safetensors`.
        slots: base value of every slot, from `slots.safetensors`.
    """

    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]
    calibration: Calibration
    slots: SlotValues

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> Bundle:
        """Verify and parse.

        Args:
            files: name to bytes, `manifest.json` among them; files it does not list are ignored.

        Raises:
            BundleError: names the file that is missing, changed or malformed, or the field that does not fit.
        """
        raw = files.get(MANIFEST_NAME)
        if raw is None:
            raise BundleError(f"{MANIFEST_NAME} is missing: this is not a bundle")
        try:
            manifest = decode_manifest(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BundleError(f"{MANIFEST_NAME}: {error}") from error
        if manifest.format != FORMAT_VERSION:
            raise BundleError(
                f"{MANIFEST_NAME}: format {manifest.format}, this release reads {FORMAT_VERSION}"
            )
        verified = {entry.name: _verified(files, entry) for entry in manifest.files}
        for name in (CALIBRATION_NAME, SLOTS_NAME):
            if name not in verified:
                raise BundleError(f"{MANIFEST_NAME} lists no {name}")
        calibration = Calibration.decode(verified[CALIBRATION_NAME])
        stored = _stored_slots(verified.pop(SLOTS_NAME))
        check_fit(manifest, verified, calibration, stored)
        return Bundle(sha256_hex(raw), manifest, verified, calibration, base_values(manifest.slots, stored))

    def slot(self, name: str) -> Slot | None:
        """The slot of that name, or None."""
        return next((slot for slot in self.manifest.slots if slot.name == name), None)

    def artifact(self, runtime: str, precision: str = "float32") -> Artifact:
        """The artifact for a runtime and precision; raises BundleError that lists those there are.

        "auto" is int8 where the bundle has it, as whoever compiled it wanted it, and else float32.
        """
        if precision == "auto":
            titles = {(entry.runtime, entry.precision) for entry in self.manifest.artifacts}
            precision = "int8" if (runtime, "int8") in titles else "float32"
        for artifact in self.manifest.artifacts:
            if (artifact.runtime, artifact.precision) == (runtime, precision):
                return artifact
        known = ", ".join(artifact.title for artifact in self.manifest.artifacts) or "none"
        raise BundleError(
            f"bundle {self.manifest.name} has no artifact for {runtime} {precision}; it has: {known}"
        )

    def base_slots(self) -> dict[str, npt.NDArray[np.float32]]:
        """The base value of every slot, in the slot's shape; yours to change."""
        return {name: value.copy() for name, value in self.slots.items()}

    def fast_model(self, artifact: Artifact, values: SlotValues) -> bytes:
        """Model bytes that return logits and embedding, with `values` written over the base."""
        data = self.files[artifact.file]
        return materialise(data, artifact, self.manifest.norm_layers, values, self.slots)

    def probe_model(self, artifact: Artifact, values: SlotValues) -> bytes:
        """Model bytes that also return the moments of the norm layers, as `artifact.measured` says."""
        suffix = self.files[artifact.probe_suffix] if artifact.probe_suffix else b""
        return self.fast_model(artifact, values) + suffix

    def inversion(self, artifact: Artifact, values: SlotValues) -> MomentInversion:
        """What turns the probe's moments into those of the layers' inputs, in a session with `values`."""
        layers = self.manifest.norm_layers
        return MomentInversion(artifact, layers, self.calibration, {**self.slots, **values})


def _stored_slots(data: bytes) -> dict[str, npt.NDArray[np.float32]]:
    try:
        return decode_tensors(data, max_bytes=MAX_SLOT_BYTES)
    except WireError as error:
        raise BundleError(f"{SLOTS_NAME}: {error}") from error


def _verified(files: Mapping[str, bytes], entry: FileDigest) -> bytes:
    data = files.get(entry.name)
    if data is None:
        raise BundleError(f"{entry.name} is missing from the bundle")
    if sha256_hex(data) != entry.sha256:
        raise BundleError(
            f"{entry.name} does not have the digest in {MANIFEST_NAME}: it was edited, truncated or swapped"
        )
    if len(data) != entry.size_bytes:
        raise BundleError(f"{entry.name} has {len(data)} bytes, {MANIFEST_NAME} says {entry.size_bytes}")
    return data
