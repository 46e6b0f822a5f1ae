"""`edgeadapt model compile` and `edgeadapt model inspect`: arguments in, tables out; no logic here.

torch and ONNX are imported when a command runs, so that help comes at once.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command("compile")
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write the bundle to.")
@click.option(
    "--images",
    default=4000,
    show_default=True,
    type=click.IntRange(min=100),
    help="Source images to calibrate on.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that holds the data set, if it is not where it is usually found.",
)
def compile_command(name: str, out: Path, images: int, root: Path | None) -> None:
    """Compile trained weights to a bundle that a device installs.

    NAME is one of those that `edgeadapt model list` shows, such as fashion-mnist/resnet8. The bundle is
    checked against torch, as it is and with every slot changed; a difference is an error.
    """
    from rich.console import Console

    from edgeadapt_models.compile.pretrained import compile_pretrained
    from edgeadapt_models.compile.report import file_table, layer_table, parity_table

    compilation = compile_pretrained(name, out, images=images, root=root)
    console = Console()
    for table in (layer_table(compilation.bundle), parity_table(compilation.parity)):
        console.print(table)
    console.print(file_table(compilation.bundle))
    console.print(f"{out}: bundle {compilation.bundle.digest}", highlight=False, soft_wrap=True)


@click.command("inspect", short_help="Verify a bundle and show what is in it.")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
def inspect_command(bundle: Path) -> None:
    """Verify the bundle in the folder BUNDLE, load both its graphs, and show what is in it."""
    from rich.console import Console

    from edgeadapt.bundle import read_folder
    from edgeadapt_models.compile.report import file_table, layer_table, summary_table
    from edgeadapt_models.compile.runtime import Runner

    read = read_folder(bundle)
    console = Console()
    for table in (summary_table(read), layer_table(read), file_table(read)):
        console.print(table)
    for artifact in read.manifest.artifacts:
        fast = Runner(read.fast_model(artifact, {}))
        probe = Runner(read.probe_model(artifact, {}))
        console.print(f"{artifact.runtime}: fast graph gives {', '.join(fast.outputs)}", highlight=False)
        console.print(f"{artifact.runtime}: probe graph gives {', '.join(probe.outputs)}", highlight=False)
