"""Devices and the cloud in one process, in virtual time: the real cores, the real bytes, no sockets.

`Pair` is the broker between `LocalDevice`s and a `LocalCloud`: exact topics, retained messages, in
order, nothing lost. A job runs inside the message that makes it due, so it takes no virtual time: a
patch arrives as early as it could. Not here: which frames are shown, and what is made of the answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeadapt.clock import Instant
from edgeadapt_cloud.local import LocalCloud
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.local import LocalDevice


class Pair:
    """One cloud and its devices, by device id, connected from the start."""

    def __init__(self, cloud: LocalCloud, devices: Mapping[str, LocalDevice], now: Instant) -> None:
        self._cloud = cloud
        self._devices = dict(devices)
        self._retained: dict[str, bytes] = {}
        self._heard: dict[str, frozenset[str]] = {name: frozenset() for name in devices}
        cloud.connected(now)
        for device in self._devices.values():
            device.connected(now)
        self.exchange(now)

    def step(self, images: Mapping[str, Image], now: Instant) -> dict[str, Predicted]:
        """Every device scores its frame [H, W, C]; then messages are exchanged until all is quiet."""
        answers = {name: self._devices[name].step(image, now) for name, image in images.items()}
        self.exchange(now)
        return answers

    def tick(self, now: Instant) -> None:
        """Let deadlines fire on both sides."""
        self._cloud.tick(now)
        for device in self._devices.values():
            device.tick(now)
        self.exchange(now)

    def exchange(self, now: Instant) -> None:
        """Carry messages both ways until nobody has any."""
        moved = True
        while moved:
            moved = self._carry_up(now)
            moved |= self._carry_down(now)
            moved |= self._catch_up(now)

    def _carry_up(self, now: Instant) -> bool:
        messages = [
            (topic, payload) for device in self._devices.values() for topic, payload, _ in device.outgoing()
        ]
        if messages:
            self._cloud.deliver_many(messages, now)
        return bool(messages)

    def _carry_down(self, now: Instant) -> bool:
        messages = self._cloud.outgoing()
        for topic, payload, retain in messages:
            if retain:
                self._retained[topic] = payload
            for name, device in self._devices.items():
                if topic in self._heard[name]:
                    device.deliver(topic, payload, now)
        return bool(messages)

    def _catch_up(self, now: Instant) -> bool:
        """Give every new subscription what is retained there; True when there was one."""
        any_new = False
        for name, device in self._devices.items():
            new = device.subscriptions - self._heard[name]
            self._heard[name] = device.subscriptions
            for topic in sorted(new & self._retained.keys()):
                device.deliver(topic, self._retained[topic], now)
            any_new |= bool(new)
        return any_new
