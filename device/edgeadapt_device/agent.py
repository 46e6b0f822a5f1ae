"""A device for those who have a loop of their own: frames in, predictions out, and the model stays in tune.

    with Agent("bundle") as agent:
        result = agent.infer(batch)

It is the daemon without its source: the same core, engine, outbox, store, builder and link (`machine`).
`infer` runs the session once for the whole batch and shows each frame to the core; a new generation is
built in a worker and takes over between two calls. Between calls a thread of its own sees to messages and
deadlines, so it does not matter how often `infer` is called. Any thread may call; one at a time is served.
"""

from __future__ import annotations

import atexit
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from edgeadapt.bundle import Bundle
from edgeadapt.errors import ConfigError
from edgeadapt.tensors import FloatArray
from edgeadapt.wire import Verdict
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.config.settings import resolve
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.core.events import Image
from edgeadapt_device.io.installed import Installed, open_installed
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.machine import Machine, now
from edgeadapt_device.reporter import Reporter
from edgeadapt_device.status import DeviceStatus

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgeadapt_device.config.settings import Overrides

# How often an agent that nobody calls looks at its clock.
_LOOK_EVERY_S = 0.25


class Result(msgspec.Struct, frozen=True):
    """What the model says about N frames, and what the device made of them.

    Attributes:
        classes: [N] int64, the likeliest class of each; `Agent.classes` has their names.
        probabilities: [N, K] float32, softmax of the logits.
        logits: [N, K] float32.
        embedding: [N, D] float32.
        entropy: [N] float32, of the probabilities, in nats.
        flagged: [N] bool, whether the frame was chosen for upload.
        verdicts: N words, what each frame is to the model: "familiar", "informative" (known, but unsure),
            "shifted" (strange, before the model has adapted to its domain), "unknown" (strange after it
            has) or "unreliable" (the outputs are not finite).
        generation: what scored them: "base", or the first digits of a patch's digest.
        segment: number of the stretch of one domain that the last frame belongs to.
    """

    classes: npt.NDArray[np.int64]
    probabilities: FloatArray
    logits: FloatArray
    embedding: FloatArray
    entropy: FloatArray
    flagged: npt.NDArray[np.bool_]
    verdicts: tuple[Verdict, ...]
    generation: str
    segment: int


