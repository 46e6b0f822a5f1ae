"""Frames that go elsewhere: the choice for each (`domains.frames`), and the sessions for it (`warm`).

Only with `domains.routing = "frame"`. The segment's own generation goes on as ever; what is measured under
another one does not move its statistics. While a route has no session yet, what runs takes the frame.
"""

from __future__ import annotations

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.signature import Signature, features
from edgeadapt.tensors import FloatArray
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.adapt.domains import FrameRouter
from edgeadapt_device.core.adapt.patches import Patches
from edgeadapt_device.core.adapt.running import Running
from edgeadapt_device.core.adapt.switching import Switching
from edgeadapt_device.core.adapt.warm import WarmSessions
from edgeadapt_device.core.effects import Effect

# Memory of a generation's two sessions with their working space, in sizes of the model's file.
_SESSION_FILES = 4


class FrameRoutes:
    """The routes of one device's frames.

    Attributes:
        warm: sessions that are kept beside what runs.
        rerouted: frames that one of them scored, since start.
    """

    def __init__(self, bundle: Bundle, config: DeviceConfig, switching: Switching, patches: Patches) -> None:
        self._manifest, self._switching, self._patches = bundle.manifest, switching, patches
        most = min(config.domains.warm_sessions, config.domains.warm_bytes // _session_bytes(bundle))
        self.warm = WarmSessions(switching.generations, most if config.domains.routing == "frame" else 0)
        self._router = FrameRouter(patches.bank, bundle.calibration, config.domains)
        self.rerouted = 0
        # Where the last frame went, and what one went without, by digest of the patch.
        self._last: str | None = None
        self._lacking: str | None = None

    @property
    def enabled(self) -> bool:
        """True when every frame is routed by itself."""
        return self.warm.enabled

    @property
    def last(self) -> int | None:
        """The generation that scored the last frame, if that is not what runs and is still there."""
        return self.warm.token(self._last)

    def is_elsewhere(self, token: int) -> bool:
        """True for a generation that is kept beside what runs."""
        return self.warm.holds(token)

    def route(
        self, token: int, mean: FloatArray, mean_square: FloatArray, domain: Signature
    ) -> tuple[int, ...]:
        """The generation that each of N frames is for.

        Args:
            token: under which they were probed.
            mean: [N, P] per-frame means of the norm layers' inputs.
            mean_square: [N, P] mean squares.
            domain: of the running segment.
        """
        running = self._switching.generations.running
        if not self.enabled or running is None:
            return (token,) * len(mean)
        found = []
        for vector in features(self._manifest, mean, mean_square):
            digest = self._router.choose(vector, domain, self._switching.running.entry)
            warm = self.warm.token(digest)
            self._last = digest if warm is not None else None
            if digest is not None and warm is None:
                self._lacking = digest
            self.rerouted += warm is not None
            found.append(warm if warm is not None else running.token)
        return tuple(found)

    def keep_warm(self) -> list[Effect]:
        """Ask for a session that a frame went without; those of patches that are gone, or run now, leave."""
        if not self.enabled:
            return []
        effects = self.warm.keep(self._is_wanted)
        lacking, self._lacking = self._lacking, None
        if lacking is None or not self._is_wanted(lacking):
            return effects
        entry = self._patches.bank.by_digest(lacking) if lacking else None
        route = Running(entry, self._patches.start_statistics(entry))
        statistics = self._switching.statistics
        return effects + self.warm.ask(lacking, lambda: statistics.values(route.values, route.statistics))

    def _is_wanted(self, digest: str) -> bool:
        known = not digest or self._patches.bank.by_digest(digest) is not None
        return known and digest != self._switching.present.digest


def _session_bytes(bundle: Bundle) -> int:
    largest = max(len(bundle.files[artifact.file]) for artifact in bundle.manifest.artifacts)
    return _SESSION_FILES * max(largest, 1)
