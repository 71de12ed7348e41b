"""What is trusted in a record that a bot wrote: its level, tag and text, and its time within limits.

Its session, user, room and epoch are those of its process, whatever it says; its service and event
may not be Cordboard's own.
"""

import hashlib
import os
import time
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.context import Context
from cordboard.contract.record import BOT_EVENTS, EVENTS, PLANE_SERVICES, SERVER_PREFIX

ADRIFT_S: Final = 600.0
"""The time of a line may not be further from now: files are searched by time, so a line of last year among
today's would hide those of others. A bot that was frozen, or waits for a full pipe, is late by less."""

_NULLS: Final = ("userId", "userName")
_BOOT_KEY: Final = os.urandom(16)


def of_session(record: dict[str, Any], context: Context, boot: str) -> dict[str, Any] | None:
    """Return a bot's record as a line of its own session; None if it claims another's.

    Args:
        record: What it wrote.
        context: Its session.
        boot: The boot that its process was given.
    """
    session, event = record["sessionId"], record.get("event")
    if session != context.session_id and not session.startswith(SERVER_PREFIX):
        return None
    if record["service"] in PLANE_SERVICES or (event in EVENTS and event not in BOT_EVENTS):
        return None
    dated = _in_time(record)
    own = {
        "sessionId": context.session_id,
        "userId": context.user_id,
        "userName": context.user_name,
        "room": context.room,
        "epoch": context.epoch,
        "boot": boot if record["boot"] == boot else _other_boot(boot, record["boot"]),
    }
    if all(dated.get(key) == value for key, value in own.items()):
        return dated
    theirs = dated | own
    return {key: value for key, value in theirs.items() if value is not None or key in _NULLS}


def of_no_session(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return a record of the import of bot files; None if it claims a session or a service of ours."""
    if not record["sessionId"].startswith(SERVER_PREFIX) or record.get("event") in EVENTS:
        return None
    if record["service"] in PLANE_SERVICES:
        return None
    kept = {key: value for key, value in record.items() if key not in {"room", "epoch"}}
    boot = _other_boot("", record["boot"])
    return _in_time(kept) | {"userId": None, "userName": None, "boot": boot}


def _other_boot(boot: str, claimed: str) -> str:
    """Return the boot of lines that a process writes under another boot than its own.

    A process that the bot forks draws one itself. The bot cannot choose what comes out here: lines
    under the boot of another process would be taken for that one's.
    """
    return hashlib.blake2b(f"{boot}{claimed}".encode(), digest_size=4, key=_BOOT_KEY).hexdigest()


def _in_time(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with a time near now; what it said is kept in ``meta.bot_time``."""
    said, now = record["timestamp"], time.time()
    try:
        adrift = abs(datetime.fromisoformat(said).timestamp() - now) > ADRIFT_S
    except ValueError:  # of the form, but no date
        adrift = True
    if not adrift:
        return record
    at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return record | {"timestamp": at, "meta": {**record.get("meta", {}), "bot_time": said}}
