"""Becomes another program that the kernel kills when the process that started it is gone.

Called as `python -I -S leash.py <parent's pid> <program> <argument>…`. A launcher, since Python's
`preexec_fn` is not safe where threads are. Where the kernel has no such signal (macOS) it only
becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    # The parent may have died before the line above; then nobody would ever send the signal.
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
    os.execv(program[0], program)  # noqa: S606 (no shell is the point)


if __name__ == "__main__":
    main()
