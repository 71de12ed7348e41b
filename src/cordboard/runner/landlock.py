"""Confine a process with Landlock: it cannot inspect or signal processes outside its domain.

A domain consists of a process and everything that it forks. The fork server enters a domain before it
imports a bot file, and each bot process enters a nested one. The kernel then refuses ``ptrace`` and access
to ``/proc/PID/mem``, ``environ`` and ``fd`` of every process outside the domain; since Linux 6.12 it also
refuses signals. Unlike ``PR_SET_DUMPABLE``, this also protects a process that was executed a moment ago.

All files stay accessible. ``setuid`` programs gain no privileges inside a domain.
"""

import ctypes
import os
import struct
import sys
from typing import Final

# From linux/landlock.h and asm-generic/unistd.h. The numbers are the same on every architecture.
_SYS_LANDLOCK_CREATE_RULESET: Final = 444
_SYS_LANDLOCK_ADD_RULE: Final = 445
_SYS_LANDLOCK_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_ACCESS_FS_MAKE_BLOCK: Final = 1 << 11
_ACCESS_FS_REFER: Final = 1 << 13
_SCOPE_SIGNAL: Final = 1 << 1
_PR_SET_NO_NEW_PRIVS: Final = 38

# ABI versions of Landlock: 2 is Linux 5.19, 6 is Linux 6.12. Version 1 forbids moving files between
# directories, which bots may do, so it counts as no Landlock.
_ABI_MIN: Final = 2
_ABI_WITH_SCOPES: Final = 6

# None elsewhere than on Linux, where ``syscall`` has other numbers.
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def landlock_version() -> int:
    """Return the kernel's Landlock ABI version, or 0 if Landlock is not usable."""
    if _LIBC is None:
        return 0
    version: int = _LIBC.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return version if version >= _ABI_MIN else 0


def confine(version: int | None = None) -> bool:
    """Enter a new domain.

    Args:
        version: The Landlock ABI version to use at most; by default the kernel's.

    Returns:
        Whether this process is confined.
    """
    version = landlock_version() if version is None else version
    if _LIBC is None or not version:
        return False
    if version >= _ABI_WITH_SCOPES:
        ruleset = _create_signal_ruleset(_LIBC)
    else:
        ruleset = _create_file_ruleset(_LIBC)
    if ruleset < 0:
        return False
    # Without CAP_SYS_ADMIN the kernel accepts a ruleset only from a process that set this flag.
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    status: int = _LIBC.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return status == 0


def _create_signal_ruleset(libc: ctypes.CDLL) -> int:
    """Return a ruleset that forbids signals to processes outside the domain, and nothing else."""
    return _create_ruleset(libc, struct.pack("=QQQ", 0, 0, _SCOPE_SIGNAL))


def _create_file_ruleset(libc: ctypes.CDLL) -> int:
    """Return a ruleset that forbids as little as possible: only its domain is of interest.

    The kernel refuses an empty ruleset, so this one forbids creating block devices. It explicitly allows
    moving files between directories, which Landlock forbids by default.
    """
    ruleset = _create_ruleset(libc, struct.pack("=Q", _ACCESS_FS_MAKE_BLOCK | _ACCESS_FS_REFER))
    if ruleset >= 0:
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", _ACCESS_FS_REFER, root)
        libc.syscall(_SYS_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
        os.close(root)
    return ruleset


def _create_ruleset(libc: ctypes.CDLL, attributes: bytes) -> int:
    ruleset: int = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    return ruleset
