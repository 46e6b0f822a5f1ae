"""Compile a network of the zoo: its weights, its card and its own fit split give all that is needed."""

from __future__ import annotations

from pathlib import Path

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import ConfigError
from edgeadapt_models.compile.compiler import Compilation, compile_module
from edgeadapt_models.compile.extras.request import ExtrasRequest
from edgeadapt_models.compile.scorers import ScorerRequest
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.targets import TargetRequest
from edgeadapt_models.train.material import material
from edgeadapt_models.train.split import split
from edgeadapt_models.zoo import load_pretrained, weights_card

CALIBRATION_IMAGES = 4000
_PLAIN, _ONNX = ExtrasRequest(), TargetRequest()


def compile_pretrained(
    name: str,
    out: Path,
    *,
    images: int = CALIBRATION_IMAGES,
    root: Path | None = None,
    extras: ExtrasRequest = _PLAIN,
    targets: TargetRequest = _ONNX,
    scorers: tuple[str, ...] = (),
) -> Compilation:
    """Compile the weights called `name` ("fashion-mnist/resnet8") into the folder `out`.

    Args:
        name: as in `edgeadapt_models.zoo.pretrained_names`.
        out: the bundle's folder.
        images: how many images of the fit split the calibration is measured on (drawn with a fixed seed),
            and at most so many of the holdout split the scorers' p-values.
        root: folder that holds the data set; None: where it is usually found.
        extras: prompts and adapters.
        targets: runtimes and precisions.
        scorers: names of those to fit; empty for the usual ones.

    Raises:
        ConfigError: unknown name, damaged weights, or a data set that is not there or not the weights' own.
        CompileError: the network cannot become a bundle.
    """
    card = weights_card(name)
    dataset = material(card.recipe, root=root)
    if dataset.classes != card.classes:
        raise ConfigError(f"data set {dataset.name!r} does not have the classes that {name!r} was trained on")
    parts = split(dataset)
    holdout = Frames(parts.holdout.images, parts.holdout.labels).sample(images)
    return compile_module(
        load_pretrained(name),
        name=name,
        classes=card.classes,
        spec=InputSpec((card.channels, card.height, card.width)),
        data=Frames(parts.fit.images, parts.fit.labels).sample(images),
        out=out,
        extras=extras,
        targets=targets,
        scorers=ScorerRequest(scorers, holdout, "split"),
    )
