"""`edgeadapt model compile`, `inspect` and `extract`: arguments in, tables out; no logic here.

torch and ONNX are imported when a command runs, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from edgeadapt_models.compile.compiler import Compilation
    from edgeadapt_models.compile.extras.request import ExtrasRequest
    from edgeadapt_models.compile.own import OwnModel
    from edgeadapt_models.compile.targets import TargetRequest

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


_OF_FILES = {"layout": "--layout", "logits": "--logits", "embedding": "--embedding"}
_YOURS = {
    "calibration": "--calibration",
    "holdout": "--holdout",
    "weights": "--weights",
    "title": "--name",
    "classes": "--classes",
    "input_shape": "--input-shape",
    "mean": "--mean",
    "std": "--std",
    "scale": "--scale",
    "folded_layers": "--folded-layers",
    **_OF_FILES,
}
_NOT_GIVEN = (None, "", (), 1.0, "auto")


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between: 0.485,0.456,0.406."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in str(value).split(",")) if value else ()
        except ValueError:
            self.fail(f"{value!r}: expected numbers with commas between", param, ctx)


class Sizes(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between: 3,224,224."""

    name = "sizes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in str(value).split(",")) if value else ()
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers with commas between", param, ctx)


def _all(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_MODEL = _all(
    click.option("--onnx", type=_FILE, help="An ONNX file, opset 13 to 21, whoever exported it."),
    click.option("--torch", "factory", metavar="PACKAGE.MODULE:FACTORY", help="What makes a torch module."),
    click.option("--weights", type=_FILE, help="With --torch: its state dict, .pt or .safetensors."),
    click.option("--program", type=_FILE, help="What torch.export.save wrote (.pt2)."),
    click.option(
        "--calibration",
        type=click.Path(path_type=Path, exists=True),
        help="Source data: a folder of pictures or .npy files, in sub-folders named after classes or without "
        "labels; or one .npy or .npz file.",
    ),
    click.option(
        "--holdout",
        type=click.Path(path_type=Path, exists=True),
        help="Source data that the model was not trained on, likewise: p-values of scorers rest on it.  "
        "[default: half of --calibration]",
    ),
    click.option("--name", "title", default="", help="Name of the bundle.  [default: the model's]"),
    click.option("--classes", default="", help="Class names: a file with one a line, or a list with commas."),
)
_INPUT = _all(
    click.option("--input-shape", type=Sizes(), default="", help="One input, such as 3,224,224 (C,H,W)."),
    click.option("--mean", type=Numbers(), default="", help="Per channel; images reach the model as"),
    click.option("--std", type=Numbers(), default="", help="... (scale * x - mean) / std, x in 0..1."),
    click.option("--scale", type=float, default=1.0, help="255 for a model that takes 0..255."),
    click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="Of the model's own input."),
    click.option("--logits", default="", help="ONNX: the tensor that holds the logits."),
    click.option("--embedding", default="", help="ONNX: the tensor that holds the embedding."),
)
_RESULT = _all(
    click.option(
        "--target",
        default="onnx",
        show_default=True,
        metavar="onnx[,tflite]",
        help="Runtimes to make model files for.",
    ),
    click.option("--int8", is_flag=True, help="Add a model file of 8 bits for each of them."),
    click.option(
        "--scorer",
        "scorers",
        multiple=True,
        metavar="NAME",
        help="What tells strange frames from familiar ones; may be given again.  [default: at most two, by "
        "what the model has]",
    ),
    click.option("--prompt", default="", metavar="FORM", help="full, border:PIXELS, low:SIZE"),
    click.option(
        "--adapters",
        multiple=True,
        metavar="KIND[:WHERE]",
        help="conv, lowrank[:WHERE[:RANK]], bottleneck, tokens[:COUNT]; may be given again.",
    ),
    click.option(
        "--folded-layers",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Convolutions whose norm layer was folded away: auto uses them where there is no norm layer.",
    ),
)


