"""The student in torch: the same network the devices run, with its norm slots reachable by name.

Invariants: only the affine parameters of norm layers ask for gradients; the network is in eval mode
between calls, so a forward pass uses the statistics it was given ("train as deployed"); slots hold
the bundle's base values at construction. Patches leave here as slot name -> float32 array. A bundle may
have further slots (a prompt, adapters, its head); they stay at the base, and no patch from here names one.
Not here: losses, which samples are shown, and whether the result is any good.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from edgeadapt.bundle import Manifest, NormLayer
from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
_ONLY_THE_ZOO = (
    "Only networks of the zoo are taught here: set bundle.student to the weights that the bundle was compiled"
    " from (`edgeadapt model list`). A device with a model from elsewhere adapts by itself, without a cloud: "
    "[mqtt] enabled = false"
)
BATCH = 256
"""Images per forward pass when no gradient is kept."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and variance of every norm layer's input, float32 [channels of all layers] each, in order."""

    mean: Tensor
    var: Tensor


class Student:
    """A network whose norm slots can be read, written and trained."""

    def __init__(self, network: nn.Module, manifest: Manifest, base: Mapping[str, FloatArray]) -> None:
        """Copy `network` and check it against the bundle.

        Raises:
            ConfigError: a slot is missing from the network, or its value is not the bundle's.
        """
        self.network = copy.deepcopy(network).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _own_affine(self.network, manifest)
        self._layers = manifest.norm_layers
        self._slots = _slot_tensors(self.network, manifest)
        self._base = {name: torch.from_numpy(np.array(base[name])) for name in self._slots if name in base}
        for name, tensor in self._slots.items():
            if name not in self._base or self._base[name].shape != tensor.shape:
                raise _foreign(manifest, f"its slot {name!r} has another shape")
        for layer in self._layers:
            if not _is_same(layer, self._slots, self._base):
                raise _foreign(manifest, f"its layer {layer.name!r} has other values")
        _check_head(self.network, manifest, base)
        self.network.requires_grad_(False)
        self.load({})
        for parameter in self.affine_parameters():
            parameter.requires_grad_(True)

    def affine_parameters(self) -> list[nn.Parameter]:
        """Scales and biases of all norm layers, in graph order."""
        names = [name for layer in self._layers for name in (layer.scale, layer.bias)]
        return [parameter for name in names if isinstance(parameter := self._slots[name], nn.Parameter)]

    def base_affine(self) -> list[Tensor]:
        """The base bundle's values of `affine_parameters`, in the same order."""
        return [self._base[name] for layer in self._layers for name in (layer.scale, layer.bias)]

    def load(self, values: Mapping[str, FloatArray]) -> None:
        """Return to the base bundle, then write the given slots over it.

        Raises:
            ConfigError: a value is for a slot that is not a norm layer's.
        """
        foreign = sorted(set(values) - set(self._slots))
        if foreign:
            raise ConfigError(
                f"the student's network has no {foreign[0]!r}: only norm layers are taught here"
            )
        with torch.no_grad():
            for name, tensor in self._slots.items():
                given = values.get(name)
                tensor.copy_(self._base[name] if given is None else torch.from_numpy(np.array(given)))

    def values(self) -> dict[str, FloatArray]:
        """Every norm slot's present value, as a patch carries it."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._slots.items()}

    def adopt(self, network: nn.Module) -> None:
        """Take every norm slot's value from another network of the same structure."""
        theirs = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with torch.no_grad():
            for name, tensor in self._slots.items():
                tensor.copy_(theirs[name])

    def statistics(self) -> Statistics:
        """The statistics in force; layers without running statistics hold mean 0 and variance 1."""
        parts = [
            (self._slots[layer.mean], self._slots[layer.var])
            if layer.mean
            else (torch.zeros(layer.channels), torch.ones(layer.channels))
            for layer in self._layers
        ]
        return Statistics(torch.cat([mean for mean, _ in parts]), torch.cat([var for _, var in parts]))

    def set_statistics(self, statistics: Statistics) -> None:
        """Write statistics of all layers into those that keep any."""
        for layer in self._layers:
            if layer.mean:
                part = slice(layer.probe_offset, layer.probe_offset + layer.channels)
                self._slots[layer.mean].copy_(statistics.mean[part])
                self._slots[layer.var].copy_(statistics.var[part].clamp_min(1e-8))

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities float32 [N, K] of images float32 [N, C, H, W] in [0, 1]."""
        return predict(self.network, images)

    def settled_probabilities(self, images: Tensor) -> Tensor:
        """The same under the statistics that a device would settle at: each batch's own."""
        with batch_statistics(self.network):
            return self.probabilities(images)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Share (0 to 1) of images classified rightly under settled statistics."""
        return float((self.settled_probabilities(images).argmax(dim=1) == labels).float().mean())

    def settle(self, images: Tensor) -> Statistics:
        """The statistics a device reaches on `images` under the present affine values, and keep them.

        One pass in which every layer normalises with the batch's own moments is the fixed point of the
        device's running averages, since each layer then sees inputs made under settled shallower layers.
        """
        settle(self.network, images)
        return self.statistics()


def predict(network: nn.Module, images: Tensor) -> Tensor:
    """Softmax outputs float32 [N, K] of a network that returns (logits, embedding)."""
    with torch.no_grad():
        parts = [network(part)[0].softmax(dim=1) for part in torch.split(images, _part_sizes(len(images)))]
    return torch.cat(parts) if parts else images.new_zeros((0, 0))


def outputs(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """(logits [N, K], embedding [N, D]) of N >= 1 images, float32, in the order of a device's outputs."""
    with torch.no_grad():
        parts = [network(part)[:2] for part in torch.split(images, _part_sizes(len(images)))]
    logits, embeddings = zip(*parts, strict=True)
    return torch.cat(logits).float(), torch.cat(embeddings).float()


