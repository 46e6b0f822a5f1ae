"""What a person wants to see of a bundle: rich tables of its norm layers, sizes and parity figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from edgeadapt.bundle import Bundle
from edgeadapt_models.compile.parity import TOLERANCE, ParityFigure

_FLOAT_BYTES = 4


def summary_table(bundle: Bundle) -> Table:
    """Identity, input, outputs and calibration in two columns."""
    manifest, calibration = bundle.manifest, bundle.calibration
    spec = manifest.input
    table = Table(title=f"Bundle {manifest.name}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("digest", bundle.digest)
    table.add_row("input", f"{spec.name}: float32 {['N', *spec.shape]}, {spec.kind}".replace("'", ""))
    table.add_row("classes", f"{len(manifest.classes)}: {', '.join(manifest.classes)}")
    table.add_row("embedding", f"{manifest.embedding_dim} values")
    table.add_row("probe", f"{manifest.probe_channels} channels, twice (mean, mean square)")
    low, middle, high = (calibration.entropy_quantiles[_index(bundle, q)] for q in (0.1, 0.5, 0.9))
    table.add_row("entropy (nats)", f"10 % {low:.4f}, median {middle:.4f}, 90 % {high:.4f} on source images")
    return table


def _index(bundle: Bundle, quantile: float) -> int:
    return round(quantile * (len(bundle.calibration.entropy_quantiles) - 1))


def layer_table(bundle: Bundle) -> Table:
    """Norm layers in order of execution, with their slots and the bytes that a patch of all of them takes."""
    table = Table(title="Norm layers", title_justify="left")
    for heading in ("layer", "kind"):
        table.add_column(heading)
    for heading in ("channels", "slots", "bytes"):
        table.add_column(heading, justify="right")
    total = 0
    for layer in bundle.manifest.norm_layers:
        slots = [slot for slot in bundle.manifest.slots if slot.layer == layer.name]
        size = len(slots) * layer.channels * _FLOAT_BYTES
        total += size
        table.add_row(layer.name, layer.kind, str(layer.channels), str(len(slots)), f"{size:,}")
    table.add_section()
    slot_count = len(bundle.manifest.slots)
    table.add_row("all", "", str(bundle.manifest.probe_channels), str(slot_count), f"{total:,}")
    return table


def file_table(bundle: Bundle) -> Table:
    """Files with their sizes and digests, all of them verified when the bundle was read."""
    table = Table(title="Files (digests verified)", title_justify="left")
    table.add_column("file")
    table.add_column("bytes", justify="right")
    table.add_column("SHA-256")
    for entry in bundle.manifest.files:
        table.add_row(entry.name, f"{entry.size_bytes:,}", entry.sha256[:16])
    return table


def parity_table(figures: Sequence[ParityFigure]) -> Table:
    """Differences between ONNX Runtime and torch."""
    title = f"Parity with torch (largest difference over largest magnitude; {TOLERANCE:g} allowed)"
    table = Table(title=title, title_justify="left")
    for heading in ("values", "graph", "output"):
        table.add_column(heading)
    table.add_column("difference", justify="right")
    for figure in figures:
        table.add_row(figure.values, figure.graph, figure.output, f"{figure.difference:.1e}")
    return table
