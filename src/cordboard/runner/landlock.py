"""Confines a process by Landlock: it can inspect and signal no process outside its own domain.

A domain is a process and all that it forks. The fork server enters one before it imports a bot
file, and each bot's process enters one of its own below that. The kernel then refuses ``ptrace``
and ``/proc/PID/mem``, ``environ`` and ``fd`` of every process that is not below the bot, from its
first instruction on; since Linux 6.12 it refuses signals too. Unlike ``PR_SET_DUMPABLE`` this also
covers a process that was executed a moment ago.

All files stay accessible. ``setuid`` programs give no rights inside a domain.
"""

import ctypes
import os
import struct
import sys
from typing import Final

# linux/landlock.h and asm-generic/unistd.h; the numbers are the same on every architecture
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_FS_MAKE_BLOCK: Final = 1 << 11
_FS_REFER: Final = 1 << 13
_SCOPE_SIGNAL: Final = 1 << 1
_SCOPES_SINCE: Final = 6  # versions of Landlock: 6 is Linux 6.12, 2 is 5.19
_REFER_SINCE: Final = 2
_PR_SET_NO_NEW_PRIVS: Final = 38
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def landlock_version() -> int:
    """Return the kernel's version of Landlock; 0 if there is none that can be used."""
    if _LIBC is None:
        return 0
    version: int = _LIBC.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    return version if version >= _REFER_SINCE else 0  # the first one forbids to move files


def confine(version: int | None = None) -> bool:
    """Enter a new domain; return whether the kernel has done so.

    Args:
        version: Use no more than this version of Landlock; by default all that is there.
    """
    version = landlock_version() if version is None else version
    if _LIBC is None or not version:
        return False
    ruleset = _signal_rules() if version >= _SCOPES_SINCE else _file_rules()
    if ruleset < 0:
        return False
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    done: int = _LIBC.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return done == 0


def _signal_rules() -> int:
    """Return a ruleset that forbids signals to processes outside."""
    return _create(struct.pack("=QQQ", 0, 0, _SCOPE_SIGNAL))


def _file_rules() -> int:
    """Return a ruleset that forbids almost nothing: only its domain is needed.

    It forbids to make block devices, as it must forbid something, and allows to move files between
    directories, which Landlock otherwise forbids.
    """
    ruleset = _create(struct.pack("=Q", _FS_MAKE_BLOCK | _FS_REFER))
    if ruleset >= 0 and _LIBC is not None:
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        _LIBC.syscall(
            _ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", _FS_REFER, root), 0
        )
        os.close(root)
    return ruleset


def _create(attributes: bytes) -> int:
    assert _LIBC is not None  # noqa: S101 - asked before
    ruleset: int = _LIBC.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    return ruleset