class Agent:
    """A bundle that runs, adapts and talks to its cloud.

    Attributes:
        bundle: what it runs.
        config: what it was told, with defaults filled in.
        classes: name of each class, in the order of the logits.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        config: DeviceConfig | Path | str | None = None,
        **overrides: Unpack[Overrides],
    ) -> None:
        """Open the state folder, build the first generation and begin to connect.

        Args:
            bundle: a folder that `edgeadapt model compile` made, or one that was read.
            config: a configuration, or the path of a `device.toml`, of which [source] and
                `output.predictions` do not concern an agent. None: offline, with its state in the folder
                `state`, and no HTTP port.
            overrides: a section's name and its keys, over what `config` says:
                `mqtt={"host": "broker.local"}, device={"name": "camera-1"}`.

        Raises:
            ConfigError: the configuration is wrong, the state folder is in use, or the frames of this model
                cannot be uploaded, and that was asked for.
            BundleError: the bundle is damaged, or cannot be run.
            TransportError: the disk refuses.
        """
        self.config = resolve(config, overrides)
        installed = None if isinstance(bundle, Bundle) else Path(bundle)
        self.bundle, bundle_trouble = _opened(bundle, self.config)
        self.classes = self.bundle.manifest.classes
        self._spec = self.bundle.manifest.input
        self._lock, self._wake, self._ended = threading.Lock(), threading.Event(), threading.Event()
        self._answers: list[Predicted] = []
        self._failure: Exception | None = None
        self._closed = False
        state_dir = Path(self.config.device.state_dir)
        reporter = Reporter(state_dir, every_s=self.config.output.status_every_s)
        self._reporter = reporter
        self._machine = Machine(
            self.bundle,
            self.config,
            reporter,
            on_predicted=self._answers.append,
            posted=self._wake.set,
            installed=installed,
            bundle_trouble=bundle_trouble,
        )
        with ExitStack() as stack:
            lock = stack.enter_context(StateLock(state_dir))
            if lock.trouble:
                reporter.tell(lock.trouble)
            reporter.serve(self.config.http, stack)
            state = self._machine.open(stack)
            self._index = state.frames if state is not None else 0
            stack.callback(reporter.write_last, self._machine.watched)
            self._machine.start(lambda: True)
            self._stack = stack.pop_all()
        self._thread = threading.Thread(target=self._look_after, name="agent", daemon=True)
        self._thread.start()
        # A runtime does not like to be torn down in a build.
        atexit.register(self.close)

    def infer(self, frames: npt.NDArray[np.uint8 | np.float32]) -> Result:
        """Score frames, and learn from them.

        Args:
            frames: uint8 [N, H, W, C] or one frame [H, W, C] in the model's size, red first; for a model of
                arrays float32 [N, *shape] or [*shape], finite. They are not kept.

        Raises:
            ConfigError: they have another shape or type, or the agent is closed.
            TransportError: the runtime failed; the frames count for nothing, and the next call may succeed.
        """
        batch = self._batch(frames)
        with self._lock:
            self._check_open()
            self._work()
            self._answers.clear()
            scores = self._machine.score(self._index, batch).scores
            self._index += len(batch)
            answers = self._answers
            return Result(
                classes=np.array([answer.label for answer in answers], np.int64),
                # As np.stack would, which takes several times as long for one frame.
                probabilities=np.array([answer.probabilities for answer in answers]),
                logits=scores.logits,
                embedding=scores.embedding,
                entropy=np.array([answer.entropy for answer in answers], np.float32),
                flagged=np.array([answer.flagged for answer in answers], np.bool_),
                verdicts=tuple(answer.verdict for answer in answers),
                generation=answers[0].generation,
                segment=answers[-1].segment,
            )

    def status(self) -> DeviceStatus:
        """How the device is now; the same is in `status.json` of its state folder."""
        with self._lock:
            return self._reporter.look(self._machine.watched, now(), running=not self._closed)

    def close(self) -> None:
        """Wait a little for acknowledgements, commit the state, and close everything; again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._ended.set()
        self._wake.set()
        self._thread.join()
        with self._lock, self._stack:
            self._machine.stop(lambda: True)

    def __enter__(self) -> Agent:
        """Itself; leaving closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _batch(self, frames: npt.NDArray[np.uint8 | np.float32]) -> Image:
        spec = self._spec
        shape, dtype = spec.frame_shape, np.dtype(spec.frame_dtype)
        if not isinstance(frames, np.ndarray) or frames.dtype != dtype:
            found = f"{frames.dtype}" if isinstance(frames, np.ndarray) else type(frames).__name__
            raise ConfigError(f"frames: expected a NumPy array of {dtype}, got {found}")
        batch = frames[None] if frames.ndim == len(shape) else frames
        if batch.shape[1:] != shape or not len(batch):
            axes = ", ".join(map(str, shape))
            raise ConfigError(
                f"frames: expected [N, {axes}] or [{axes}] with N of 1 or more, got {list(frames.shape)}"
            )
        if spec.kind == "array":
            finite = np.isfinite(batch.reshape(len(batch), -1)).all(axis=1)
            if not finite.all():
                raise ConfigError(f"frames: frame {int(finite.argmin())} holds values that are not finite")
        return batch

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise ConfigError("this agent is closed: make another one")

    def _work(self) -> None:
        """Handle what has arrived and what is due; the lock is held."""
        while self._machine.work():
            pass
        self._machine.tick()

    def _look_after(self) -> None:
        """Work between two calls, until the end."""
        while not self._ended.is_set():
            self._wake.wait(_LOOK_EVERY_S)
            self._wake.clear()
            with self._lock:
                if self._closed:
                    return
                try:
                    self._work()
                except Exception as error:
                    # Whoever calls next is told; a thread that ends in silence would be worse.
                    self._failure = error
                    return


def _opened(bundle: Bundle | Path | str, config: DeviceConfig) -> Installed:
    if isinstance(bundle, Bundle):
        return Installed(bundle, "")
    return open_installed(Path(bundle), Path(config.device.state_dir), keeps=config.device.keep_bundle)
