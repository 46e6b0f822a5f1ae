"""What a device is told: one frozen struct per section of `device.toml`, a comment per key.

Parsed once, by the command line, with `edgeadapt.config.parse`. Durations are in seconds, sizes in
bytes, entropies in fractions of ln K (K classes) unless a comment says otherwise.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeadapt.normstats import StatisticsConfig
from edgeadapt_device.config.base import Section
from edgeadapt_device.config.uplink import BudgetSection, DeliverySection, FlaggingSection, PrivacySection


class DeviceSection(Section, frozen=True):
    """[device]: who this device is and where its files are."""

    # Device id = MQTT client id = certificate CN. Letters, digits, '.', '_', '-'.
    name: str
    # The fleet's name: the first part of every topic.
    fleet: str = "default"
    # Folder of the installed bundle (made by `edgeadapt model compile`).
    bundle: str = "bundle"
    # Folder for the outbox, the running generation and status.json. Survives restarts.
    state_dir: str = "state"
    # Keep a copy of the bundle in there, which runs when the installed one is found damaged at a start.
    keep_bundle: bool = True


class MqttSection(Section, frozen=True):
    """[mqtt]: the way to the cloud."""

    # False keeps the device offline: it still adapts by itself.
    enabled: bool = True
    # Broker host name or address; empty to look for one on the local network that announces this fleet (with
    # DNS-SD, as `edgeadapt cloud serve --announce` does). Its port is the announced one then.
    host: str = "127.0.0.1"
    # Broker port; 8883 is usual with TLS.
    port: int = 1883
    # Seconds between pings; under 15 s a slow uplink is taken for a dead one.
    keepalive_s: int = 30
    # How long the broker keeps this device's session while it is away.
    session_expiry_s: int = 7 * 24 * 3600
    # A connection that is back within so many seconds was never lost, as far as the cloud is told; 0: it is
    # told at once. A broker that cannot wait tells it at once, too.
    will_delay_s: int = 5
    # User name, if the broker asks for one.
    username: str = ""
    # File that holds the password on its first line.
    password_file: str = ""
    # CA certificate (PEM); giving one turns TLS on.
    tls_ca: str = ""
    # This device's certificate (PEM), for mutual TLS.
    tls_cert: str = ""
    # Its key (PEM), when that is not in the same file.
    tls_key: str = ""
    # The name that the broker's certificate must carry when it is not `host`; needed with TLS when the broker
    # is to be found, since anyone may announce one.
    tls_name: str = ""
    # Longest pause between two attempts to connect, or to find a broker.
    reconnect_max_s: int = 30
    # Addresses of the interfaces to look for a broker on; empty for all.
    interfaces: tuple[str, ...] = ()


class SourceSection(Section, frozen=True):
    """[source]: where the frames come from."""

    # "stream": a folder with frames.npy; "folder": image files in name order; "video": a video file;
    # "camera": a V4L2 camera or a network stream; "watch": a folder into which files are dropped. Videos and
    # cameras need OpenCV: pip install 'edgeadapt[video]'. For a model of arrays: "stream", or "folder" and
    # "watch" with .npy files.
    kind: Literal["stream", "folder", "video", "camera", "watch"] = "stream"
    # The folder or the file; a camera's number ("0"), device ("/dev/video0") or URL ("rtsp://...").
    path: str = "frames"
    # Frames per second to play; 0 is as fast as possible, and as fast as they come from a camera.
    frames_per_second: float = 0.0
    # Start again at the end of a stream, folder or video instead of finishing.
    loop: bool = False
    # A picture of another size than the model's: "crop" fills the frame and cuts off what is too much, evenly
    # (as most classifiers are trained); "letterbox" shows all of it, with grey bars; "stretch" gives up its
    # proportions; "off" skips it.
    resize: Literal["crop", "letterbox", "stretch", "off"] = "crop"
    # Frames that are read ahead; of a camera only the newest are kept.
    queue_frames: int = 2
    # Without a usable picture for so many seconds a camera is opened again, and anything else said to hang.
    stall_s: float = 10.0
    # Width to ask of a camera, in pixels; 0 leaves its own.
    width: int = 0
    # Height, likewise.
    height: int = 0
    # A watched folder is listed so often, in seconds ...
    poll_s: float = 0.5
    # ... and a file in it is finished when it has not changed for so long.
    settle_s: float = 1.0
    # What becomes of a file in a watched folder that was scored: "keep", "move" or "delete".
    after: Literal["keep", "move", "delete"] = "keep"
    # The folder it is moved to; empty for `scored` in the watched folder.
    moved_to: str = ""


class EngineSection(Section, frozen=True):
    """[engine]: the inference runtime."""

    # Name of a registered engine: "onnxruntime", "tflite", or one that an installed package brings.
    runtime: str = "onnxruntime"
    # Which of the bundle's models: "float32", "int8", or "auto" for int8 where the bundle has it.
    precision: Literal["auto", "float32", "int8"] = "auto"
    # ONNX Runtime's execution providers in order of preference, such as ["TensorRT", "CUDA"]. The CPU takes
    # what is left; one that does not run is said in the log and the status.
    providers: tuple[str, ...] = ("CPU",)
    # What ONNX Runtime may rewrite in the graph: "all", "extended", "basic" or "none".
    optimization: Literal["all", "extended", "basic", "none"] = "all"
    # Threads per inference.
    threads: int = 1
    # Serve every frame from the probe graph: a few per cent more per frame (MobileNetV2: twice as much), half
    # the time per swap, and a third less memory. LiteRT keeps both graphs in one session anyway.
    single_session: bool = False


class ProbeSection(Section, frozen=True):
    """[probe]: which frames also return the moments of the norm layers."""

    # Share of frames in a settled segment; 0 turns probing off, and with it domains and the statistics of
    # norm layers (an embedding shift and patches need none). A jump is seen by a glance at the frames
    # themselves: more finds it no sooner.
    share: float = 0.01
    # The first frames of a segment, all of which are probed; then the share falls as 1/n to the settled one.
    young_frames: int = 96
    # When the frames themselves look different all of a sudden, so many in a row are probed; then as above.
    burst_frames: int = 32


class DomainsSection(Section, frozen=True):
    """[domains]: telling one domain from another. Distances are in source standard deviations."""

    # Probed frames in the sliding window that is compared with the segment's reference.
    window_frames: int = 24
    # Probed frames that make a segment's first reference and its first report.
    reference_frames: int = 48
    # The reference keeps learning up to this many frames, then stays, so that slow drift is seen too.
    max_reference_frames: int = 512
    # Away from the source: window mean further than this from the reference, a new segment ...
    shift_distance: float = 0.4
    # ... on this many probed frames in a row.
    patience_frames: int = 4
    # At home, a new segment begins with the drift alarm: the chance that it ever sounds in a stream, of any
    # length, that stays at home.
    alarm_level: float = 0.01
    # A remembered patch whose signature is nearer than this is put back at once. What chance adds to a
    # signature of so many frames is granted.
    match_distance: float = 0.4
    # Another one takes its place in the same segment only if it is nearer by this much, `patience_frames` in
    # a row.
    hysteresis: float = 0.1
    # Probed frames of a new segment before the first look into the bank.
    match_frames: int = 12
    # "segment": one patch at a time, for the domain of the stream. "frame": each frame goes to the remembered
    # patch whose domain it looks like itself. That probes every frame, and scores one twice that goes
    # elsewhere than the frame before it.
    routing: Literal["segment", "frame"] = "segment"
    # Sessions that are kept warm for that beside the running one ...
    warm_sessions: int = 4
    # ... and the memory they may take, a session counted as four times its model file.
    warm_bytes: int = 128 << 20
    # Most bytes of patches to remember; the least recently used go first.
    bank_bytes: int = 16 << 20
    # Probed frames between two signature reports of a settled segment.
    report_every_frames: int = 4096


class TrialSection(Section, frozen=True):
    """[trial]: watching a new patch before it is kept.

    Each `max_` and `min_` is the bound of one check of the evidence; a patch is reverted as soon as one of
    them is proved to be broken, and kept as soon as all are proved to hold.
    """

    # Frames to watch; the evidence usually decides sooner. A patch that is undecided then is kept, unless it
    # seems to break a bound: that one is watched up to four times as long.
    frames: int = 400
    # Share of them that the old generation scores too.
    share: float = 0.5
    # Fewest compared frames before a patch is kept.
    min_compared: int = 32
    # Chance at most of reverting a patch that breaks no bound, and of keeping, before the last frame, one
    # that does.
    alpha: float = 0.05
    # Frames under the new patch, all of them probed, before the evidence counts: the statistics settle.
    settle_frames: int = 64
    # Mean entropy may rise by this fraction of ln K.
    max_entropy_rise: float = 0.08
    # The chance that two frames get the same class may rise by this: no collapse onto few classes.
    max_concentration: float = 0.15
    # Share of frames on which old and new must agree. A patch that takes a model from 45 % to 70 % agrees
    # with the old one on little more than a third, so this only catches gross harm.
    min_agreement: float = 0.2
    # D / (1 + D) may rise by this, D being the distance of the norm layers' inputs from the source's, in
    # source standard deviations.
    max_probe_distance: float = 0.25
    # A trial that takes longer is judged on what it has.
    deadline_s: float = 3600.0


class TrustSection(Section, frozen=True):
    """[trust]: whose patches are accepted."""

    # Ed25519 public keys, 64 hex digits each (`edgeadapt cloud keygen` prints one). None: no patches.
    keys: tuple[str, ...] = ()


class OutputSection(Section, frozen=True):
    """[output]: what the device tells its host."""

    # Append-only CSV of predictions; empty for none.
    predictions: str = ""
    # Seconds between two writes of status.json.
    status_every_s: float = 1.0
    # Seconds between two writes of the running state, which also follows every change of patch.
    commit_every_s: float = 5.0
    # Seconds between two metric messages to the cloud.
    metric_every_s: float = 30.0
    # No frame for longer than this, while the source should give some, makes the device unhealthy; 0: never.
    stalled_after_s: float = 30.0


class HttpSection(Section, frozen=True):
    """[http]: /healthz and /metrics (Prometheus) for a monitor on this machine."""

    # False listens nowhere.
    enabled: bool = True
    # Numeric address to listen on.
    host: str = "127.0.0.1"
    # Port; 0 takes any free one, which `edgeadapt device status` shows. One in use ends nothing.
    port: int = 9747
    # True allows an address that others can reach: anyone there may read what /metrics says.
    public: bool = False


class DeviceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `device.toml`."""

    device: DeviceSection
    mqtt: MqttSection = MqttSection()
    source: SourceSection = SourceSection()
    engine: EngineSection = EngineSection()
    probe: ProbeSection = ProbeSection()
    statistics: StatisticsConfig = StatisticsConfig()
    domains: DomainsSection = DomainsSection()
    flagging: FlaggingSection = FlaggingSection()
    budget: BudgetSection = BudgetSection()
    delivery: DeliverySection = DeliverySection()
    privacy: PrivacySection = PrivacySection()
    trial: TrialSection = TrialSection()
    trust: TrustSection = TrustSection()
    output: OutputSection = OutputSection()
    http: HttpSection = HttpSection()
