"""What a bundle's `manifest.json` says: the input, the slots, the norm layers and the model files.

The manifest is the root of trust of a bundle: it holds the SHA-256 of every other file, and the
bundle's digest is the SHA-256 of the manifest's own bytes. Structs only; reading files is in
`bundle.folder`, how values get into an artifact is in `bundle.writes` and `bundle.materialise`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeadapt.bundle.writes import Write

FORMAT_VERSION = 2

SlotKind = Literal[
    "norm_scale",
    "norm_bias",
    "norm_mean",
    "norm_var",
    "head_weight",
    "head_bias",
    "embedding_shift",
    "input_prompt",
    "conv_adapter",
    "low_rank_down",
    "low_rank_up",
    "extra",
]
NormKind = Literal["batch", "layer", "group", "instance", "channel"]
Precision = Literal["float32", "int8"]
Runtime = Literal["onnxruntime", "tflite"]


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model takes, without the batch axis.

    An image model gets uint8 frames [H, W, C] and sees them as float32 in [0, 1]; `shape` is (C, H, W), in
    whatever order an artifact wants its axes. Any further normalisation is inside the graph. An array model
    (sensor series, spectrograms) gets float32 frames of `shape` as they are.
    """

    shape: tuple[int, ...]
    kind: Literal["image", "array"] = "image"
    name: str = "input"

    @property
    def channels(self) -> int:
        """First axis."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Second of three axes; 1 for a series."""
        return self.shape[1] if len(self.shape) > 2 else 1

    @property
    def width(self) -> int:
        """Last of two or three axes, else 1."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame as a source gives it: (H, W, C) for images."""
        return (self.height, self.width, self.channels) if self.kind == "image" else self.shape

    @property
    def frame_dtype(self) -> str:
        """NumPy name of a frame's type."""
        return "uint8" if self.kind == "image" else "float32"


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named tensor that a patch or the device's own statistics may change.

    `lower` and `upper` bound every element; a patch outside them is refused. The base value is in
    `slots.safetensors`, or zero where it is not there. `layer` is a norm layer, or where the slot acts.
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

    The probe graph returns the moments of every layer's input end to end in one vector of P values;
    this layer's channels are `[probe_offset : probe_offset + channels]` of it.
    `mean` and `var` are empty for layers that keep no statistics (LayerNorm, GroupNorm, InstanceNorm).

    A "channel" layer is a convolution or matrix whose norm layer was folded away before it came here. It has
    virtual statistics: (y - mean) / sqrt(var + epsilon) * scale + bias over its output y, with the source's
    moments as mean and var, scale = sqrt(var + epsilon) and bias = mean, so that the base changes nothing.
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


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model file for one runtime and precision.

    ONNX: `file` holds the fast graph (logits and embedding). Its bytes followed by those of `probe_suffix`
    are the probe graph, which also returns `probe_mean` and `probe_mean_square` [N, probe channels]:
    protobuf merges concatenated messages, so every offset in `writes` holds for both graphs.
    LiteRT: `file` holds both, as signatures "fast" and "probe" that share their weights; no suffix.
    `measured` says for each norm layer whether the probe sees its input or its output (before an
    activation); the latter is turned back into the input's moments (`bundle.inversion`).
    """

    runtime: Runtime
    file: str
    probe_suffix: str
    writes: tuple[Write, ...]
    measured: tuple[Literal["input", "output"], ...]
    precision: Precision = "float32"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    @property
    def title(self) -> str:
        """Runtime and precision in words."""
        return f"{self.runtime} {self.precision}"


class FileDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle and its SHA-256 in hex."""

    name: str
    sha256: str
    size_bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole description of a bundle.

    The domain signature is made of the moments of the first norm layer's input. Where a slot may move that
    input (an input prompt), the probe measures a copy of it that no slot reaches as well: as many channels
    again, behind those of all layers, from `signature_offset` on. 0: there is no copy.
    """

    name: str
    classes: tuple[str, ...]
    input: InputSpec
    embedding_dim: int
    slots: tuple[Slot, ...]
    norm_layers: tuple[NormLayer, ...]
    artifacts: tuple[Artifact, ...]
    files: tuple[FileDigest, ...]
    format: int = FORMAT_VERSION
    signature_offset: int = 0

    @property
    def layer_channels(self) -> int:
        """The channels of all norm layers together."""
        return sum(layer.channels for layer in self.norm_layers)

    @property
    def probe_channels(self) -> int:
        """Length P of the probe vectors: the channels of all norm layers, and of the signature's copy."""
        return self.layer_channels + (self.norm_layers[0].channels if self.signature_offset else 0)

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
