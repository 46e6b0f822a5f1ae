"""What a person wants to see of a model and its bundle: what was found, written and measured, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table

from edgeadapt.bundle import Artifact, Bundle, Calibration, NormLayer
from edgeadapt.bundle.writes import layer_of
from edgeadapt_models.compile.analyse.findings import Findings
from edgeadapt_models.compile.graph.place import Named
from edgeadapt_models.compile.parity import TOLERANCE, ParityFigure
from edgeadapt_models.compile.quantise.compare import Comparison
from edgeadapt_models.compile.scorers import default_scorers, fewest_frames

_FLOAT_BYTES = 4
_MAX_CLASSES = 12
_FORMS = {"vector": "as they are", "flat": "flattened", "mean": "their mean over positions"}
_WAYS = {
    "Affine": "two constants",
    "FoldNorm": "into the weights before it",
    "FoldNormInt8": "into int8 scales",
}


def _table(title: str, *headings: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def summary_table(bundle: Bundle) -> Table:
    """Identity, input, outputs and calibration in two columns."""
    manifest, calibration = bundle.manifest, bundle.calibration
    spec = manifest.input
    table = Table(title=f"Bundle {manifest.name}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("digest", bundle.digest)
    table.add_row("input", f"{spec.name}: float32 {['N', *spec.shape]}, {spec.kind}".replace("'", ""))
    shown = ", ".join(manifest.classes[:_MAX_CLASSES])
    more = ", ..." if len(manifest.classes) > _MAX_CLASSES else ""
    table.add_row("classes", f"{len(manifest.classes)}: {shown}{more}")
    table.add_row("embedding", f"{manifest.embedding_dim} values")
    table.add_row("probe", f"{manifest.probe_channels} channels, twice (mean, mean square)")
    low, middle, high = (calibration.entropy_quantiles[_index(bundle, q)] for q in (0.1, 0.5, 0.9))
    table.add_row("entropy (nats)", f"10 % {low:.4f}, median {middle:.4f}, 90 % {high:.4f} on source images")
    table.add_row("scorers", scorer_line(calibration))
    if missing := missing_line(bundle):
        table.add_row("", missing)
    return table


def scorer_line(calibration: Calibration) -> str:
    """The scorers of a bundle, and what they and their knots take."""
    if not calibration.knots:
        return "none: no frame is told to be strange"
    parts = (*calibration.scorers.values(), calibration.knots)
    size = sum(value.nbytes for part in parts for value in part.values())
    return f"{', '.join(sorted(calibration.knots))}; {size:,} bytes"


def missing_line(bundle: Bundle) -> str:
    """Which of the usual scorers a bundle goes without, and why; "" when it has them.

    A bundle does not say what its scorers were asked for with; what it has tells most of it.
    """
    classes, there = len(bundle.manifest.classes), set(bundle.calibration.knots)
    missing = [name for name in default_scorers(classes, head=True) if name not in there]
    if not missing:
        return ""
    if there != set(default_scorers(classes, head=False)):
        return f"without {', '.join(missing)}: others were asked for (--scorer)"
    fewest = fewest_frames(bundle.manifest.embedding_dim)
    return (
        f"without {', '.join(missing)}: they need a linear head. The model has none that takes the embedding "
        f"and none explains the logits; or there were fewer than {fewest} source frames to find one"
    )


def _index(bundle: Bundle, quantile: float) -> int:
    return round(quantile * (len(bundle.calibration.entropy_quantiles) - 1))


def layer_table(bundle: Bundle, found: Sequence[Named] = ()) -> Table:
    """Norm layers in order of execution, with their slots and the bytes that a patch of all of them takes.

    Args:
        bundle: any bundle.
        found: where the layers were found when the bundle was compiled; empty when that is not known.
    """
    headings = ["layer", "kind", "channels", "slots", "bytes"]
    numbers = headings[2:]
    table = _table("Norm layers", *headings, *(["found as"] if found else ["written"]), right=numbers)
    artifact = bundle.manifest.artifacts[0]
    total = count = 0
    for index, layer in enumerate(bundle.manifest.norm_layers):
        slots = sum(slot.layer == layer.name for slot in bundle.manifest.slots)
        size = slots * layer.channels * _FLOAT_BYTES
        total, count = total + size, count + slots
        where = found[index].site.operator if found else written(artifact, layer)
        table.add_row(layer.name, layer.kind, str(layer.channels), str(slots), f"{size:,}", where)
    table.add_section()
    table.add_row("all", "", str(bundle.manifest.layer_channels), str(count), f"{total:,}", "")
    return table


def written(artifact: Artifact, layer: NormLayer) -> str:
    """How a layer's values get into an artifact, in words."""
    ways = {type(write).__name__ for write in artifact.writes if layer_of(write) == layer.name}
    return ", ".join(_WAYS[way] for way in sorted(ways)) or "as they are"


