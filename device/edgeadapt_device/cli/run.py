"""`edgeadapt device run`: the daemon in the foreground, for a terminal or a service manager."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from edgeadapt.errors import EdgeAdaptError, TransportError
from edgeadapt_device.cli.common import CONFIG, hush_decoders, read_config
from edgeadapt_device.service import logs, notify

# sysexits.h EX_TEMPFAIL: a new start may go well, unlike after 2.
TRY_AGAIN = 75
# What the systemd unit does not start again.
MISTAKE = 2


@click.command(short_help="Score frames, adapt, and talk to the cloud.")
@CONFIG
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def run(config_path: Path, verbose: bool) -> None:
    """Score frames, keep the model in tune, and talk to the cloud.

    Runs until the source ends, Ctrl-C or SIGTERM, and then exits with 0; a configuration mistake exits
    with 2 before the first frame, a disk or a runtime that refuses with 75: a new start may go well. It
    may be killed at any time: the next run goes on with the same generation and sends what was not
    acknowledged. Without a broker it adapts by itself.
    """
    from edgeadapt_device.daemon import Daemon
    from edgeadapt_device.reporter import leave_word

    logs.set_up(verbose=verbose, journal=logs.is_journal(os.environ, sys.stderr.fileno()))
    # Where every thread was, when a runtime crashes or the watchdog ends a loop that hangs (SIGABRT).
    faulthandler.enable()
    notifier = notify.from_environment(os.environ, os.getpid())
    for variable in notify.VARIABLES:
        os.environ.pop(variable, None)  # not for processes that this one may start
    hush_decoders()
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    try:
        config = read_config(config_path)
        try:
            Daemon(config, stop, notifier).run()
        except EdgeAdaptError as error:
            leave_word(Path(config.device.state_dir), str(error))
            raise
    except EdgeAdaptError as error:
        logging.getLogger("edgeadapt.device").error("%s", error)
        notifier.status(str(error))
        raise SystemExit(TRY_AGAIN if isinstance(error, TransportError) else MISTAKE) from error
    finally:
        notifier.close()
