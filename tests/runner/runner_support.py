"""A real runner for tests: its command, its fork server, and a bot that obeys the launch's body."""

import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from cordboard.contract.launch import Launch
from cordboard.store import RedisStore, Registration, SessionRecord
from plane_support import HEADERS, Part, Processes, ask, own_database
from tests_support import until

BOT = '''
"""Calls the function that runner_args.body["do"] names."""
import asyncio, ctypes, json, os, signal, sys, threading, time
from pathlib import Path

async def bot(args):
    await globals()[args.body.get("do", "wait")](args)

async def wait(args):
    await asyncio.sleep(args.body.get("seconds", 600))

async def tell(args):
    found = {
        "body": args.body, "session_id": args.session_id, "env": dict(os.environ),
        "kind": type(args).__name__, "files": len(os.listdir("/proc/self/fd")),
    }
    Path(args.body["file"]).write_text(json.dumps(found))

async def speak(args):
    print("printed")
    sys.stderr.write("to stderr\\n")
    os.write(1, b"written to 1\\n")
    libc = ctypes.CDLL(None)
    libc.printf(b"from C\\n")
    libc.fflush(None)
    os.write(2, b"no newline at the end")

async def talk(args):
    """Counts aloud."""
    number = 0
    while True:
        print(number)
        number += 1
        await asyncio.sleep(0.02)

async def finish(args):
    """Finishes."""

async def crash(args):
    raise ValueError("expected error")

async def exit_with(args):
    os._exit(args.body["status"])

async def exit_cleanly(args):
    sys.exit(args.body["status"])

async def segfault(args):
    os.kill(os.getpid(), signal.SIGSEGV)

async def ignore_cancellation(args):
    """Ignores its cancellation."""
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("ignore_cancellation")

async def ignore_all(args):
    """Ignores SIGTERM too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await ignore_cancellation(args)

async def spin(args):
    while True:
        pass

async def block(args):
    time.sleep(args.body["seconds"])

async def close_all(args):
    os.closerange(0, 256)
    await wait(args)

async def leak(args):
    held = []
    while True:
        held.append(bytearray(64 * 1024 * 1024))
        await asyncio.sleep(0)

async def child(args):
    """Leaves a process behind."""
    import subprocess
    process = subprocess.Popen(["sleep", "600"])
    Path(args.body["file"]).write_text(str(process.pid))
    await wait(args)

async def litter(args):
    """Leaves processes outside its group and session; then calls the function `then`."""
    import subprocess
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    script = "sleep 600 >&2 & echo $!"  # its parent goes before it
    orphan = subprocess.run(["setsid", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    print("litter", process.pid, orphan.stdout.strip())
    await globals()[args.body.get("then", "wait")](args)
'''

_numbers = itertools.count()


@dataclass
class Runner:
    """A warm runner and its store."""

    part: Part
    store: RedisStore
    client: aiohttp.ClientSession
    runner_id: str = ""

    async def grant(self, session_id: str | None = None, room: str | None = None) -> Launch:
        """Let the store assign a session to this runner; return its launch."""
        number = next(_numbers)
        sid = session_id or f"s-{number}"
        room = room or f"https://rooms.example/{number}"
        launch = Launch(sid, room, epoch=1)
        accepted = await self.store.accept(launch, queue_max=10_000)
        given = await self.store.placement.assign(sid, accepted.epoch)
        assert given.runner_url == self.part.url
        return Launch(sid, room, epoch=accepted.epoch)

    async def start(self, launch: Launch, **over: Any) -> tuple[int, dict[str, Any]]:
        """Send the runner a start of `launch`, with changes to the body."""
        body = {
            "sessionId": launch.session_id,
            "epoch": launch.epoch,
            "room_url": launch.room_url,
        } | over
        return await ask(self.client, "POST", f"{self.part.url}/start", body)

    async def run(self, do: str, **body: Any) -> Launch:
        """Grant and start a session whose bot calls the function `do`."""
        over = {name: body.pop(name) for name in ("room_url", "maxDurationSeconds") if name in body}
        launch = await self.grant(room=over.get("room_url"))
        status, answer = await self.start(launch, body={"do": do, **body}, **over)
        assert status == 200, answer
        return launch

    async def ask_start(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return await ask(self.client, "POST", f"{self.part.url}/start", body)

    async def grant_despite(self, other: Launch) -> Launch:
        """Return a grant to this runner, although the store knows that its slots are taken."""
        number = next(_numbers)
        launch = Launch(f"s-{number}", f"https://rooms.example/{number}", epoch=1)
        runner_id = (await self.store.session(other.session_id)).runner_id or ""
        info = Registration(runner_id, self.part.url, 99)
        accepted = await self.store.accept(launch, queue_max=10_000, runner=info)
        return Launch(launch.session_id, launch.room_url, epoch=accepted.epoch)

    async def leave(self, launch: Launch) -> tuple[int, dict[str, Any]]:
        url = f"{self.part.url}/sessions/{launch.session_id}/leave"
        return await ask(self.client, "POST", url)

    async def end(self, launch: Launch, timeout_s: float = 15) -> SessionRecord:
        """Wait until the session has ended, or has left its holder for the next one."""

        async def ended() -> SessionRecord | None:
            record = await self.store.session(launch.session_id)
            return None if record.live and record.epoch == launch.epoch else record

        found: SessionRecord = await until(ended, timeout_s)
        return found

    async def pid(self, launch: Launch) -> int:
        """Return the process id of the bot."""
        return (await self.store.session(launch.session_id)).pid or 0

    def lines(self, launch: Launch, service: str = "bot") -> list[dict[str, Any]]:
        return [
            r
            for r in list(self.part.records)
            if r["sessionId"] == launch.session_id and r["service"] == service
        ]


async def litter_of(runner: Runner, launch: Launch) -> list[int]:
    """Return the processes that a bot with ``litter`` has left."""

    def litter_pids() -> list[int] | None:
        words = [line["message"].split() for line in runner.lines(launch) if line.get("raw")]
        return next(
            ([int(word) for word in said[1:]] for said in words if said[0] == "litter"), None
        )

    pids: list[int] = await until(litter_pids)
    return pids


def write_bot(directory: Path, text: str = BOT, name: str = "obedient.py") -> str:
    """Write a bot file; return its path."""
    path = directory / name
    path.write_text(textwrap.dedent(text))
    return str(path)


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=HEADERS, timeout=aiohttp.ClientTimeout(total=30))


def processes(directory: Path, redis_url: str) -> Iterator[Processes]:
    """Yield the processes of one test module, with their own Redis database."""
    made = Processes(directory, own_database(redis_url))
    yield made
    made.stop()


async def registered(store: RedisStore) -> Registration:
    """Wait for the one runner to be in the pool."""
    found = await until(lambda: store.connection.client.zrange(store.keys.runners, 0, -1))
    return Registration(found[0], "", 0)