def found_table(bundle: Bundle, findings: Findings) -> Table:
    """The classifier head, the embedding, and what was passed over, with reasons."""
    table = _table("Head, embedding, and what is not used", "what", "operator", "where", "why")
    head = findings.head
    if head is None:
        table.add_row("head", "-", "-", "the last step is not linear")
    else:
        table.add_row("head", head.operator, head.weight, "the last linear step before the logits")
        width = bundle.manifest.embedding_dim
        table.add_row("embedding", "", "input of the head", f"{width} values, {_FORMS[head.form]}")
    reasons = Counter((entry.operator, entry.reason) for entry in findings.unusable)
    first = {(entry.operator, entry.reason): entry.node for entry in reversed(findings.unusable)}
    for (operator, reason), count in reasons.items():
        more = f" and {count - 1} more" if count > 1 else ""
        table.add_row("not used", operator, f"{first[operator, reason]}{more}", reason)
    return table


def artifact_table(bundle: Bundle) -> Table:
    """Model files: for which runtime, how large, and how slots are written into them."""
    table = _table(
        "Artifacts", "runtime", "precision", "file", "bytes", "writes", "probe measures", right=["bytes"]
    )
    for artifact in bundle.manifest.artifacts:
        kinds = Counter(type(write).__name__ for write in artifact.writes)
        listed = ", ".join(f"{name} x{count}" for name, count in sorted(kinds.items()))
        places = Counter(artifact.measured)
        seen = ", ".join(f"{count} {place}s" for place, count in sorted(places.items()))
        size = f"{len(bundle.files[artifact.file]):,}"
        table.add_row(artifact.runtime, artifact.precision, artifact.file, size, listed, seen)
    return table


def file_table(bundle: Bundle) -> Table:
    """Files with their sizes and digests, all of them verified when the bundle was read."""
    table = _table("Files (digests verified)", "file", "bytes", "SHA-256", right=["bytes"])
    for entry in bundle.manifest.files:
        table.add_row(entry.name, f"{entry.size_bytes:,}", entry.sha256[:16])
    return table


def parity_table(figures: Sequence[ParityFigure]) -> Table:
    """Largest difference of any output, by what was compared and with which values."""
    title = f"Parity (largest difference over largest magnitude; {TOLERANCE:g} allowed)"
    table = _table(title, "against", "values", "outputs", "difference", right=["difference"])
    rows: dict[tuple[str, str], list[ParityFigure]] = {}
    for figure in figures:
        rows.setdefault((figure.against, figure.values), []).append(figure)
    for (against, values), group in rows.items():
        outputs = ", ".join(dict.fromkeys(figure.output for figure in group))
        table.add_row(against, values, outputs, f"{max(figure.difference for figure in group):.1e}")
    return table


def int8_table(compared: Mapping[str, Comparison]) -> Table:
    """What 8 bits cost, on source data and without a patch."""
    headings = ("artifact", "same class", "logits", "mean", "deviation", "signature")
    table = _table("8 bits against float, on source data", *headings, right=headings[1:])
    for title, found in compared.items():
        table.add_row(
            title,
            f"{found.agreement:.1%}",
            f"{found.logits:.1%}",
            f"{found.mean:.3f} sd",
            f"{found.deviation:.1%}",
            f"{found.signature:.3f} sd",
        )
    return table
