"""What a scorer is: fitted once on source data, kilobytes of tensors, one number per frame.

Higher is more like the source, for every scorer. A scorer is defined for every input: rows with NaN or Inf
score as the strangest that there is (`STRANGEST`), whatever else is in the batch; constant features, one
class only, channels without variance and a batch of one give finite values.

    kind = SCORERS.get("energy")
    scorer = kind.fit(source)                 at compile time
    tensors = scorer.tensors()                travels in calibration.safetensors
    kind.load(tensors).score(outputs)         on the device, [N]

Third parties register a `ScorerKind` under the entry point group `edgeadapt.scorers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.registry import Registry
from edgeadapt.tensors import FloatArray

#: Score of a row that is not finite: below every other, and still a number that every format can carry.
STRANGEST = float(np.finfo(np.float32).min)

Need = Literal["logits", "embedding", "head", "style", "temperature"]


class Outputs(msgspec.Struct, frozen=True):
    """What a model says about N frames; all float32.

    Attributes:
        logits: [N, K].
        embedding: [N, D] the last activations before the head; None when an engine gives none.
        style: [N, S] signature features of the first norm layer's input (`edgeadapt.signature`); None for
            frames that were not probed.
        temperature: [N] learned temperature, of models that were trained with one.
    """

    logits: FloatArray
    embedding: FloatArray | None = None
    style: FloatArray | None = None
    temperature: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The last linear layer: logits = embedding @ weight.T + bias.

    Attributes:
        weight: [K, D] float32.
        bias: [K] float32.
    """

    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True, slots=True)
class Source:
    """What a scorer is fitted on.

    Attributes:
        outputs: of N frames of the source, all fields that the bundle has.
        labels: [N] int64 classes; where nobody has labelled the frames, those that the model gives.
        head: the linear head, or None for a model without one.
    """

    outputs: Outputs
    labels: npt.NDArray[np.int64]
    head: Head | None = None


class Scorer(Protocol):
    """A fitted scorer."""

    def score(self, outputs: Outputs) -> FloatArray:
        """[N] float32, higher is more like the source; `STRANGEST` for rows that are not finite."""
        ...

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """Named arrays that `ScorerKind.load` needs; float16 or float32."""
        ...


class ScorerKind(Protocol):
    """A way to score.

    Attributes:
        name: under which it is registered, and its tensors are stored.
        needs: what must be there in `Outputs` and `Source`; a bundle without it goes without the scorer.
        semantic: True when it tells unknown classes from known ones better than it tells domains apart.
    """

    name: str
    needs: frozenset[Need]
    semantic: bool

    def fit(self, source: Source) -> Scorer:
        """Learn from source outputs."""
        ...

    def load(self, tensors: Mapping[str, npt.NDArray[Any]]) -> Scorer:
        """From what `Scorer.tensors` gave; raises WireError on other names, shapes or types."""
        ...


SCORERS: Registry[ScorerKind] = Registry("scorer")
