"""Compile a model that somebody brings: what the command line says, turned into a draft and data.

One of: a torch factory with weights, an exported program, an ONNX file. With it a folder of source data, in
sub-folders named after classes or without labels. Everything that is not said is read from the model, and
what was concluded is noted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from edgeadapt.bundle import InputSpec
from edgeadapt.errors import CompileError
from edgeadapt_models.compile.analyse.findings import FoldedLayers
from edgeadapt_models.compile.compiler import Compilation, compile_draft, parity_inputs
from edgeadapt_models.compile.extras.request import ExtrasRequest
from edgeadapt_models.compile.scorers import ScorerRequest
from edgeadapt_models.compile.source.draft import Draft
from edgeadapt_models.compile.source.factory import load_program, load_weights, make_module
from edgeadapt_models.compile.source.frames import Frames, FrameSet, find_frames, read_arrays, read_pictures
from edgeadapt_models.compile.source.modules import draft_module, module_classes, preprocess
from edgeadapt_models.compile.source.onnx_file import Chosen, class_count, draft_file, input_of, read_onnx
from edgeadapt_models.compile.source.program import draft_program, program_classes, program_shape
from edgeadapt_models.compile.targets import TargetRequest

IMAGES = 4000
"""Frames to calibrate on, at most."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """What a person says of a model.

    Attributes:
        calibration: folder or file of source data.
        torch: "package.module:factory", or "".
        folder: where the package is, beside the usual places.
        weights: of the factory's module, or None to take those it comes with.
        program: file of torch.export, or None.
        onnx: ONNX file, or None.
        name: of the bundle; "" for the file's.
        classes: class names; empty to take sub-folders' names or numbers.
        shape: of one input, (C, H, W) for images; empty to take the model's or the data's.
        chosen: what else is said of the graph.
        folded: which layers without a norm layer of their own to use.
        extras: prompts and adapters.
        targets: runtimes and precisions.
        limit: frames to calibrate on, at most.
        scorers: names of scorers to fit; empty for the usual ones.
        holdout: folder or file of source data that the model was not trained on, for the scorers' p-values;
            None: half of the calibration data.
    """

    calibration: Path
    torch: str = ""
    folder: Path | None = None
    weights: Path | None = None
    program: Path | None = None
    onnx: Path | None = None
    name: str = ""
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    chosen: Chosen = field(default_factory=Chosen)
    folded: FoldedLayers = "auto"
    extras: ExtrasRequest = field(default_factory=ExtrasRequest)
    targets: TargetRequest = field(default_factory=TargetRequest)
    limit: int = IMAGES
    scorers: tuple[str, ...] = ()
    holdout: Path | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A model with its data, before its classes have names."""

    draft: Callable[[int], Draft]
    count: Callable[[], int]
    spec: InputSpec
    frames: FrameSet
    name: str
    notes: tuple[str, ...] = ()


def compile_own(model: OwnModel, out: Path) -> Compilation:
    """Compile it into the folder `out`.

    Raises:
        CompileError: the model or the data is not as needed; says what was found and the fix.
    """
    given = [part for part in (model.torch, model.program, model.onnx) if part]
    if len(given) != 1:
        raise CompileError("name one model: a torch factory, an exported program or an ONNX file")
    reader = _read_torch if model.torch else _read_program if model.program else _read_file
    read = reader(model)
    classes, notes = _classes(model, read)
    draft = read.draft(len(classes))
    draft = replace(draft, notes=(*read.notes, *notes, *draft.notes))
    data = read.frames.labelled(classes)
    holdout = _holdout(model, read.spec, classes)
    return compile_draft(
        draft,
        name=model.name or read.name,
        classes=classes,
        data=data,
        out=out,
        folded=model.folded,
        extras=model.extras,
        targets=model.targets,
        scorers=ScorerRequest(model.scorers, holdout, "half" if holdout is None else "given"),
    )


def parse_classes(text: str) -> tuple[str, ...]:
    """Class names from a file with one a line, or from a list with commas.

    Raises:
        CompileError: the file cannot be read, or a name is there twice.
    """
    path = Path(text)
    try:
        listed = path.read_text(encoding="utf-8").splitlines() if _is_file(path) else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise CompileError(f"{path} cannot be read as class names: {error}") from error
    classes = tuple(name.strip() for name in listed if name.strip())
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice or not classes:
        raise CompileError(
            f"class names must differ: {', '.join(twice[:5])}" if twice else "no class names given"
        )
    return classes


