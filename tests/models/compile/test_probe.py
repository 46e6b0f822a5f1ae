"""Moments of layers of every rank in one network, against torch's own inputs to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from edgeadapt_models.compile import compile_model, tiny_images, tiny_module
from edgeadapt_models.compile.graph.probe import PROBE_OUTPUTS
from edgeadapt_models.compile.runtime import Runner, to_input


class Ranks(nn.Module):
    """BatchNorm over [N, C, H, W], LayerNorm over [N, T, C], BatchNorm over [N, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 5, stride=4)
        self.norm1 = nn.BatchNorm2d(6)
        self.norm2 = nn.LayerNorm(6)
        self.norm3 = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm1(self.conv(x)).relu().flatten(2).transpose(1, 2)
        embedding = self.norm3(self.norm2(y).mean(dim=1))
        return self.head(embedding), embedding


def _moments(module: nn.Module, x: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """[N, P] mean and mean square of every norm layer's input, channels by each layer's own axis."""
    seen: list[Tensor] = []
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
    hooks = [
        m.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for m in module.modules()
        if isinstance(m, kinds)
    ]
    with torch.no_grad():
        module(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    positions = [y.flatten(2).movedim(1, -1) if y.ndim == 4 else y.reshape(len(y), -1, 6) for y in seen]
    return [torch.cat([(y**p).mean(dim=1) for y in positions], dim=1).numpy() for p in (1, 2)]


@pytest.mark.parametrize("make", [Ranks, tiny_module])
def test_the_probe_returns_the_moments_of_every_layer(tmp_path: Path, make: type[nn.Module]) -> None:
    torch.manual_seed(3)
    module = make().eval()
    images, labels = tiny_images(40)
    bundle = compile_model(
        module,
        name="ranks",
        classes=[str(i) for i in range(10)],
        input_shape=(1, 28, 28),
        calibration_images=images,
        calibration_labels=labels,
        out=tmp_path / "bundle",
    )
    x = to_input(images[:3])
    outputs = Runner(bundle.probe_model(bundle.artifact("onnxruntime"), {})).run(x)
    for name, wanted in zip(PROBE_OUTPUTS, _moments(module, x), strict=True):
        assert outputs[name].shape == wanted.shape
        np.testing.assert_allclose(outputs[name], wanted, rtol=1e-4, atol=1e-5)
