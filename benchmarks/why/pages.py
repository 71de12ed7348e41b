"""Lines of a caller's page, made by hand: no program can mute a microphone by the system, or freeze a page on demand."""

import json
import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass
class PageLines:
    """Writes lines as the interface writes those of pages, each page with a boot of its own."""

    path: Path
    boots: dict[str, tuple[str, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, session: str, what: str, **meta: Any) -> None:
        """Write a line: an event, the kind of a `device.changed`, or a message."""
        if what == "join.clicked":  # the interface sends the join
            self._write(session, "interface", "join.requested", {})
        self._write(session, "browser", what, meta)

    def _write(self, session: str, service: str, what: str, meta: dict[str, Any]) -> None:
        boot, seq = self.boots.get(f"{service} {session}", (secrets.token_hex(4), 0))
        self.boots[f"{service} {session}"] = boot, seq + 1
        record: dict[str, Any] = {
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": "info",
            "message": what.replace(".", " ").capitalize(),
            "service": service,
            "tag": "call",
            "sessionId": session,
            "userId": None,
            "userName": "Ada",
        }
        if what.startswith("join."):
            record["event"] = what
        elif what in {"frozen", "resumed", "muted", "unmuted"}:
            record |= {"event": "device.changed", "message": "Device changed"}
            meta = {"kind": what, **meta}
        else:
            record["message"] = what
        record |= {"meta": meta} if meta else {}
        record |= {"boot": boot, "seq": seq + 1}
        with self.lock, self.path.open("a") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
