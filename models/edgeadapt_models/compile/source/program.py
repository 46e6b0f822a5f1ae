"""A program of torch.export as a draft: its graph is captured already, and so is its example's shape.

Its slots are named after its parameters, as its graph has them. A batch axis that was captured with a fixed
size of 1 is opened later, like that of a file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgeadapt.bundle import InputSpec, SlotValues
from edgeadapt.errors import CompileError
from edgeadapt.tensors import FloatArray
from edgeadapt_models.compile.graph.inputs import Preprocessing
from edgeadapt_models.compile.graph.outputs import OUTPUTS
from edgeadapt_models.compile.reference.base import Compare, comparing
from edgeadapt_models.compile.reference.squash import squash_of
from edgeadapt_models.compile.source.draft import Draft
from edgeadapt_models.compile.source.export import export_program
from edgeadapt_models.compile.source.modules import preprocess

_TRAINING = ("training", "train")
"""What operators of torch call the flag that tells them to train."""


def program_shape(program: torch.export.ExportedProgram) -> tuple[int, ...]:
    """Shape of one input, from the program's example.

    Raises:
        CompileError: the program takes something else than one float32 tensor.
    """
    example = program.example_inputs
    inputs: Sequence[object] = () if example is None else example[0]
    keywords: Mapping[str, object] = {} if example is None else example[1]
    first = inputs[0] if len(inputs) == 1 and not keywords else None
    if not isinstance(first, Tensor) or first.dtype != torch.float32:
        kinds = ", ".join(type(value).__name__ for value in (*inputs, *keywords.values())) or "nothing"
        raise CompileError(f"the program must take one float32 tensor, its example holds: {kinds}")
    return tuple(first.shape[1:])


def program_classes(
    program: torch.export.ExportedProgram, spec: InputSpec, wanted: Preprocessing, x: FloatArray
) -> int:
    """K of a program, by running it on one input; raises CompileError."""
    first = ProgramReference(program, spec, wanted).run(x[:1], {})[0]
    if first.ndim != 2:
        raise CompileError(f"the program must return logits [N, K], it returns {list(first.shape)}")
    return int(first.shape[1])


def draft_program(
    program: torch.export.ExportedProgram,
    spec: InputSpec,
    x: FloatArray,
    *,
    classes: int,
    preprocessing: Preprocessing | None = None,
) -> Draft:
    """Make a draft of a program.

    Args:
        program: returns logits [N, K], or (logits, embedding [N, D]).
        spec: the input.
        x: float32 [N, *shape]: some source data, not preprocessed.
        classes: K.
        preprocessing: of images.

    Raises:
        CompileError: the program cannot be run or exported, or does not return logits.
    """
    wanted = preprocessing or Preprocessing()
    _refuse_training(program)
    returned = ProgramReference(program, spec, wanted).run(x[:1], {})
    shapes = [list(tensor.shape) for tensor in returned]
    if len(returned) > 2 or any(tensor.ndim != 2 for tensor in returned) or shapes[0][1] != classes:
        raise CompileError(
            f"the program must return logits [N, {classes}], or (logits, embedding [N, D]); "
            f"for one input it returns {shapes}"
        )
    graph = export_program(program, len(returned))
    squash = squash_of(graph, graph.graph.output[0].name)
    return Draft(graph, spec, ProgramReference(program, spec, wanted, squash), "NCHW", wanted)


def _refuse_training(program: torch.export.ExportedProgram) -> None:
    """Raise CompileError for a program that was captured in training mode: it moves its own statistics."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for place, argument in enumerate(schema.arguments if schema is not None else ()):
            given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
            if argument.name in _TRAINING and given is True:
                raise CompileError(
                    f"the program was exported in training mode ({node.name}): call module.eval() before "
                    "torch.export.export"
                )


class ProgramReference:
    """The program itself, run in torch one input at a time, with slots written into its parameters."""

    title = "torch"

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        spec: InputSpec,
        wanted: Preprocessing,
        squash: str = "",
    ) -> None:
        """`squash` is what the program makes of its logits at the end, as in `reference.squash`."""
        self._module = program.module(check_guards=False)
        self._tensors = {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}
        self._spec, self._wanted, self._squash = spec, wanted, squash

    def expect(self, x: FloatArray, values: SlotValues) -> Compare | None:
        """As in `Reference`; nothing for slots that are no parameters of the program."""
        if not self._tensors.keys() >= values.keys():
            return None
        parts = [self.run(x[index : index + 1], values) for index in range(len(x))]
        named = zip(OUTPUTS, zip(*parts, strict=True), strict=False)
        return comparing({name: torch.cat(tensors).numpy() for name, tensors in named}, self._squash)

    def run(self, x: FloatArray, values: SlotValues) -> tuple[Tensor, ...]:
        """What the program returns for one input; raises CompileError."""
        kept = {name: self._tensors[name].detach().clone() for name in values}
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name, value in values.items():
                    self._tensors[name].copy_(torch.from_numpy(value.reshape(kept[name].shape).copy()))
                returned = self._module(torch.from_numpy(preprocess(x, self._spec, self._wanted)))
        except (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError) as error:
            raise CompileError(f"the program fails on an input of shape {x.shape}: {error}") from error
        finally:
            with torch.no_grad():
                for name, before in kept.items():
                    self._tensors[name].copy_(before)
        return (returned,) if isinstance(returned, Tensor) else tuple(returned)
