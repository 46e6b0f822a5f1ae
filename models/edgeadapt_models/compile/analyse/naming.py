"""Names for the layers and slots of a graph that was found somewhere: stable, unique, and those of its maker.

Where a layer's constants have names of one stem and no other layer shares them (`layer1.0.bn1.weight` and so
on, as torch and TensorFlow write them), those stay. Otherwise the layer takes its node's name, and its slots
end in .scale, .bias, .mean and .var (.norm.scale and so on for a folded layer). Graphs of torch modules are
named after the module's parameters, in `prepare`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import onnx

from edgeadapt.bundle.manifest import SlotKind
from edgeadapt_models.compile.analyse.sites import FoldedSite, NormSite, Site
from edgeadapt_models.compile.graph.edit import fresh, names

CHANNEL_SLOTS: tuple[SlotKind, ...] = ("norm_scale", "norm_bias", "norm_mean", "norm_var")
_GENERATED = re.compile(r"onnx::|val_\d|_val|const|.*_output_\d")


def name_layers(
    graph: onnx.GraphProto, sites: Sequence[Site]
) -> tuple[tuple[str, tuple[tuple[SlotKind, str], ...]], ...]:
    """(layer name, ((slot kind, slot name), ...)) of every site, in order."""
    nodes = {node.output[0]: node.name for node in graph.node}
    uses = Counter(name for node in graph.node for name in node.input)
    layers: set[str] = set()
    held = names(graph)
    return tuple(_names(site, nodes.get(site.node, ""), uses, layers, held) for site in sites)


def _names(
    site: Site, node: str, uses: Counter[str], layers: set[str], held: set[str]
) -> tuple[str, tuple[tuple[SlotKind, str], ...]]:
    """`layers` and `held` are names that are taken, of layers and of tensors; both grow."""
    kept = _own_names(site, uses)
    if kept:
        layer = fresh(stem(kept), layers)
        assert isinstance(site, NormSite)
        return layer, tuple(zip((value.kind for value in site.values), kept, strict=True))
    layer = fresh(_title(site, node, uses), layers)
    # A folded layer has a bias of its own, which its norm layer's is not to be taken for.
    inner = "" if isinstance(site, NormSite) else ".norm"
    kinds = [value.kind for value in site.values] if isinstance(site, NormSite) else CHANNEL_SLOTS
    return layer, tuple((kind, fresh(f"{layer}{inner}.{kind.removeprefix('norm_')}", held)) for kind in kinds)


def _title(site: Site, node: str, uses: Counter[str]) -> str:
    """A layer's name: that of its weights where they are its own, else that of its node."""
    if isinstance(site, FoldedSite) and uses[site.weight_tensor] == 1 and not _generated(site.weight_tensor):
        return stem([site.weight_tensor]) or _node_title(node)
    return _node_title(node)


def _generated(name: str) -> bool:
    return not name or _GENERATED.match(name) is not None


def _own_names(site: Site, uses: Counter[str]) -> tuple[str, ...]:
    """The constants' names, where they are good for slots."""
    if not isinstance(site, NormSite):
        return ()
    found = tuple(value.tensor for value in site.values)
    good = all(uses[name] == 1 and not _generated(name) for name in found)
    return found if good and stem(found) else ()


def stem(names: Iterable[str]) -> str:
    """What all names have in common up to their last dot or slash; "" when that is nothing.

    Example:
        >>> stem(["layer1.0.bn1.weight", "layer1.0.bn1.bias"])
        'layer1.0.bn1'
    """
    heads = set()
    for name in names:
        cut = max(name.rfind("."), name.rfind("/"))
        heads.add(name[:cut] if cut > 0 else "")
    return heads.pop().strip("/") if len(heads) == 1 else ""


def _node_title(node: str) -> str:
    """A node's name without slashes around it and the operator behind: "blocks/0" of "/blocks/0/Div"."""
    cleaned = node.strip("/")
    head, _, last = cleaned.rpartition("/")
    return head if head and last[:1].isupper() else cleaned
