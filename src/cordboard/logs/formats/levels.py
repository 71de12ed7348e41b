"""The level of a line of any logger, by a name, a number or the beginning of a text."""

from typing import Any, Final

from cordboard.contract.record import LEVELS, Level, level_from_name, level_from_number
from cordboard.logs.patterns import pattern

_FURTHER_NAMES: Final[dict[str, Level]] = {
    # zerolog, Serilog and klog write three letters or one.
    "trc": "debug",
    "dbg": "debug",
    "vrb": "debug",
    "d": "debug",
    "t": "debug",
    "v": "debug",
    "inf": "info",
    "i": "info",
    "wrn": "warn",
    "w": "warn",
    "eror": "error",
    "e": "error",
    "ftl": "error",
    "f": "error",
    "pnc": "error",
    "c": "error",
    # syslog, zap, java.util.logging, Serilog, Google Cloud, Monolog.
    "crit": "error",
    "emerg": "error",
    "dpanic": "error",
    "severe": "error",
    "fail": "error",
    "finest": "debug",
    "finer": "debug",
    "fine": "debug",
    "config": "info",
    "default": "info",
    "information": "info",
    "informational": "info",
    "deprecated": "warn",
}
_SYSLOG: Final[tuple[Level, ...]] = (
    *("error", "error", "error", "error", "warn", "info", "info", "debug"),
)
"""The severities of syslog (RFC 5424, table 2), 0 to 7."""

_AFTER_TIME: Final = pattern(
    r"\[?(ERR|WRN|INF|DBG|TRC|FTL|FATL|EROR|CRIT|FAIL)\]?[ :|\t]"  # three or four letters
    r"|(trace|debug|info|warn|warning|error|dpanic|panic|fatal)\t"  # zap's console encoder
    r"|([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w./-]+:\d+\]"  # klog
    r"|PHP (Fatal|Parse|Warning|Notice|Deprecated)\b"
)
_ANYWHERE: Final = pattern(
    r"\b(TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN|WARNING|ERROR|CRITICAL|FATAL|EXCEPTION|ALERT"
    r"|EMERGENCY|PANIC|SEVERE)\b"
    r"|\[(?:\w+:)?((?i:trace|debug|info|notice|warn|warning|error|crit|critical|alert|emerg|fatal))\d? *\]"
    r'|\b(?:level|lvl|severity)="?(\w+)'
)
_PHP: Final[dict[str, Level]] = {"Fatal": "error", "Parse": "error", "Deprecated": "warn"}


def level_of(value: Any) -> Level | None:
    """Return the level that a field's value means; None where it means none.

    Args:
        value: A name in any case, or a number, also as a text: 0 to 7 are syslog's severities, larger
            ones those of pino and bunyan.
    """
    if isinstance(value, str):
        name = value.strip()
        if name.isascii() and name.isdigit():
            return level_of(int(name))
        return level_from_name(name) or _FURTHER_NAMES.get(name.lower())
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if 0 <= value < len(_SYSLOG):
        return _SYSLOG[int(value)]
    return level_from_number(value - LEVELS["debug"])  # pino's info is 30, ours 20


def level_in(text: str) -> Level | None:
    """Return the level that a text line names; None where it names none.

    Args:
        text: The beginning of the line, behind its timestamp.
    """
    found = _AFTER_TIME.match(text) or _ANYWHERE.search(text)
    if found is None:
        return None
    name = next(filter(None, found.groups()))
    return _PHP.get(name) or level_of(name)