def _part_sizes(count: int) -> list[int]:
    """`BATCH` each and the rest; a rest of one goes with the part before, for it has no moments."""
    whole, rest = divmod(count, BATCH)
    if whole and rest == 1:
        return [BATCH] * (whole - 1) + [BATCH + 1]
    return [BATCH] * whole + [rest] * (rest > 0)


def settle(network: nn.Module, images: Tensor) -> None:
    """Set every BatchNorm's running statistics to the moments of `images` (at least 2), layer by layer."""
    with _batch_statistics(network, momentum=1.0), torch.no_grad():
        network(images)


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Every layer with running statistics, whatever the rank of its input."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm normalises with the batch's own moments and leaves the running ones alone."""
    with _batch_statistics(network, momentum=0.0):
        yield


@contextmanager
def _batch_statistics(network: nn.Module, momentum: float) -> Iterator[None]:
    norms = batch_norms(network)
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, before in zip(norms, kept, strict=True):
            norm.eval()
            norm.momentum = before


def _own_affine(network: nn.Module, manifest: Manifest) -> None:
    """Give every norm layer a scale and a bias of its own, as the bundle does.

    A layer may come without (affine=False: then they are 1 and 0) or share them with another layer.
    """
    modules = dict(network.named_modules())
    for layer in manifest.norm_layers:
        for name, absent in ((layer.scale, 1.0), (layer.bias, 0.0)):
            path, _, attribute = name.rpartition(".")
            if not isinstance(module := modules.get(path), _NORMS):
                continue  # not the bundle's network; the check of its slots says so
            held: Tensor | None = getattr(module, attribute)
            value = torch.full((layer.channels,), absent) if held is None else held.detach().clone()
            setattr(module, attribute, nn.Parameter(value))


def _is_same(layer: NormLayer, held: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> bool:
    """Whether a layer of the network computes what the bundle's does.

    The bundle's statistics are those of its source data, with scale and bias to match; only what a layer
    does to its input can be compared: x * gain + shift.
    """
    return all(map(_close, _line(layer, held), _line(layer, base)))


def _close(found: Tensor, wanted: Tensor) -> bool:
    tolerance = 1e-4 * (1.0 + float(wanted.abs().max()))
    return torch.allclose(wanted, found, rtol=1e-3, atol=tolerance)


def _check_head(network: nn.Module, manifest: Manifest, base: Mapping[str, FloatArray]) -> None:
    """Raise ConfigError when the network has the bundle's head with other values: it was trained further."""
    held = dict(network.named_parameters())
    for slot in manifest.slots:
        if slot.kind in ("head_weight", "head_bias") and slot.name in held and slot.name in base:
            found, wanted = held[slot.name].detach(), torch.from_numpy(np.array(base[slot.name]))
            if found.shape != wanted.shape or not _close(found, wanted):
                raise _foreign(manifest, f"its head {slot.name!r} has other values")


def _foreign(manifest: Manifest, difference: str) -> ConfigError:
    return ConfigError(
        f"bundle {manifest.name!r} is not the student's network: {difference}. {_ONLY_THE_ZOO}"
    )


def _line(layer: NormLayer, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    scale, bias = values[layer.scale].detach(), values[layer.bias].detach()
    if not layer.mean:
        return scale, bias
    gain = scale / (values[layer.var] + layer.epsilon).sqrt()
    return gain, bias - values[layer.mean] * gain


def _slot_tensors(network: nn.Module, manifest: Manifest) -> dict[str, Tensor]:
    """The norm layers' slots by name."""
    tensors: dict[str, Tensor] = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    fields = ((layer.scale, layer.bias, layer.mean, layer.var) for layer in manifest.norm_layers)
    wanted = {name for layer in fields for name in layer if name}
    names = [slot.name for slot in manifest.slots if slot.name in wanted]
    missing = [name for name in names if name not in tensors]
    if missing:
        raise _foreign(manifest, f"the student has no {missing[0]!r}")
    return {name: tensors[name] for name in names}
