"""``edgeadapt data``: fetch image data, look at the corruptions, render streams of domains."""

import re
import sys
from pathlib import Path

import click

from edgeadapt import config
from edgeadapt.errors import ConfigError
from edgeadapt_models.data.base import Dataset
from edgeadapt_models.data.corruptions import CORRUPTIONS
from edgeadapt_models.data.registry import listings, load
from edgeadapt_models.data.sheet import contact_sheet
from edgeadapt_models.data.streams.files import write
from edgeadapt_models.data.streams.stream import RenderedStream, StreamSpec, parse_segments, render

_root = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that holds the data set; by default where it is installed, else the cache.",
)
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


def _parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read "28x28": height and width in pixels."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a height and a width, as in 28x28", ctx, param)
    return int(match[1]), int(match[2])


_size = click.option(
    "--size",
    metavar="HEIGHTxWIDTH",
    callback=_parse_size,
    help="Resize the pictures of an image-folder, as in 28x28.",
)
_seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")


@click.group()
def group() -> None:
    """Fetch image data, corrupt it, render streams of domains.

    `edgeadapt data corrupt fashion-mnist` draws the 15 corruptions at every severity, to look at.
    """


@group.command("list", short_help="Data sets: what they are, and where.")
def list_names() -> None:
    """Name the data sets: what each is, and where it lies or how to get it."""
    for listing in listings():
        where = f"here: {listing.folder}" if listing.folder else listing.how_to_get
        click.echo(f"{listing.name:<14} {listing.about}; {where}")


@group.command("corruptions", short_help="Name the 15 corruptions.")
def list_corruptions() -> None:
    """Name the 15 corruptions; with a severity, as in fog:5, each is a domain."""
    for name in CORRUPTIONS:
        click.echo(name)


@group.command(short_help="Download and check a data set.")
@click.argument("name")
@_root
@_size
def fetch(name: str, root: Path | None, size: tuple[int, int] | None) -> None:
    """Download data set NAME if it is not here, check it, and say what is in it."""
    dataset = load(name, root=root, size=size)
    height, width, channels = dataset.image_shape
    click.echo(
        f"{dataset.name}: {len(dataset.train_labels)} training and {len(dataset.test_labels)} test images "
        f"of {height}x{width}x{channels} in {len(dataset.classes)} classes: {', '.join(dataset.classes)}"
    )


@group.command("corrupt", short_help="Draw the corruptions on a few test images.")
@click.argument("name")
@_root
@_size
@_seed
@click.option("--images", type=click.IntRange(1, 8), default=3, show_default=True, help="Images per cell.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("sheet.png"),
    show_default=True,
    help="PNG to write.",
)
def corrupt_sheet(
    name: str, root: Path | None, size: tuple[int, int] | None, seed: int, images: int, out: Path
) -> None:
    """Draw every corruption at every severity on a few test images of NAME, to look at."""
    dataset = load(name, root=root, size=size)
    sheet = contact_sheet(dataset.test_images[:images], seed)
    try:
        sheet.save(out, format="PNG")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error}; name a file in a folder that exists") from error
    click.echo(f"wrote {out}")


@group.command("render")
@click.option(
    "--spec", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file with a stream."
)
@click.option("--domains", help='Segments in short, such as "clean:500,fog:5:500,fog:1-5-1:300".')
@click.option("--dataset", "name", default="fashion-mnist", show_default=True, help="With --domains.")
@_seed
@_root
@_size
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to."
)
def render_stream(
    spec: Path | None,
    domains: str | None,
    name: str,
    seed: int,
    root: Path | None,
    size: tuple[int, int] | None,
    out: Path,
) -> None:
    """Render a stream of domains to a folder.

    A domain is clean, a corruption with its severity (1 to 5), a ramp of severities, or a mixture
    (`edgeadapt data corruptions` names the corruptions):

    \b
      clean:500                          500 clean frames
      fog:5:300                          300 frames of fog at severity 5
      fog:1-5-1:300                      fog that comes and goes
      "mixed(fog:5,shot_noise:3):300"    one of these for each frame

    \b
    A TOML file (--spec) can also weigh classes and draw them in runs:
      dataset = "fashion-mnist"
      [[segments]]
      domain = "fog:5"
      frames = 500
      dirichlet = 0.3       # few classes; or class_weights = [...]
      run_length = 20       # frames of one class in a row

    frames.npy is what a device may see; truth.npz (labels and domains) is for the evaluator; stream.json
    says how to make the same again. --seed and --dataset go with --domains; a TOML file has its own.
    """
    if (spec is None) == (domains is None):
        raise click.UsageError("give --spec or --domains, one of them")
    stream = read_spec(spec) if spec else StreamSpec(name, parse_segments(domains or ""), seed)
    rendered = _render_with_bar(stream, load(stream.dataset, root=root, size=size))
    write(rendered, out)
    click.echo(f"wrote {len(rendered.frames)} frames of {', '.join(rendered.domain_names)} to {out}")


def read_spec(path: Path) -> StreamSpec:
    """Read a stream from TOML (keys: dataset, seed, and [[segments]] with the fields of ``Segment``).

    Raises:
        ConfigError: names the file, the key and what was expected.
    """
    try:
        return config.parse(path.read_text(encoding="utf-8"), StreamSpec, source=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except ConfigError as error:
        if str(path) in str(error):
            raise
        raise ConfigError(f"{path}: {error}") from error


def _render_with_bar(stream: StreamSpec, dataset: Dataset) -> RenderedStream:
    with click.progressbar(length=stream.frames, label="render", file=sys.stderr) as bar:
        return render(stream, dataset, bar.update)
