"""The two baselines of a device, on the same frames: the frozen model, and own statistics only.

Both are the device's own code, performed inline and never connected: what differs from the process that
runs beside them is only what the full loop adds. Virtual time, from the frame number.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.local import LocalDevice

Baseline = Literal["frozen", "statistics"]
BASELINES: tuple[Baseline, ...] = ("frozen", "statistics")
_PACE = 60.0  # frames per second of virtual time, where the source is as fast as possible


def baseline_config(config: DeviceConfig, baseline: Baseline) -> DeviceConfig:
    """`config` as the baseline runs it: no uploads, and for "frozen" no probing either."""
    replace = msgspec.structs.replace
    changed = replace(
        config,
        mqtt=replace(config.mqtt, enabled=False),
        flagging=replace(config.flagging, enabled=False),
    )
    if baseline == "frozen":
        changed = replace(
            changed,
            statistics=replace(config.statistics, enabled=False),
            probe=replace(config.probe, share=0.0, young_frames=0),
        )
    return changed


class Shadows:
    """Both baselines of one device; they score the frames in order, when told to."""

    def __init__(self, bundle: Bundle, config: DeviceConfig, frames: npt.NDArray[np.uint8]) -> None:
        self._frames = frames
        self._pace = config.source.frames_per_second or _PACE
        self._devices = {
            baseline: LocalDevice(
                bundle, baseline_config(config, baseline), rng=np.random.default_rng(0), now=Instant(0.0, 0.0)
            )
            for baseline in BASELINES
        }
        self.count = 0
        self.labels: dict[Baseline, npt.NDArray[np.int64]] = {
            baseline: np.full(len(frames), -1, dtype=np.int64) for baseline in BASELINES
        }

    def step(self) -> None:
        """Score the next frame; raises IndexError after the last."""
        image = np.asarray(self._frames[self.count])
        second = self.count / self._pace
        for baseline, device in self._devices.items():
            self.labels[baseline][self.count] = device.step(image, Instant(second, second)).label
        self.count += 1