@click.command("compile", short_help="Compile a model to a bundle that a device installs.")
@click.argument("name", required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write the bundle to.")
@_MODEL
@_INPUT
@_RESULT
@click.option(
    "--images",
    default=4000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Source images or arrays to calibrate on, at most.",
)
@click.option("--root", type=_FOLDER, help="With NAME: the data set's folder, if it is not where usual.")
def compile_command(name: str | None, out: Path, images: int, root: Path | None, **given: Any) -> None:
    """Compile a model to a bundle that a device installs.

    NAME is one of those that `edgeadapt model list` shows, such as fashion-mnist/resnet8. Your own model
    comes as an ONNX file, a torch factory with weights, or an exported program, and with source data:

    \b
      edgeadapt model compile --onnx model.onnx --calibration photos --out bundle

    What is found in the model is printed: norm layers, head and embedding, and what cannot be used. The
    bundle is checked against the model as it was given, as it is and with every slot changed; a difference
    is an error.
    """
    compilation = _compile(name, out, images, root, given)
    _show(compilation, out)


@click.command("inspect", short_help="Verify a bundle and show what is in it.")
@click.argument("bundle", type=_FOLDER)
def inspect_command(bundle: Path) -> None:
    """Verify the bundle in the folder BUNDLE, load all its graphs, and show what is in it."""
    from rich.console import Console

    from edgeadapt.bundle import read_folder
    from edgeadapt_models.compile.extract import load_artifact
    from edgeadapt_models.compile.extras.report import slot_table
    from edgeadapt_models.compile.report import artifact_table, file_table, layer_table, summary_table

    read = read_folder(bundle)
    console = Console()
    tables = (
        summary_table(read),
        layer_table(read),
        slot_table(read),
        artifact_table(read),
        file_table(read),
    )
    for table in tables:
        console.print(table)
    for artifact in read.manifest.artifacts:
        for graph, outputs in load_artifact(read, artifact).items():
            line = f"{artifact.title}: {graph} graph gives {', '.join(outputs)}"
            console.print(line, highlight=False, soft_wrap=True)


@click.command("extract", short_help="Write a runnable model file of a bundle.")
@click.argument("bundle", type=_FOLDER)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option(
    "--runtime", type=click.Choice(["onnxruntime", "tflite"]), default="onnxruntime", show_default=True
)
@click.option("--precision", type=click.Choice(["float32", "int8"]), default="float32", show_default=True)
@click.option("--probe", is_flag=True, help="With the moments of the norm layers among the outputs.")
def extract_command(bundle: Path, out: Path, runtime: str, precision: str, probe: bool) -> None:
    """Write the base model of the bundle in the folder BUNDLE as a file that runs by itself.

    The file inside a bundle may hold weights before their norm layers are folded in; this one has them in.
    """
    from edgeadapt.bundle import read_folder
    from edgeadapt_models.compile.extract import extract

    read = read_folder(bundle)
    artifact = read.artifact(runtime, precision)
    extract(read, artifact, out, probe=probe)
    click.echo(f"{out}: {artifact.title}, {out.stat().st_size:,} bytes")


def _compile(
    name: str | None, out: Path, images: int, root: Path | None, given: dict[str, Any]
) -> Compilation:
    from edgeadapt_models.compile.own import compile_own
    from edgeadapt_models.compile.pretrained import compile_pretrained
    from edgeadapt_models.compile.write import check_target

    own = [option for option in ("onnx", "factory", "program") if given[option]]
    if (name is not None) == bool(own) or len(own) > 1:
        raise click.UsageError("name a network of the zoo, or give one of --onnx, --torch and --program")
    check_target(out)
    extras, targets = _extras(given), _targets(given)
    if name is not None:
        _refuse(given, _YOURS, f"for your own model; {name} is calibrated on its own data set")
        return compile_pretrained(
            name, out, images=images, root=root, extras=extras, targets=targets, scorers=given["scorers"]
        )
    if given["calibration"] is None:
        raise click.UsageError("give source data for your model: --calibration FOLDER")
    if root is not None:
        raise click.UsageError("--root: for a network of the zoo; your data is --calibration")
    if given["onnx"] is None:
        _refuse(
            given, _OF_FILES, "for --onnx: a torch model returns logits, or (logits, embedding), for NCHW"
        )
    if not given["factory"]:
        _refuse(given, {"weights": "--weights"}, "belong to --torch")
    return compile_own(_own_model(given, images, extras, targets), out)


def _refuse(given: dict[str, Any], options: dict[str, str], what: str) -> None:
    """Options that would change nothing are an error."""
    named = [option for key, option in options.items() if given[key] not in _NOT_GIVEN]
    if named:
        raise click.UsageError(f"{', '.join(named)}: {what}")


def _own_model(given: dict[str, Any], images: int, extras: ExtrasRequest, targets: TargetRequest) -> OwnModel:
    from edgeadapt_models.compile.graph.inputs import Preprocessing
    from edgeadapt_models.compile.own import OwnModel, parse_classes
    from edgeadapt_models.compile.source.onnx_file import Chosen

    wanted = Preprocessing(given["mean"], given["std"], given["scale"])
    return OwnModel(
        calibration=given["calibration"],
        torch=given["factory"] or "",
        folder=Path.cwd(),
        weights=given["weights"],
        program=given["program"],
        onnx=given["onnx"],
        name=given["title"],
        classes=parse_classes(given["classes"]) if given["classes"] else (),
        shape=given["input_shape"],
        chosen=Chosen(given["logits"], given["embedding"], given["layout"], wanted),
        folded=given["folded_layers"],
        extras=extras,
        targets=targets,
        limit=images,
        scorers=given["scorers"],
        holdout=given["holdout"],
    )


def _extras(given: dict[str, Any]) -> ExtrasRequest:
    from edgeadapt_models.compile.extras.request import ExtrasRequest, parse_adapter, parse_prompt

    prompt = parse_prompt(given["prompt"]) if given["prompt"] else None
    return ExtrasRequest(prompt, tuple(parse_adapter(text) for text in given["adapters"]))


def _targets(given: dict[str, Any]) -> TargetRequest:
    from edgeadapt_models.compile.targets import Target, TargetRequest

    names = frozenset(name.strip() for name in given["target"].split(","))
    if not names <= {"onnx", "tflite"}:
        raise click.UsageError(f"--target {given['target']!r}: expected onnx, tflite, or both with a comma")
    return TargetRequest(cast("frozenset[Target]", names), given["int8"])


def _show(compilation: Compilation, out: Path) -> None:
    from rich.console import Console

    from edgeadapt_models.compile.extras.report import slot_table
    from edgeadapt_models.compile.report import (
        artifact_table,
        file_table,
        found_table,
        int8_table,
        layer_table,
        parity_table,
    )

    console, bundle = Console(), compilation.bundle
    tables = [layer_table(bundle, compilation.layers), found_table(bundle, compilation.findings)]
    tables += [slot_table(bundle, compilation.costs)]
    tables += [artifact_table(bundle), parity_table(compilation.parity)]
    if compilation.int8:
        tables.append(int8_table(compilation.int8))
    for table in (*tables, file_table(bundle)):
        console.print(table)
    for note in compilation.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    console.print(f"{out}: bundle {bundle.digest}", highlight=False, soft_wrap=True)
