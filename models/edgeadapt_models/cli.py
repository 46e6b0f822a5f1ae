"""``edgeadapt model``: train a recipe, list what is trained, measure it, compile it to a bundle.

``compile`` and ``inspect`` come from ``edgeadapt_models.compile_cli``. torch is imported when a command runs,
so that help comes at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeadapt_models.compile_cli import compile_command, extract_command, inspect_command

if TYPE_CHECKING:
    from edgeadapt_models.zoo.weights import DomainAccuracy

_CIFAR10_ROOT = click.option(
    "--cifar10-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with CIFAR-10 (its binary files, or JPEG copies); else the cache, else a download.",
)
_THREADS = click.option("--threads", type=click.IntRange(1), help="CPU threads; else torch's default.")


@click.group()
def group() -> None:
    """Train, compile and inspect models.

    Trained weights for Fashion-MNIST and CIFAR-10 come with the package; `edgeadapt model list` names them.
    From weights to a device's bundle:

    \b
      edgeadapt model compile fashion-mnist/resnet8 --out bundle
      edgeadapt model inspect bundle
    """


group.add_command(compile_command)
group.add_command(inspect_command)
group.add_command(extract_command)


@group.command()
@click.argument("recipe_name", metavar="RECIPE")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the checkpoint, the weights and their card.  [default: out/train/RECIPE]",
)
@click.option("--epochs", type=click.IntRange(1), help="Train so many epochs instead of the recipe's.")
@_THREADS
@_CIFAR10_ROOT
def train(
    recipe_name: str, out: Path | None, epochs: int | None, threads: int | None, cifar10_root: Path | None
) -> None:
    """Train RECIPE and measure the result.

    Stopped and started again with the same --out, it goes on after the last whole epoch. The weights and
    their card are written at the end. `edgeadapt model list` shows the recipes.
    """
    import msgspec

    from edgeadapt_models.train import loop, progress, publish, recipes
    from edgeadapt_models.train.material import material
    from edgeadapt_models.zoo.weights import stem

    recipe = recipes.get(recipe_name)
    if epochs is not None:
        recipe = msgspec.structs.replace(recipe, epochs=epochs)
    folder = out or Path("out") / "train" / stem(recipe.name)
    _set_threads(threads)
    dataset = material(recipe, root=cifar10_root if recipe.dataset == "cifar10" else None)
    with progress.training_bar(recipe) as observe:
        trained = loop.train(recipe, dataset, folder, observe)
    click.echo(f"trained in {trained.trained_s:.0f} s; measuring")
    card = publish.publish(recipe, trained, dataset, folder, observe=_echo_domain)
    _echo_means(card.measured.clean, card.measured.mean_frozen, card.measured.mean_own_statistics)
    click.echo(f"weights and card: {folder / stem(recipe.name)}.safetensors, .json")


@group.command("list", short_help="Recipes, and trained weights with accuracy.")
def list_() -> None:
    """Recipes, and the trained weights that come with the package, with their accuracy."""
    from edgeadapt_models.train import recipes
    from edgeadapt_models.zoo.weights import pretrained_names, weights_card

    trained = set(pretrained_names())
    click.echo(f"{'recipe':<24} {'network':<12} {'clean':>7} {'frozen':>7} {'own st.':>7}  parameters")
    for name in sorted({*recipes.names(), *trained}):
        if name not in trained:
            click.echo(f"{name:<24} {recipes.get(name).network:<12} {'not trained':>23}")
            continue
        card = weights_card(name)
        own = card.measured.mean_own_statistics
        click.echo(
            f"{name:<24} {card.recipe.network:<12} {card.measured.clean:>7.1%} "
            f"{card.measured.mean_frozen:>7.1%} {_share(own):>7}  {card.parameters:,}"
        )
    click.echo("frozen, own st.: mean over 15 corruptions at severity 5, as trained and with the")
    click.echo("normalisation statistics re-estimated on each corruption's unlabelled images.")


@group.command(short_help="Measure trained weights on corrupted images.")
@click.argument("name")
@click.option("--severity", type=click.IntRange(1, 5), default=5, show_default=True)
@click.option(
    "--limit", type=click.IntRange(64), default=2000, show_default=True, help="Images per corruption."
)
@click.option(
    "--weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with weights and card; else those of the package.",
)
@_THREADS
@_CIFAR10_ROOT
def evaluate(
    name: str,
    severity: int,
    limit: int,
    weights: Path | None,
    threads: int | None,
    cifar10_root: Path | None,
) -> None:
    """Measure the trained weights NAME on clean and corrupted test images.

    Per corruption: as trained, and with normalisation statistics re-estimated on the same images without
    their labels. The figures of `edgeadapt model list` are made so.
    """
    from edgeadapt_models.train.evaluate import measure
    from edgeadapt_models.train.material import material
    from edgeadapt_models.zoo.weights import load_pretrained, weights_card

    card = weights_card(name, weights)
    network = load_pretrained(name, weights)
    _set_threads(threads)
    dataset = material(card.recipe, root=cifar10_root if card.recipe.dataset == "cifar10" else None)
    measured = measure(network, dataset, severity=severity, limit=limit, observe=_echo_domain)
    _echo_means(measured.clean, measured.mean_frozen, measured.mean_own_statistics)


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _echo_domain(domain: DomainAccuracy) -> None:
    own = _share(domain.own_statistics)
    click.echo(f"{domain.corruption:<20} frozen {domain.frozen:>6.1%}   own statistics {own:>6}")


def _echo_means(clean: float, frozen: float, own: float | None) -> None:
    click.echo(f"{'mean of corruptions':<20} frozen {frozen:>6.1%}   own statistics {_share(own):>6}")
    click.echo(f"{'clean':<20} {clean:.1%}")
