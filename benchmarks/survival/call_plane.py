"""The processes of the measurement, each by its own command, and the deaths of them."""

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from edge.phone_support import PUBLIC_URL, TOKEN
from faults.history import Event, Violation, judge
from plane_support import HEADERS, Part, Processes, ask, ready
from tests_support import until

HERE = Path(__file__).parent
# One has the call, one takes it, and one loads its bots after the kill before.
RUNNERS = 3
OPERATOR = ("--launcher", "none")
RECOVERY_S = 20.0  # the bound of the caller's side for a confirmed death
ACCOUNTS = {
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": TOKEN,
    "CORDBOARD_STREAM_GRACE_S": "0",
}
CONFIG = f'public_url = "{PUBLIC_URL}"\n[bots]\ndefault = "{HERE / "tone_bot.py"}"\n'


@dataclass
class Plane:
    """A gateway, an operator, an interface, two edges and three runners.

    Attributes:
        processes: Starts them.
        client: Requests.
        runners: The runners that live.
        edges: The edges; a carrier asks the first one first.
        events: What callers saw, for the judge.
    """

    processes: Processes
    client: aiohttp.ClientSession
    runners: list[Part] = field(default_factory=list)
    edges: list[Part] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.processes.directory

    @property
    def history(self) -> Path:
        return self.directory / "history.jsonl"

    async def start(self) -> None:
        self.history.touch()
        (self.directory / "cordboard.toml").write_text(CONFIG)
        self.processes.over["SURVIVAL_HISTORY"] = str(self.history)
        self.processes.over["CORDBOARD_SESSION_SECRET"] = "one for all interfaces"
        # The calls of one caller follow each other faster than those of a person.
        self.processes.over["CORDBOARD_INTERFACE_JOINS_PER_MINUTE"] = "600"
        self.gateway = self.processes.spawn("gateway")
        self.processes.over["CORDBOARD_GATEWAY_URL"] = self.gateway.url
        self.operator = self.processes.spawn("operator", *OPERATOR)
        self.interface = self.processes.spawn("interface")
        self.runners = [self._runner() for _ in range(RUNNERS)]
        self.edges = [self._edge() for _ in range(2)]
        await self.settle()

    async def settle(self) -> None:
        """Wait until every process takes work."""
        await ready(
            self.gateway, self.operator, self.interface, *self.runners, *self.edges, timeout_s=120
        )

    def _runner(self) -> Part:
        return self.processes.spawn("runner", "--capacity", "4", "--grace", "0", env=ACCOUNTS)

    def _edge(self) -> Part:
        return self.processes.spawn("edge", env=ACCOUNTS)

    async def record(self, session_id: str) -> dict[str, Any]:
        url = f"{self.gateway.url}/sessions/{session_id}?runner=true"
        return (await ask(self.client, "GET", url))[1]

    async def leave(self, session_id: str) -> None:
        await ask(self.client, "POST", f"{self.gateway.url}/leave", {"sessionId": session_id})

    async def speaking(self, session_id: str, *, times: int = 1, timeout_s: float = 60.0) -> None:
        """Wait until so many bots of a session have sent their first audio."""

        def have_spoken() -> bool:
            events = [event for part in self.processes.parts for event in part.events(session_id)]
            return events.count("bot.first_audio") >= times

        await until(have_spoken, timeout_s)

    async def kill(self, dies: str, session_id: str) -> None:
        """End what a session depends on; replace it only when `replace` is called."""
        record = await self.record(session_id)
        holder = next(part for part in self.runners if part.url == record["runnerUrl"])
        match dies:
            case "bot":
                _, held = await ask(self.client, "GET", f"{holder.url}/sessions/{session_id}")
                os.kill(held["botPid"], signal.SIGKILL)
            case "edge":
                self.edges.pop(0).signal(signal.SIGKILL)
            case "runner" | "drain":
                holder.signal(signal.SIGKILL if dies == "runner" else signal.SIGTERM)
                self.runners.remove(holder)
            case "gateway":
                self.gateway = self._again(self.gateway)
            case "operator":
                self.operator = self._again(self.operator, *OPERATOR)
            case "interface":
                self.interface = self._again(self.interface)

    def _again(self, part: Part, *words: str) -> Part:
        """Kill a part, and start it again at once, as a supervisor does."""
        part.kill()
        return self.processes.spawn(part.name, *words, port=int(part.url.rpartition(":")[2]))

    def replace(self) -> None:
        """Start what a supervisor would start again; in a measurement, when the call is over."""
        self.runners += [self._runner() for _ in range(RUNNERS - len(self.runners))]
        self.edges += [self._edge() for _ in range(2 - len(self.edges))]
        parts = self.processes.parts
        parts[:] = [part for part in parts if part.alive]

    async def note_end(self, session_id: str) -> str:
        """Wait for the end of a session that its caller has left; return its reason."""

        async def over() -> dict[str, Any] | None:
            record = await self.record(session_id)
            return record if record["status"] not in {"queued", "starting", "running"} else None

        record = await until(over, 60)
        self.events.append(
            {"kind": "end", "sid": session_id, "state": record["status"],
             "reason": record["reason"], "epoch": record["epoch"], "attempt": record["attempt"],
             "seconds": 0.0}
        )  # fmt: skip
        return str(record["reason"])

    def lines(self, session_id: str) -> str:
        """Return the lines of a session, in the order of their times."""
        records = [record for part in self.processes.parts for record in part.records]
        own = [record for record in records if record["sessionId"] == session_id]
        return "\n".join(map(json.dumps, sorted(own, key=lambda record: str(record["timestamp"]))))

    def verdict(self, session_ids: list[str]) -> list[Violation]:
        """Judge what bots and callers have written down about these sessions."""
        written = [json.loads(line) for line in self.history.read_text().splitlines()]
        ours = [event for event in (*self.events, *written) if event["sid"] in session_ids]
        return judge(ours, late_s=0.0, recovery_s=RECOVERY_S)


def http_client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=HEADERS)
