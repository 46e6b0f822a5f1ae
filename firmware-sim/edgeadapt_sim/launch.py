"""Become another program that dies with its parent (run as a script: `launch.py PARENT_PID PROGRAM ...`).

On Linux the kernel is asked (PR_SET_PDEATHSIG) to kill this process as soon as the thread that started
it ends, however it ends; elsewhere the program is only started. This file imports nothing of
edgeadapt, so that it starts in a few milliseconds. Not here: stopping a child in order (`processes`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Ask for the signal, check that the parent has not died meanwhile, then exec the program."""
    parent, program = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
