"""What a bundle's `manifest.json` says: the input, the slots, the norm layers and how to write them.

The manifest is the root of trust of a bundle: it holds the SHA-256 of every other file, and the
bundle's digest is the SHA-256 of the manifest's own bytes. Structs only; reading files is in
`bundle.folder`, writing values into an artifact is in `bundle.materialise`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FORMAT_VERSION = 1

SlotKind = Literal["norm_scale", "norm_bias", "norm_mean", "norm_var"]
NormKind = Literal["batch", "layer"]


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model takes: float32 NCHW in [0, 1]; any further normalisation is inside the graph."""

    channels: int
    height: int
    width: int
    name: str = "input"


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named tensor that a patch or the device's own statistics may change.

    `lower` and `upper` bound every element; a patch outside them is refused.
    """

    name: str
    kind: SlotKind
    layer: str
    shape: tuple[int, ...]
    lower: float
    upper: float
    dtype: Literal["float32"] = "float32"


class NormLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One normalisation layer, in graph order.

    The probe graph returns the moments of every layer's input end to end in one vector;
    this layer's channels are `[probe_offset : probe_offset + channels]` of it.
    `mean` and `var` are empty for layers that keep no statistics (LayerNorm).
    """

    name: str
    kind: NormKind
    channels: int
    epsilon: float
    probe_offset: int
    scale: str
    bias: str
    mean: str = ""
    var: str = ""


class WriteRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a slot's value lies in an artifact: `length` bytes at `offset`.

    `fold` says how the value becomes those bytes; "copy" is little-endian float32 as it is.
    """

    slot: str
    offset: int
    length: int
    fold: Literal["copy"] = "copy"


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model file for one runtime.

    `file` holds the fast graph (logits and embedding). Its bytes followed by those of `probe_suffix`
    are the probe graph, which also returns `probe_mean` and `probe_mean_square` [N, probe channels]:
    protobuf merges concatenated messages, so every offset in `recipes` holds for both graphs.
    """

    runtime: Literal["onnxruntime"]
    file: str
    probe_suffix: str
    recipes: tuple[WriteRecipe, ...]


class FileDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle and its SHA-256 in hex."""

    name: str
    sha256: str
    size_bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole description of a bundle."""

    name: str
    classes: tuple[str, ...]
    input: InputSpec
    embedding_dim: int
    slots: tuple[Slot, ...]
    norm_layers: tuple[NormLayer, ...]
    artifacts: tuple[Artifact, ...]
    files: tuple[FileDigest, ...]
    format: int = FORMAT_VERSION

    @property
    def probe_channels(self) -> int:
        """Length of the probe vectors: the channels of all norm layers together."""
        return sum(layer.channels for layer in self.norm_layers)

    @property
    def has_statistics(self) -> bool:
        """True when some layer keeps running statistics that a device may re-estimate."""
        return any(layer.mean for layer in self.norm_layers)


def encode_manifest(manifest: Manifest) -> bytes:
    """Serialise to the canonical bytes whose SHA-256 is the bundle's digest."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def decode_manifest(data: bytes) -> Manifest:
    """Parse `manifest.json`; raises msgspec.DecodeError (a ValueError) on any misfit."""
    return msgspec.json.decode(data, type=Manifest)
