"""What models say of every domain, in every state: the expensive half of the study, kept from run to run.

Scoring is the cheap half, so a study with another scorer takes a minute. A file holds one network in one
domain and is named after all that it depends on. Style is kept for the base state only: no state moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from edgeadapt.bundle import SlotValues
from edgeadapt.errors import WireError
from edgeadapt.scoring import Outputs
from edgeadapt.tensors import FloatArray, decode_tensors, encode_tensors
from edgeadapt_models.train.atomic import replace_bytes
from edgeadapt_models.zoo.tempered import temperatures
from edgeadapt_sim.bench.ood.models import Model
from edgeadapt_sim.bench.ood.patches import PatchMaker
from edgeadapt_sim.bench.ood.pictures import Gallery, Images, Pictures
from edgeadapt_sim.bench.ood.plan import CLEAN, OodPlan

GROUPS = ("known", "near", "far", "reserved", "mixed", "source", "clean")
_CLEAN_FRAMES = 600  # that a patched model is shown by mistake
_SOURCE_FRAMES = 1000
_MATTERS = ("known", "unknown", "settling", "uploads", "foreign", "steps", "fitting", "epochs")
_FORMAT = 1
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model in some state says of a domain's frames, and of the source's.

    Attributes:
        known, near, far, reserved, mixed: of the domain, as in `Pictures`.
        source: of the source's holdout, clean.
        clean: of clean known test frames.
        accuracy: on `known`.
    """

    known: Outputs
    near: Outputs
    far: Outputs
    reserved: Outputs
    mixed: Outputs
    source: Outputs
    clean: Outputs
    accuracy: float


@dataclass(frozen=True, slots=True)
class Observer:
    """One model, its frames, and where what it said is kept; `maker` makes the maker of patches, once."""

    model: Model
    maker: Callable[[], PatchMaker]
    gallery: Gallery
    plan: OodPlan
    seed: int
    cache: Path

    def see(self, domain: tuple[str, int]) -> dict[str, Seen]:
        """By state; from the cache, or made and kept there."""
        path = self.cache / f"{self._key(domain)}.safetensors"
        if path.is_file():
            try:
                return self._unpack(decode_tensors(path.read_bytes(), max_bytes=_MOST_BYTES))
            except WireError:
                pass  # damaged: made again
        pictures, clean = self.gallery.domain(*domain), self.gallery.domain(CLEAN, 0)
        tensors: dict[str, FloatArray] = {}
        for state, values in self._states(domain, pictures):
            tensors |= self._run(state, values, pictures, clean)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, encode_tensors(tensors))
        return self._unpack(tensors)

    def _states(self, domain: tuple[str, int], pictures: Pictures) -> Iterator[tuple[str, SlotValues]]:
        """Slot values by state; at home there is nothing to patch."""
        yield "base", {}
        yield "own", self.model.settle({}, pictures.settling)
        if domain[0] != CLEAN:
            patch = self.maker().make(pictures.uploads, seed=1000 * self.seed + 10 * domain[1])
            yield "patched", self.model.settle(patch, pictures.settling)

    def _run(
        self, state: str, values: SlotValues, pictures: Pictures, clean: Pictures
    ) -> dict[str, FloatArray]:
        session, found = self.model.session(values), {}
        frames: dict[str, Images] = {
            **{group: getattr(pictures, group) for group in GROUPS[:5]},
            "source": self.model.source.holdout_images[:_SOURCE_FRAMES],
            "clean": clean.known[:_CLEAN_FRAMES],
        }
        for group, images in frames.items():
            outputs = self.model.outputs(session, images)
            assert outputs.embedding is not None
            assert outputs.style is not None
            found[f"{state}.{group}.logits"] = outputs.logits
            found[f"{state}.{group}.embedding"] = outputs.embedding
            if state == "base":
                found[f"{state}.{group}.style"] = outputs.style
        right = found[f"{state}.known.logits"].argmax(axis=1) == pictures.labels
        found[f"{state}.accuracy"] = np.array([right.mean()], dtype=np.float32)
        return found

    def _unpack(self, tensors: Mapping[str, FloatArray]) -> dict[str, Seen]:
        states = dict.fromkeys(name.partition(".")[0] for name in tensors)
        order = [state for state in ("base", "own", "patched") if state in states]
        return {
            state: Seen(
                **{group: self._outputs(tensors, f"{state}.{group}") for group in GROUPS},
                accuracy=float(tensors[f"{state}.accuracy"][0]),
            )
            for state in order
        }

    def _outputs(self, tensors: Mapping[str, FloatArray], name: str) -> Outputs:
        embedding = tensors[f"{name}.embedding"]
        return Outputs(
            tensors[f"{name}.logits"],
            embedding,
            tensors.get(f"{name}.style"),
            temperatures(self.model.student.network, embedding),
        )

    def _key(self, domain: tuple[str, int]) -> str:
        """Changes with the network, the plan and the pictures."""
        plan = {name: getattr(self.plan, name) for name in _MATTERS}
        parts = (_FORMAT, self.model.student.recipe, plan, self.gallery.far_sets, self.seed, domain)
        digest = sha256(msgspec.json.encode(parts)).hexdigest()
        return f"{self.model.student.recipe.network}-seed{self.seed}-{domain[0]}{domain[1]}-{digest[:12]}"
