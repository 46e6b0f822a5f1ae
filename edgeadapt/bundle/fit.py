"""Do the parts of a bundle fit together? Every digest may be right and the bundle still nonsense.

A bundle that passes can be written into, probed, and compared with without another check: shapes of
slots, recipes, layers and calibration agree. Whether the model runs is the engine's business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edgeadapt.bundle.calibration import Calibration
from edgeadapt.bundle.fit_writes import check_artifact
from edgeadapt.bundle.manifest import Manifest, NormLayer, Slot
from edgeadapt.bundle.materialise import SlotValues
from edgeadapt.errors import BundleError

_MANIFEST = "manifest.json"
_CALIBRATION = "calibration.safetensors"
_SLOTS = "slots.safetensors"
#: What the base values of all slots may take together, stored or zero.
MAX_SLOT_BYTES = 256 << 20
_ZERO = np.zeros(1, np.float32)
# As many as a kernel can have, with room; numpy ends at 32 or 64.
_MAX_AXES = 8


def check_fit(
    manifest: Manifest, files: Mapping[str, bytes], calibration: Calibration, stored: SlotValues
) -> None:
    """Raises BundleError that names the file and the field that does not fit."""
    _check_manifest(manifest)
    _check_layers(manifest)
    _check_calibration(manifest, calibration)
    _check_stored(manifest, stored)
    if not manifest.artifacts:
        raise BundleError(f"{_MANIFEST}: artifacts is empty: there is no model")
    _check_unique("artifacts", (artifact.title for artifact in manifest.artifacts))
    for artifact in manifest.artifacts:
        check_artifact(artifact, manifest, files)


def _check_manifest(manifest: Manifest) -> None:
    spec = manifest.input
    if not 1 <= len(spec.shape) <= 3 or min(spec.shape) < 1:
        raise BundleError(f"{_MANIFEST}: input: expected one to three axes of 1 or more, got {spec.shape}")
    if spec.kind == "image" and len(spec.shape) != 3:
        raise BundleError(f"{_MANIFEST}: input: an image has (C, H, W), got {spec.shape}")
    if not manifest.classes or manifest.embedding_dim < 1:
        raise BundleError(f"{_MANIFEST}: classes and embedding_dim: expected 1 or more")
    if not manifest.norm_layers:
        raise BundleError(f"{_MANIFEST}: norm_layers is empty: nothing can be measured or adapted")
    _check_slots(manifest.slots)


def _check_slots(slots: Sequence[Slot]) -> None:
    _check_unique("slots", (slot.name for slot in slots))
    size = 0
    for slot in slots:
        where = f"{_MANIFEST}: slot {slot.name}"
        if not slot.name:
            raise BundleError(f"{_MANIFEST}: slots: a slot has no name")
        if not slot.shape or min(slot.shape) < 1:
            raise BundleError(f"{where}: shape {slot.shape} holds no value")
        size += 4 * math.prod(slot.shape)
        if len(slot.shape) > _MAX_AXES or size > MAX_SLOT_BYTES:
            raise BundleError(
                f"{where}: shape {slot.shape}: at most {_MAX_AXES} axes, "
                f"and {MAX_SLOT_BYTES} bytes for all slots together"
            )
        if not slot.lower <= slot.upper:
            raise BundleError(f"{where}: lower {slot.lower} is above upper {slot.upper}")


def _check_layers(manifest: Manifest) -> None:
    slots = {slot.name: slot for slot in manifest.slots}
    _check_unique("norm_layers", (layer.name for layer in manifest.norm_layers))
    offset = 0
    for layer in manifest.norm_layers:
        where = f"{_MANIFEST}: norm layer {layer.name}"
        if layer.channels < 1 or not layer.epsilon >= 0:
            raise BundleError(f"{where}: channels and epsilon: expected 1 or more, and 0 or more")
        if layer.probe_offset != offset:
            raise BundleError(
                f"{where}: probe_offset {layer.probe_offset}, the layers before it end at {offset}"
            )
        offset += layer.channels
        if bool(layer.mean) != bool(layer.var):
            raise BundleError(f"{where}: mean and var: expected both or neither")
        _check_layer_slots(layer, slots, where)
    if manifest.signature_offset not in (0, offset):
        raise BundleError(
            f"{_MANIFEST}: signature_offset {manifest.signature_offset}, "
            f"expected 0 or the layers' end {offset}"
        )


def _check_layer_slots(layer: NormLayer, slots: Mapping[str, Slot], where: str) -> None:
    for field in ("scale", "bias", "mean", "var"):
        name = getattr(layer, field)
        if not name and field in ("mean", "var"):
            continue
        slot = slots.get(name)
        if slot is None:
            raise BundleError(f"{where}: {field}: there is no slot {name!r}")
        if slot.kind != f"norm_{field}" or math.prod(slot.shape) != layer.channels:
            raise BundleError(
                f"{where}: {field}: slot {name!r} is a {slot.kind} of shape {slot.shape}, "
                f"expected a norm_{field} of {layer.channels} values"
            )


def _check_calibration(manifest: Manifest, calibration: Calibration) -> None:
    probe = manifest.probe_channels
    features = 2 * manifest.norm_layers[0].channels
    wanted = {
        "norm_mean": (probe,),
        "norm_var": (probe,),
        "signature_mean": (features,),
        "signature_std": (features,),
        "class_signatures": (len(manifest.classes), features),
        "prototypes": (len(manifest.classes), manifest.embedding_dim),
        "drift_tolerance": (1,),
    }
    for field, shape in wanted.items():
        found = getattr(calibration, field).shape
        if found != shape:
            raise BundleError(f"{_CALIBRATION}: {field} has shape {found}, the manifest asks for {shape}")
    if calibration.entropy_quantiles.ndim != 1 or not calibration.entropy_quantiles.size:
        raise BundleError(f"{_CALIBRATION}: entropy_quantiles: expected one row of quantiles")
    _check_whitening(features, calibration.signature_whitening.shape)
    for field in ("norm_var", "signature_std", "entropy_quantiles", "drift_tolerance"):
        if (getattr(calibration, field) < 0).any():
            raise BundleError(f"{_CALIBRATION}: {field} holds a negative value")


def _check_whitening(features: int, found: tuple[int, ...]) -> None:
    """Blocks of whole channels, each with two features; or none at all."""
    if math.prod(found) == 0:
        return
    blocks = found[0]
    size = features // blocks
    if found != (blocks, size, size) or features != blocks * size or size % 2:
        raise BundleError(
            f"{_CALIBRATION}: signature_whitening has shape {found}, expected blocks of an even number of "
            f"features that make {features} together"
        )


def _check_stored(manifest: Manifest, stored: SlotValues) -> None:
    slots = {slot.name: slot for slot in manifest.slots}
    for name, value in stored.items():
        slot = slots.get(name)
        if slot is None:
            raise BundleError(f"{_SLOTS}: there is no slot {name!r} in {_MANIFEST}")
        if value.dtype != np.float32 or value.shape != slot.shape or not np.isfinite(value).all():
            raise BundleError(
                f"{_SLOTS}: {name} must be finite float32 of shape {slot.shape}, "
                f"got {value.dtype} {value.shape}"
            )
    for slot in manifest.slots:
        value = stored.get(slot.name, _ZERO)
        if not (slot.lower <= float(value.min()) and float(value.max()) <= slot.upper):
            raise BundleError(f"{_SLOTS}: {slot.name} leaves its own bounds [{slot.lower}, {slot.upper}]")
    for layer in manifest.norm_layers:
        if layer.var and not stored.get(layer.var, _ZERO).min() + layer.epsilon > 0:
            raise BundleError(
                f"{_SLOTS}: {layer.var}: a variance that is not above 0, even with the layer's epsilon"
            )


def _check_unique(field: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BundleError(f"{_MANIFEST}: {field}: {name!r} is there twice")
        seen.add(name)
