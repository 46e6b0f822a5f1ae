"""A rollback of a device that does not run: its stored state goes through the same core as a running one.

The core is started on the state, given the order, and stopped; what it wants durable is made so, and what
it wants built is not, since nothing is to be scored. The next start builds the base.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edgeadapt.bundle import Bundle, SlotValues
from edgeadapt.clock import Instant
from edgeadapt.errors import TransportError
from edgeadapt.patch import TrustedKeys
from edgeadapt_device.config import DeviceConfig, trusted_key_bytes
from edgeadapt_device.core import DeviceCore
from edgeadapt_device.core import events as ev
from edgeadapt_device.core.effects import Predicted
from edgeadapt_device.io.installed import open_installed
from edgeadapt_device.io.leaving import Leaving
from edgeadapt_device.io.link import NoLink
from edgeadapt_device.io.lock import StateLock
from edgeadapt_device.io.outbox.sqlite import SqliteOutbox
from edgeadapt_device.io.store import GenerationStore
from edgeadapt_device.performer import Performer
from edgeadapt_device.service.orders import Answer


def roll_back(config: DeviceConfig, reason: str, now: Instant) -> Answer:
    """Take a stopped device back to its base, for good.

    Args:
        config: of the device, checked.
        reason: reported to the cloud when the device runs again.
        now: the moment.

    Raises:
        ConfigError: the device runs after all, or a file in its folder is another's.
        BundleError: the bundle cannot be read.
        TransportError: the disk refuses; what was stored before is still whole.
    """
    folder = Path(config.device.state_dir)
    installed, keeps = Path(config.device.bundle), config.device.keep_bundle
    bundle = open_installed(installed, folder, keeps=keeps).bundle
    with StateLock(folder):
        outbox = SqliteOutbox(
            folder / "outbox.sqlite",
            max_bytes=config.delivery.outbox_bytes,
            durability="full",
            report=lambda text: None,
        )
        try:
            answer = _obey(config, bundle, folder, outbox, reason, now)
        finally:
            outbox.close()
    _give_back(folder)
    return answer


def _obey(
    config: DeviceConfig, bundle: Bundle, folder: Path, outbox: SqliteOutbox, reason: str, now: Instant
) -> Answer:
    store = GenerationStore(folder / "generation")
    state, envelopes = store.load()
    core = DeviceCore(
        bundle,
        config,
        TrustedKeys(trusted_key_bytes(config.trust)),
        rng=np.random.default_rng(),
        outbox=outbox.outbox_id,
        state=state,
        envelopes=envelopes,
        pending=outbox.pending(),
    )
    told: list[str] = []
    performer = Performer(
        core,
        outbox,
        store,
        NoLink(),
        _build_nothing,
        leaving=Leaving(config.privacy, bundle.manifest.classes),
        fleet=config.device.fleet,
        device=config.device.name,
        on_predicted=_predict_nothing,
        on_log=told.append,
    )
    performer.perform(core.start(now))
    performer.drain(now)
    before = core.view(now).generation
    performer.handle(ev.Rollback(reason), now)
    performer.perform(core.stop())
    if performer.storage_errors:
        raise TransportError(next(text for text in reversed(told) if text.startswith("storage: ")))
    return Answer("", True, before, "base")


def _build_nothing(token: int, values: SlotValues) -> None:
    """Nothing is to be scored."""


def _predict_nothing(predicted: Predicted) -> None:
    """Nothing was."""


def _give_back(folder: Path) -> None:
    """What root wrote here belongs to whom the folder belongs to, or the device could not go on with it."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path in folder.rglob("*"):
        if path.lstat().st_uid == 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
