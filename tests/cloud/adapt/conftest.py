"""A tiny bundle and a domain that it sees badly: gratings under a veil with a gradient."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from edgeadapt.bundle import Bundle, InputSpec
from edgeadapt_cloud.adapt import Adapter, AdaptSettings, LabelledSource, Networks
from edgeadapt_cloud.adapt.settings import AnchoredSettings, CemaSettings, GateSettings
from edgeadapt_cloud.adapt.student import Student
from edgeadapt_cloud.adapt.views import as_tensor
from edgeadapt_cloud.core.jobs.job import JobRequest
from edgeadapt_models.compile import compile_model, compile_module, tiny_bundle, tiny_images, tiny_module
from edgeadapt_models.compile.extras.request import ExtrasRequest, PromptRequest
from edgeadapt_models.compile.source.frames import Frames
from edgeadapt_models.compile.tiny import CLASSES
from edgeadapt_models.train.split import Labelled

Images = npt.NDArray[np.uint8]
SETTINGS = AdaptSettings(
    anchored=AnchoredSettings(
        steps=100, learning_rate=0.0015, replay_weight=1.0, rein_loss=0.03, flip=False, shift=0
    ),
    cema=CemaSettings(student_learning_rate=1e-4),
    gate=GateSettings(max_source_loss=0.03),  # the holdout is 400 images: one standard error is 0.015
)


class Oracle(nn.Module):
    """A teacher that is right: looks the labels of known images up by their bytes. Logits [N, 10]."""

    def __init__(self, images: Images, labels: npt.NDArray[np.int64]) -> None:
        super().__init__()
        self.known = {_key(image): int(label) for image, label in zip(as_tensor(images), labels, strict=True)}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.zeros(len(x), 10)
        for row, image in enumerate(x):
            logits[row, self.known.get(_key(image), 0)] = 8.0
        return logits, logits


class Ranks(nn.Module):
    """A student whose norm layers see maps and vectors; the first has no affine parameters. D = 8.

    The third shares its scale and bias with the second.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.conv = nn.Conv2d(1, 8, 5, stride=4)
            self.plain = nn.BatchNorm2d(8, affine=False)
            self.flat = nn.BatchNorm1d(8)
            self.tied = nn.BatchNorm1d(8)
            self.head = nn.Linear(8, 10)
        self.tied.weight, self.tied.bias = self.flat.weight, self.flat.bias
        for layer in (self.plain, self.flat, self.tied):
            layer.momentum = 1.0  # the statistics become those of the images; else half the channels are dead
        with torch.no_grad():
            self(as_tensor(tiny_images(100)[0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.tied(self.flat(self.plain(self.conv(x)).relu().mean(dim=(2, 3))).relu())
        return self.head(embedding), embedding


class Constant(nn.Module):
    """A teacher that says the same of everything, possibly NaN."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.zeros(len(x), 10)
        logits[:, 3] = self.logit
        return logits, logits


def _key(image: Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).digest()


def veiled(images: Images) -> Images:
    """A domain shift that statistics alone do not undo: a strong gradient from left to right."""
    ramp = np.linspace(0.05, 1.0, images.shape[2])[None, None, :, None]
    return np.asarray(images * ramp, dtype=np.uint8)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(Path(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="session")
def prompt_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    images, labels = tiny_images(400)
    return compile_module(
        tiny_module(),
        name="prompt",
        classes=CLASSES,
        spec=InputSpec((1, 28, 28)),
        data=Frames(images, labels),
        out=Path(tmp_path_factory.mktemp("prompt-bundle")),
        extras=ExtrasRequest(PromptRequest("full")),
    ).bundle


@pytest.fixture(scope="session")
def layer_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(Path(tmp_path_factory.mktemp("layer-bundle")), norm="layer")


@pytest.fixture(scope="session")
def ranks_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    images, labels = tiny_images(100)
    return compile_model(
        Ranks(),
        name="ranks",
        classes=CLASSES,
        input_shape=(1, 28, 28),
        calibration_images=images,
        calibration_labels=labels,
        out=Path(tmp_path_factory.mktemp("ranks-bundle")),
    )


@pytest.fixture(scope="session")
def source() -> LabelledSource:
    images, labels = tiny_images(1200, seed=1)
    return LabelledSource(Labelled(images[:800], labels[:800]), Labelled(images[800:], labels[800:]))


@pytest.fixture
def student(bundle: Bundle) -> Student:
    return Student(tiny_module(), bundle.manifest, bundle.base_slots())


@pytest.fixture(scope="session")
def domain() -> tuple[Images, npt.NDArray[np.int64]]:
    """Uploads of a veiled domain, shuffled: uint8 [600, 28, 28, 1] and labels [600]."""
    images, labels = tiny_images(600, seed=2)
    order = np.random.default_rng(0).permutation(600)
    return veiled(images)[order], labels[order]


MakeAdapter = Callable[..., Adapter]


def norm_slots(bundle: Bundle) -> dict[str, npt.NDArray[np.float32]]:
    """Base values of the slots that the cloud teaches: a bundle has others, such as its head's."""
    base = bundle.base_slots()
    return {slot.name: base[slot.name] for slot in bundle.manifest.slots if slot.kind.startswith("norm_")}


@pytest.fixture
def make_adapter(
    bundle: Bundle, source: LabelledSource, domain: tuple[Images, npt.NDArray[np.int64]]
) -> MakeAdapter:
    """Builds an adapter whose teacher is right on `domain` and on the source, unless another is given.

    Further keywords are settings of the gate.
    """
    tiny = bundle

    def make(
        teacher: nn.Module | None = None,
        *,
        bundle: Bundle = tiny,
        student: nn.Module | None = None,
        settings: AdaptSettings = SETTINGS,
        **gate: float,
    ) -> Adapter:
        if teacher is None:
            images = np.concatenate([domain[0], source.holdout.images])
            teacher = Oracle(images, np.concatenate([domain[1], source.holdout.labels]))
        settings = msgspec.structs.replace(
            settings,
            gate=msgspec.structs.replace(settings.gate, **gate),
            teaching=msgspec.structs.replace(settings.teaching, views=1),
        )
        return Adapter(settings, bundle, source, Networks(student or tiny_module(), teacher))

    return make


def request_for(
    bundle: Bundle,
    images: Images,
    *,
    strategy: str = "anchored",
    state: bytes = b"",
    job: int = 1,
    network: nn.Module | None = None,
) -> JobRequest:
    """A request for these images, with the statistics that a device would have settled at."""
    student = Student(network or tiny_module(), bundle.manifest, bundle.base_slots())
    if len(images) > 1:
        student.settle(as_tensor(images))
    statistics = student.statistics()
    return JobRequest(
        cohort="c-1",
        bundle_digest=bundle.digest,
        job=job,
        strategy=strategy,
        sample_ids=tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images),
        mean=statistics.mean.numpy().copy(),
        var=statistics.var.numpy().copy(),
        frames=1000,
        serial=1,
        state=state,
        serving={},
    )


def lanes_for(images: Images) -> list[str]:
    """Every fifth sample is of the uniform lane."""
    return ["audit" if index % 5 == 0 else "adapt" for index in range(len(images))]
