"""What a device makes of its frames: segments, own statistics, the domain it is in, and what runs there.

A frame goes `on_frame`: counted on trial, watched for a jump, and when it was probed to the tracker, the
statistics and the router. After a shift the device goes back to the base at once, and to a patch it
remembers as soon as it knows the new domain's signature. Not here: how patches come and go (`patches`),
builds (`switching`), uploads, messages and connections (`core`).
"""

from __future__ import annotations

import numpy as np

from edgeadapt.bundle.bundle import Bundle
from edgeadapt.clock import Instant
from edgeadapt.signature import Signature, features, probe_distance
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import SignatureReport
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.core.adapt.domains import DomainTracker, Home, PatchBank, Router
from edgeadapt_device.core.adapt.patches import Patches
from edgeadapt_device.core.adapt.report import signature_report
from edgeadapt_device.core.adapt.routes import FrameRoutes
from edgeadapt_device.core.adapt.running import Running, Statistics
from edgeadapt_device.core.adapt.statistics import OwnStatistics, Probing
from edgeadapt_device.core.adapt.switching import Switching
from edgeadapt_device.core.adapt.trial import Seen, Trial
from edgeadapt_device.core.effects import Effect, Log, StoreMessage
from edgeadapt_device.core.events import FrameScored


class Adaptation:
    """The parts of a device that decide what runs.

    Attributes:
        statistics: the device's own.
        switching: what runs and what is built.
        patches: where those come from, the bank and the trial among them.
        tracker: the segment.
        home: whether that is the source's domain, whatever classes come.
        probing: which frames are probed.
        routes: single frames that another patch than the running one scores.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: DeviceConfig,
        bank: PatchBank,
        segment: int,
        reference: Signature | None,
        *,
        rng: np.random.Generator,
    ) -> None:
        """Begin in `segment`, with its signature from before a restart, if there is one."""
        self._bundle, self._config = bundle, config
        calibration, classes = bundle.calibration, len(bundle.manifest.classes)
        source: Statistics = (calibration.norm_mean, calibration.norm_var)
        self.statistics = OwnStatistics(bundle, config.statistics)
        self.switching = Switching(self.statistics, source, config.statistics)
        self.patches = Patches(self.switching, bank, Trial(config.trial, classes))
        self.tracker = DomainTracker(
            calibration, config.domains, classes, segment=segment, reference=reference
        )
        self.home = Home(calibration)
        self._router = Router(bank, calibration, config.domains)
        # A reference too young to be taken over begins again, and the bank is asked when it is ready.
        known = reference is not None and reference.count >= config.domains.reference_frames
        self._router.new_segment(looked=known)
        young = config.probe.young_frames
        if not self.statistics.moves_statistics:
            # The domain's signature is all there is to learn.
            young = min(young, config.domains.reference_frames)
        channels = bundle.manifest.input.channels if bundle.manifest.input.kind == "image" else 1
        self.probing = Probing(config.probe, channels, rng, young_frames=young)
        self.routes = FrameRoutes(bundle, config, self.switching, self.patches)

    def start(self, running: Running) -> list[Effect]:
        """Build the first generation: the base, or what ran before a restart."""
        return self.switching.start(running)

    def stop(self) -> list[Effect]:
        """The process ends on purpose: a trial that runs proves nothing and begins again another time."""
        return self.patches.abandon_trial(go_back=True)

    # Frames

    def on_frame(self, event: FrameScored, predicted: int, uncertainty: float, now: Instant) -> list[Effect]:
        """Learn from one scored frame, its predicted class and the entropy of its prediction."""
        effects = self.routes.keep_warm()
        patch = self.switching.generations.patch_of(event.token)
        if self.probing.saw(event.image, uncertainty):
            self.statistics.relax()
        moved = self.statistics.see(predicted, event.embedding, patch, self.home.nearness)
        if moved or self.switching.held_up(now, young=self._young):
            effects += self.switching.refresh(now, young=self._young)
        if event.mean is not None and event.mean_square is not None:
            # A frame that belongs elsewhere, or was probed there, does not move the statistics held here.
            counts = event.probed is None or event.probed == event.token
            effects += self._on_probe(
                event.mean, event.mean_square, predicted, patch if counts else None, now
            )
        trial = self.patches.trial
        if trial.watched and patch == trial.candidate.digest:
            old = event.previous_logits
            compared = self._seen(old, event.previous_mean) if old is not None else None
            trial.observe(self._seen(event.logits, event.mean), compared)
            effects += self.judge_trial(now)
        return effects

    @property
    def _young(self) -> bool:
        """True while statistics are followed closely."""
        return self.probing.young or self.patches.trial.settling

    def _seen(self, logits: FloatArray, mean: FloatArray | None) -> Seen:
        return Seen(logits, probe_distance(mean, self._bundle.calibration) if mean is not None else None)

    def _on_probe(
        self, mean: FloatArray, mean_square: FloatArray, predicted: int, patch: str | None, now: Instant
    ) -> list[Effect]:
        vector = features(self._bundle.manifest, mean[None], mean_square[None])[0]
        if self.tracker.observe(vector, predicted):
            return self._on_shift()
        self.home.observe(vector, predicted)
        if patch is not None:
            self.statistics.add(mean, mean_square, predicted, patch)
        effects = self._route()
        if self.statistics.due(young=self._young) and self.switching.coming is None:
            self.statistics.fold(self.home.nearness)
            effects += self.switching.refresh(now, young=self._young)
        first, frames = self._config.domains.reference_frames, self.tracker.frames
        if not self._config.mqtt.enabled:
            # Nobody would ever read it, and reports are not dropped.
            return effects
        if frames in (first, 4 * first) or frames % self._config.domains.report_every_frames == 0:
            effects.append(StoreMessage(self.report()))
        return effects

    def _route(self) -> list[Effect]:
        """To a remembered patch whose domain this is, unless the cloud has spoken or one is on trial."""
        if self.patches.told or self.patches.trial.active:
            return []
        running = self.switching.present.entry
        route = self._router.choose(
            self.tracker.signature, self.tracker.frames, running, at_home=self.home.nearness > 1.0
        )
        return self.patches.recall(route.entry) if route is not None else []

    def _on_shift(self) -> list[Effect]:
        """A new segment: remember what was learnt, and go back to the base with the source's statistics."""
        self.patches.remember()
        effects = self.patches.abandon_trial()
        self.patches.told, self.patches.must_commit = False, True
        self._router.new_segment()
        self.home.restart()
        self.probing.new_segment()
        self.statistics.new_segment()
        return [
            *effects,
            *self.switching.to(self.switching.base),
            Log(f"the domain has shifted: segment {self.tracker.segment} begins"),
        ]

    # Builds and time

    def on_ready(self, token: int, now: Instant) -> list[Effect]:
        """A generation is warm: it scores the next frame."""
        beside = self.routes.warm.ready(token)
        if beside is not None:
            return beside
        first = self.switching.generations.running is None
        before, effects = self.switching.ready(token, now)
        if before is not None:
            effects += self.patches.on_switched(before, first=first)
        if self.switching.generations.running is not None:
            effects += self.patches.take_deferred(now)
        return effects

    def on_failed(self, token: int, reason: str) -> list[Effect]:
        """A generation could not be built: what runs goes on running.

        When nothing does yet, what ran before the restart is next, and then the base.
        """
        if self.routes.warm.failed(token):
            return [Log(f"no session can be kept for frames of another domain: {reason}")]
        first = self.switching.generations.running is None
        wanted, failed, effects = self.switching.failed(token)
        if not wanted:
            return effects
        effects += self.patches.on_not_built(failed, reason)
        if failed is not None and first:
            effects += self._start_without(failed)
        return effects

    def _start_without(self, failed: Running) -> list[Effect]:
        """The first generation could not be built: try what is left, until not even the base can be."""
        running = self.switching.running
        if running.digest != failed.digest and running.digest not in self.patches.blocked:
            return self.start(running)
        return self.start(self.switching.base) if failed.digest else []

    def at_home(self, times: float) -> bool:
        """True while frames look as the source's do, in whatever order their classes come.

        That is within `times` what lies near, and no alarm unless more than what lies near is asked for.
        """
        if self.tracker.elsewhere and times <= 1.0:
            return False
        return times * (self.home.nearness if self.home.frames else 1.0) >= 1.0

    def judge_trial(self, now: Instant) -> list[Effect]:
        """Keep or revert the patch on trial once the evidence says so."""
        return self.patches.judge_trial(now, self.tracker.signature)

    def report(self) -> SignatureReport:
        """Where the device is now, for the cloud."""
        return signature_report(self._bundle.digest, self.tracker, self.statistics.current)