def _is_file(path: Path) -> bool:
    """False also for what no file can be called, such as a list that is longer than a name may be."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _classes(model: OwnModel, read: _Read) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names, and notes on where they are from."""
    if model.classes:
        return model.classes, ()
    count = read.count()
    folders = read.frames.class_names
    if len(folders) == count:
        return folders, ("class names are those of the sub-folders, in alphabetical order",)
    if folders:
        raise CompileError(
            f"the model has {count} classes and the calibration folder {len(folders)} sub-folders: name the "
            "classes in the model's order (--classes)"
        )
    return tuple(str(index) for index in range(count)), ("classes are numbered; name them with --classes",)


def _holdout(model: OwnModel, spec: InputSpec, classes: tuple[str, ...]) -> Frames | None:
    if model.holdout is None:
        return None
    found = find_frames(model.holdout)
    pictures = found.kind == "pictures"
    frames = (
        read_pictures(found, spec, limit=model.limit) if pictures else read_arrays(found, limit=model.limit)
    )
    return frames.labelled(classes)


def _read_file(model: OwnModel) -> _Read:
    assert model.onnx is not None
    graph = read_onnx(model.onnx)
    found = find_frames(model.calibration)
    if found.kind == "pictures":
        spec, layout = input_of(graph, model.chosen, image=True, shape=model.shape)
        frames = read_pictures(found, spec, limit=model.limit)
    else:
        frames = read_arrays(found, limit=model.limit)
        image = _kind(frames) == "image"
        spec, layout = input_of(graph, model.chosen, image=image, shape=model.shape or _shape(frames))
    x = parity_inputs(spec, frames.labelled(()))

    def draft(classes: int) -> Draft:
        return draft_file(graph, spec, layout, x, classes=classes, chosen=model.chosen)

    def count() -> int:
        return class_count(draft(0), x)

    return _Read(draft, count, spec, frames, model.onnx.stem)


def _read_torch(model: OwnModel) -> _Read:
    module = make_module(model.torch, folder=model.folder)
    notes = () if model.weights is None else load_weights(module, model.weights)
    spec, frames = _data(model, model.shape)
    x, wanted = parity_inputs(spec, frames.labelled(())), model.chosen.preprocessing

    def draft(classes: int) -> Draft:
        return draft_module(module, spec, x, classes=classes, preprocessing=wanted)

    def count() -> int:
        return module_classes(module, preprocess(x, spec, wanted))

    return _Read(draft, count, spec, frames, model.torch.partition(":")[2], notes)


def _read_program(model: OwnModel) -> _Read:
    assert model.program is not None
    program = load_program(model.program)
    spec, frames = _data(model, model.shape or program_shape(program))
    x, wanted = parity_inputs(spec, frames.labelled(())), model.chosen.preprocessing

    def draft(classes: int) -> Draft:
        return draft_program(program, spec, x, classes=classes, preprocessing=wanted)

    def count() -> int:
        return program_classes(program, spec, wanted, x)

    return _Read(draft, count, spec, frames, model.program.stem)


def _data(model: OwnModel, shape: tuple[int, ...]) -> tuple[InputSpec, FrameSet]:
    """The input and the source data of a model that does not say what it takes."""
    found = find_frames(model.calibration)
    if found.kind == "pictures":
        if len(shape) != 3:
            raise CompileError("give the size of the model's images: --input-shape 3,224,224")
        spec = InputSpec(shape)
        return spec, read_pictures(found, spec, limit=model.limit)
    frames = read_arrays(found, limit=model.limit)
    return InputSpec(shape or _shape(frames), _kind(frames)), frames


def _kind(frames: FrameSet) -> Literal["image", "array"]:
    return "image" if frames.frames.dtype == np.uint8 else "array"


def _shape(frames: FrameSet) -> tuple[int, ...]:
    """The input that frames are for: (C, H, W) for images."""
    shape = tuple(int(size) for size in frames.frames.shape[1:])
    return (shape[2], shape[0], shape[1]) if _kind(frames) == "image" and len(shape) == 3 else shape
