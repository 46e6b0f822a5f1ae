"""Do an artifact's writes fit its file, the slots and the norm layers?

Regions lie inside the file; those that two writes share are the very same tensor, so that a write never
changes half of another's; every slot is covered by a write. What the writes compute is in `bundle.folds`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from edgeadapt.bundle.folds import border_mask
from edgeadapt.bundle.manifest import Artifact, Manifest, NormLayer, Slot
from edgeadapt.bundle.materialise import written_slots
from edgeadapt.bundle.writes import (
    Affine,
    ConvAdapter,
    Copy,
    FoldNorm,
    FoldNormInt8,
    HeadShift,
    LowRank,
    Prompt,
    Region,
    Write,
    layer_of,
    regions,
    slots_of,
)
from edgeadapt.errors import BundleError

_MANIFEST = "manifest.json"
# A second one of these would undo what the first has written, or be folded into it again.
_ONCE = (Copy, FoldNorm, Affine, FoldNormInt8)


def check_artifact(artifact: Artifact, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raises BundleError that names the artifact and the slot, layer or file that does not fit."""
    for file in filter(None, (artifact.file, artifact.probe_suffix)):
        if file not in files:
            raise BundleError(f"{_MANIFEST}: artifact {artifact.file} lists a file that is not there: {file}")
    layers = {layer.name: layer for layer in manifest.norm_layers}
    slots = {slot.name: slot for slot in manifest.slots}
    if len(artifact.measured) != len(layers):
        raise BundleError(f"{artifact.file}: measured names {len(artifact.measured)} of {len(layers)} layers")
    for layer, place in zip(manifest.norm_layers, artifact.measured, strict=True):
        if place == "output" and not layer.mean:
            raise BundleError(f"{artifact.file}: {layer.name} keeps no statistics: measure its input")
    for write in artifact.writes:
        _check_write(write, artifact, layers, slots, len(files[artifact.file]))
    _check_regions(artifact)
    missing = sorted(set(slots) - written_slots(artifact, manifest.norm_layers))
    if missing:
        raise BundleError(f"{artifact.file}: no write covers the slot {missing[0]!r}")


def title(write: Write) -> str:
    """The write in words."""
    named = layer_of(write) or " and ".join(slots_of(write))
    return f"the {type(write).__name__} of {named}"


def _check_write(
    write: Write,
    artifact: Artifact,
    layers: Mapping[str, NormLayer],
    slots: Mapping[str, Slot],
    size: int,
) -> None:
    where = f"{artifact.file}: {title(write)}"
    for region in regions(write):
        if region.offset < 0 or min(region.shape, default=1) < 1 or region.end > size:
            raise BundleError(f"{where} points outside the file")
        if region.dtype != "float32" and not isinstance(write, FoldNormInt8):
            raise BundleError(f"{where} names a tensor of {region.dtype}, expected float32")
    for name in slots_of(write):
        if name not in slots:
            raise BundleError(f"{where}: there is no such slot")
    if isinstance(write, FoldNorm | Affine | FoldNormInt8):
        layer = layers.get(write.layer)
        if layer is None or not layer.mean:
            raise BundleError(f"{where}: there is no such layer with statistics")
        _check_layer(write, layer, where)
    elif not _fits(write, slots):
        shapes = ", ".join(str(slots[name].shape) for name in slots_of(write))
        regions_text = ", ".join(str(region.shape) for region in regions(write))
        raise BundleError(f"{where}: a slot of shape {shapes} does not fit the tensors {regions_text}")


def _check_layer(write: FoldNorm | Affine | FoldNormInt8, layer: NormLayer, where: str) -> None:
    vectors: tuple[Region, ...]
    if isinstance(write, FoldNorm):
        vectors = (write.bias,)
        shape = write.weight.shape
        if not 0 <= write.axis < len(shape) or shape[write.axis] != layer.channels:
            raise BundleError(f"{where}: axis {write.axis} of {shape} is not {layer.channels} long")
    elif isinstance(write, Affine):
        vectors = write.scale, write.shift
    else:
        extra = () if write.bias_scale is None else (write.bias_scale,)
        vectors = (write.weight_scale, write.bias, *extra)
        if write.bias.dtype != "int32" or not 0 < write.input_scale < math.inf:
            raise BundleError(f"{where}: expected an int32 bias and an input scale above 0")
        if any(region.dtype != "float32" for region in (write.weight_scale, *extra)):
            raise BundleError(f"{where}: expected float32 scales")
        if not (write.low is None or write.low <= 0) or not (write.high is None or write.high >= 0):
            raise BundleError(f"{where}: low and high: expected 0 between them")
        if any(not 0 <= channel < layer.channels for channel in write.negative):
            raise BundleError(f"{where}: negative names a channel that is not there")
    for region in vectors:
        if region.size != layer.channels:
            raise BundleError(f"{where}: a tensor of {region.size} values for {layer.channels} channels")


def _fits(write: Copy | ConvAdapter | LowRank | HeadShift | Prompt, slots: Mapping[str, Slot]) -> bool:
    shape = slots[slots_of(write)[0]].shape
    if isinstance(write, Copy):
        return write.at.shape == shape[::-1] if write.transposed else write.at.size == math.prod(shape)
    if isinstance(write, Prompt):
        return _prompt_fits(write, shape)
    weight = write.weight.shape
    if isinstance(write, ConvAdapter):
        kept = tuple(n for axis, n in enumerate(weight) if axis not in write.spatial_axes)
        odd = all(weight[axis] % 2 for axis in write.spatial_axes if axis < len(weight))
        return odd and (kept[::-1] if write.transposed else kept) == shape
    if len(weight) != 2:
        return False
    outputs, inputs = weight[::-1] if write.transposed else weight
    if isinstance(write, LowRank):
        up = slots[write.up].shape
        return len(shape) == len(up) == 2 and shape == (up[1], inputs) and up[0] == outputs
    return shape == (inputs,) and write.bias.size == outputs


def _prompt_fits(write: Prompt, shape: tuple[int, ...]) -> bool:
    at = write.at.shape
    if len(at) != 3:
        return False
    channels, height, width = at if write.layout == "NCHW" else (at[2], at[0], at[1])
    if len(write.gain) != channels or shape[0] != channels:
        return False
    if write.form == "full":
        return shape == (channels, height, width)
    if write.form == "low":
        return len(shape) == 3
    if not 1 <= 2 * write.border <= min(height, width):
        return False
    return shape == (channels, int(border_mask(height, width, write.border).sum()))


def _check_regions(artifact: Artifact) -> None:
    found = [(region, write) for write in artifact.writes for region in regions(write)]
    found.sort(key=lambda pair: (pair[0].offset, pair[0].end))
    for (first, earlier), (second, later) in itertools.pairwise(found):
        same = (first.offset, first.end) == (second.offset, second.end)
        if second.offset < first.end and not same:
            raise BundleError(f"{artifact.file}: {title(later)} overlaps {title(earlier)}")
    held: dict[tuple[int, type[Write]], Write] = {}
    for region, write in found:
        if isinstance(write, _ONCE) and held.setdefault((region.offset, type(write)), write) is not write:
            other = title(held[region.offset, type(write)])
            raise BundleError(f"{artifact.file}: {title(write)} overlaps {other}")
