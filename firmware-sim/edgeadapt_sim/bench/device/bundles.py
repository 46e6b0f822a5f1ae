"""From a network to what is timed: bundles, and the files that somebody without edgeadapt would deploy.

Compiling takes minutes, so what was made is kept in a folder named after everything it was made with.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

import edgeadapt.bundle
import edgeadapt_models.compile
import edgeadapt_models.zoo
from edgeadapt.bundle import Artifact, Bundle, InputSpec, read_folder
from edgeadapt_models.compile import compile_module
from edgeadapt_models.compile.extras.request import AdapterRequest, ExtrasRequest, PromptRequest
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.targets import Target, TargetRequest
from edgeadapt_sim.bench.device import networks
from edgeadapt_sim.bench.device.networks import Network, Pictures, build, pictures

_PACKAGES = ("torch", "onnx", "onnxruntime", "ai-edge-litert")
_BOTH: frozenset[Target] = frozenset({"onnx", "tflite"})
_PLAIN = ExtrasRequest(head=False)
_PROMPT = PromptRequest("low", grid=(8, 8))
# What folds, and so should cost nothing. Integers take no adapters.
_SLOTS = ExtrasRequest(_PROMPT, (AdapterRequest("conv"),), head=False)
_PROMPTED = ExtrasRequest(_PROMPT, head=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was made of a network.

    Attributes:
        folder: holds it all.
        network: of which network.
    """

    folder: Path
    network: Network

    @property
    def plain(self) -> Path:
        """Bundle with norm slots only, for both runtimes, in float32 and int8."""
        return self.folder / "plain"

    def with_slots(self, precision: str) -> Path:
        """Bundle with a prompt, and in float32 with adapters too."""
        return self.folder / ("slots" if precision == "float32" else "prompted")

    def bare(self, artifact: Artifact) -> Path:
        """The file that somebody without edgeadapt would deploy."""
        suffix = Path(artifact.file).suffix
        return self.folder / f"bare-{artifact.runtime}-{artifact.precision}{suffix}"


def prepare(network: Network, cache: Path, report: Callable[[str], None]) -> Prepared:
    """Make what is needed for a network, or find it in `cache`."""
    folder = cache / f"{network.name}-{_key(network)}"
    prepared = Prepared(folder, network)
    if folder.is_dir():
        return prepared
    scratch = Prepared(folder.with_name(folder.name + ".tmp"), network)
    shutil.rmtree(scratch.folder, ignore_errors=True)
    scratch.folder.mkdir(parents=True)
    source = pictures(network.side, network.images, split="train")
    report(f"{network.name}: building")
    module = build(network, source)
    for out, extras, int8 in (
        (scratch.plain, _PLAIN, True),
        (scratch.with_slots("float32"), _SLOTS, False),
        (scratch.with_slots("int8"), _PROMPTED, True),
    ):
        report(f"{network.name}: compiling {out.name}")
        compile_module(
            module,
            name=f"{network.name}-{out.name}",
            classes=source.classes,
            spec=InputSpec((3, network.side, network.side)),
            data=Frames(source.images, source.labels),
            out=out,
            extras=extras,
            targets=TargetRequest(_BOTH, int8),
        )
    write_bare(scratch)
    scratch.folder.rename(folder)
    return prepared


def write_bare(prepared: Prepared) -> None:
    """Write the files without edgeadapt beside the bundle of norm slots."""
    bundle = read_folder(prepared.plain)
    for artifact in bundle.manifest.artifacts:
        prepared.bare(artifact).write_bytes(_bare_model(bundle, artifact, prepared.folder))


def source_of(network: Network) -> Pictures:
    """Frames to play that the network was not fitted to."""
    return pictures(network.side, 256 if not network.large else 64, split="test")


def _bare_model(bundle: Bundle, artifact: Artifact, scratch: Path) -> bytes:
    model = bundle.fast_model(artifact, {})
    if artifact.runtime == "tflite":
        return _first_graph_alone(model)
    return model if artifact.precision == "int8" else _folded_by_runtime(model, scratch)


def _folded_by_runtime(model: bytes, scratch: Path) -> bytes:
    """The model as ONNX Runtime itself writes it once its norm layers are in its convolutions."""
    path = scratch / "folded.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    data = path.read_bytes()
    path.unlink()
    return data


def _first_graph_alone(model: bytes) -> bytes:
    """A LiteRT file without the probe, which shares no packed weights with the fast graph."""
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    whole.subgraphs = whole.subgraphs[:1]
    whole.signatureDefs = [entry for entry in whole.signatureDefs if entry.subgraphIndex == 0]
    builder = Builder(len(model))
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _key(network: Network) -> str:
    """Changes with the code, the packages and the network."""
    digest = sha256(repr((network, _SLOTS, _PROMPTED, [version(name) for name in _PACKAGES])).encode())
    packages = (edgeadapt.bundle, edgeadapt_models.compile, edgeadapt_models.zoo)
    folders = [Path(package.__file__ or "").parent for package in packages]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    for path in (*files, Path(networks.__file__), Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
