"""What a teacher still sees in a compressed picture: bytes, agreement with the PNG, accuracy (docs/adr/0012).

python scripts/fidelity.py cifar10
python scripts/fidelity.py fashion-mnist
"""

from __future__ import annotations

import io
import sys

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from edgeadapt_device.io.leaving.encoder import _jpeg
from edgeadapt_device.io.leaving.redact import shrunk
from edgeadapt_device.io.png import png
from edgeadapt_models.data import corrupt, load
from edgeadapt_models.zoo import load_pretrained

COUNT, SEVERITY = 600, 3
DOMAINS = ("clean", "fog", "gaussian_noise", "motion_blur", "jpeg_compression")
WAYS = {
    "PNG": png,
    "JPEG 95": lambda image: _jpeg(image, 95),
    "JPEG 85": lambda image: _jpeg(image, 85),
    "JPEG 70": lambda image: _jpeg(image, 70),
    "half, PNG": lambda image: png(shrunk(image, 0.5)),
    "half, JPEG 85": lambda image: _jpeg(shrunk(image, 0.5), 85),
}


def decoded(data: bytes, like: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """As the cloud decodes it: at the model's size."""
    with Image.open(io.BytesIO(data)) as picture:
        size = (like.shape[1], like.shape[0])
        whole = picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)
        return np.asarray(whole).reshape(like.shape)


@torch.no_grad()
def classes(teacher: torch.nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The teacher's class of each image."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    found = []
    for batch in pixels.split(100):
        out = teacher(batch)
        found.append((out[0] if isinstance(out, tuple) else out).argmax(1))
    return torch.cat(found).numpy()


def main(dataset: str) -> None:
    """Print a row for each encoding, the mean over all domains."""
    torch.set_num_threads(1)
    data = load(dataset)
    images, labels = data.test_images[:COUNT], data.test_labels[:COUNT]
    teacher = load_pretrained(f"{dataset}/teacher").eval()
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    for domain in DOMAINS:
        shown = images if domain == "clean" else np.asarray(corrupt(images, domain, SEVERITY))
        reference = classes(teacher, shown)
        for name, encode in WAYS.items():
            files = [encode(image) for image in shown]
            back = np.stack([decoded(file, image) for file, image in zip(files, shown, strict=True)])
            found = classes(teacher, back)
            size = float(np.mean([len(file) for file in files]))
            rows[name].append((size, float((found == reference).mean()), float((found == labels).mean())))
    for name, figures in rows.items():
        size, agreement, accuracy = np.mean(figures, axis=0)
        sys.stdout.write(f"| {name} | {size:.0f} | {agreement:.3f} | {accuracy:.3f} |\n")


if __name__ == "__main__":
    main(sys.argv[1])
