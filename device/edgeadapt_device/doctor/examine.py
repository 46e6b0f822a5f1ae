"""All checks, in the order in which a device meets what they look at.

A check that itself goes wrong is a finding, too: whoever calls a doctor has trouble already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edgeadapt.bundle import Bundle
from edgeadapt.errors import EdgeAdaptError
from edgeadapt_device.config import DeviceConfig
from edgeadapt_device.doctor import (
    broker,
    certificates,
    clock,
    disk,
    model,
    process,
    runtime,
    source,
    trust,
    uplink,
)
from edgeadapt_device.doctor.finding import Finding, failed
from edgeadapt_device.io.lock import is_locked


def examine(config: DeviceConfig) -> Iterator[Finding]:
    """Look at everything, one finding at a time as it is made.

    Args:
        config: of the device, checked.
    """
    runs = is_locked(Path(config.device.state_dir))
    yield from _safely("process", partial(process.look, config, runs=runs))
    yield from _safely("runtime", partial(runtime.look, config.engine))
    read: list[Bundle] = []
    yield from _safely("bundle", partial(model.read, config, read))
    for bundle in read:
        yield from _safely("model", partial(model.look, bundle, config.engine))
        yield from _safely("uplink", partial(uplink.look, config, bundle))
        yield from _safely("source", partial(source.look, config, bundle, runs=runs))
    yield from _safely("disk", partial(disk.look, config))
    yield from _safely("clock", partial(clock.look, config))
    yield from _safely("certificates", partial(certificates.look, config))
    yield from _safely("trust", partial(trust.look, config))
    yield from _safely("broker", partial(broker.look, config, runs=runs))


def _safely(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except EdgeAdaptError as error:
        yield failed(check, str(error), "as it says")
    except Exception as error:
        # Drivers and libraries that are half there raise whatever they like.
        yield failed(check, f"could not be looked at: {type(error).__name__}: {error}", "see what it says")
