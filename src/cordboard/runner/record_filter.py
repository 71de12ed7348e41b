"""Decide which fields of a record that a bot wrote are trusted.

Level, tag and message are the bot's; the time is, within limits. Session, user, room and epoch are those of
the bot's process. Service and event must not be Cordboard's own.
"""

import hashlib
import os
import time
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.context import Context
from cordboard.contract.record import BOT_EVENTS, EVENTS, PLANE_SERVICES, SERVER_PREFIX
from cordboard.emit.pipeline import pipeline

# How far the time of a record may be from now. Log files are searched by time, so a line of last year
# among today's lines would hide the lines around it. A bot that was frozen, or that waits for a full
# pipe, is late by less.
CLOCK_TOLERANCE_S: Final = 600.0

_NULLABLE: Final = ("userId", "userName")  # written as null if unknown; other fields are left out
# Drawn by each runner, so that a bot cannot choose a boot that belongs to another process.
_BOOT_KEY: Final = os.urandom(16)


def filter_bot_record(record: dict[str, Any], context: Context, boot: str) -> dict[str, Any] | None:
    """Return the bot's record as a line of the bot's session.

    Args:
        record: The record, as the bot wrote it.
        context: The bot's session.
        boot: The boot of the bot's process.

    Returns:
        None if the record names another session, or a service or event of Cordboard.
    """
    session_id, event = record["sessionId"], record.get("event")
    if session_id != context.session_id and not session_id.startswith(SERVER_PREFIX):
        return None
    if record["service"] in PLANE_SERVICES or (event in EVENTS and event not in BOT_EVENTS):
        return None
    dated = _with_plausible_time(record)
    own_fields = {
        "sessionId": context.session_id,
        "userId": context.user_id,
        "userName": context.user_name,
        "room": context.room,
        "epoch": context.epoch,
        "cell": pipeline.cell,
        "boot": boot if record["boot"] == boot else _derived_boot(boot, record["boot"]),
    }
    if all(dated.get(key) == value for key, value in own_fields.items()):
        return dated
    merged = dated | own_fields
    return {key: value for key, value in merged.items() if value is not None or key in _NULLABLE}


def filter_import_record(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return `record`, written while a bot file was imported, as a line without a session.

    Returns:
        None if the record names a session, or a service or event of Cordboard.
    """
    if not record["sessionId"].startswith(SERVER_PREFIX) or record.get("event") in EVENTS:
        return None
    if record["service"] in PLANE_SERVICES:
        return None
    fields = {key: value for key, value in record.items() if key not in {"room", "epoch"}}
    boot = _derived_boot("", record["boot"])
    return _with_plausible_time(fields) | {"userId": None, "userName": None, "boot": boot}


def _derived_boot(boot: str, claimed: str) -> str:
    """Return the boot for lines that a process writes under another boot than its own.

    A process that the bot forks draws its own boot. The bot cannot choose the result: lines under the boot
    of another process would count as that process's lines.
    """
    return hashlib.blake2b(f"{boot}{claimed}".encode(), digest_size=4, key=_BOOT_KEY).hexdigest()


def _with_plausible_time(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record whose time is near now; an implausible time moves to ``meta.bot_time``."""
    timestamp, now = record["timestamp"], time.time()
    try:
        difference_s = abs(datetime.fromisoformat(timestamp).timestamp() - now)
    except ValueError:  # the right form, but not a date
        difference_s = float("inf")
    if difference_s <= CLOCK_TOLERANCE_S:
        return record
    corrected = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    meta = {**record.get("meta", {}), "bot_time": timestamp}
    return record | {"timestamp": corrected, "meta": meta}
