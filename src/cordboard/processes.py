"""Child processes that never outlive us: the kernel ends them when their parent ends."""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int | None = None, *, number: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent ends, however the parent ends.

    For use as ``preexec_fn`` or at the start of a forked child. Elsewhere than on Linux it does
    nothing.

    Args:
        parent_pid: The parent that is expected; when it has ended already, this process ends too.
        number: The signal.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), number)
