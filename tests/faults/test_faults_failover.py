"""A failover without Sentinel: the primary dies, its replica is promoted behind the same address.

The link between the two is held just before, so that the last decisions are lost, as replication
that answers first may lose them.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from cordboard.contract.errors import NotFoundError
from cordboard.store import SessionFilter
from cordboard.up.embedded import EmbeddedServer
from faults.faults_support import LEASE_S, Plane, plane_of
from plane_support import Processes, ask
from tests_support import until

pytestmark = pytest.mark.timeout(150)


@dataclass
class Address:
    """Forwards connections to whichever server is behind it now; may hold what that one says."""

    target: int
    port: int = 0
    passing: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Address"]:
        self.passing.set()
        server = await asyncio.start_server(self._one, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        await self.cut()

    async def move(self, target: int) -> None:
        """Send whoever comes to another server; those who are there have to come again."""
        self.target = target
        await self.cut()

    async def cut(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            out_reader, out_writer = await asyncio.open_connection("127.0.0.1", self.target)
            with contextlib.closing(out_writer):
                await asyncio.wait(
                    [
                        asyncio.create_task(self._pump(reader, out_writer)),
                        asyncio.create_task(self._pump(out_reader, writer)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                await self.passing.wait()
                writer.write(chunk)
                await writer.drain()


@dataclass
class Pair:
    """A primary, its replica, the address that clients know, and the link between the two."""

    primary: EmbeddedServer
    replica: EmbeddedServer
    address: Address
    link: Address

    async def follow(self) -> None:
        """Make the one the other's replica, and wait until it has all."""
        async with _client(self.primary) as client:
            await client.config_set("repl-diskless-sync-delay", "0")
        async with _client(self.replica) as client:
            await client.replicaof("127.0.0.1", str(self.link.port))

            async def up() -> bool:
                found = await client.info("replication")
                return bool(found["master_link_status"] == "up")

            await until(up)

    async def caught_up(self) -> None:
        async with _client(self.primary) as client:
            assert await client.wait(1, 5000) == 1

    async def lose_primary(self) -> None:
        """Kill it; clients find the replica, which is none to write to yet."""
        assert self.primary.process is not None
        self.primary.process.kill()
        self.primary.process.wait()
        await self.link.cut()
        await self.address.move(self.replica.port)

    async def promote(self) -> None:
        async with _client(self.replica) as client:
            await client.replicaof("NO", "ONE")


def _client(server: EmbeddedServer) -> "redis.Redis":
    return redis.Redis.from_url(server.url, decode_responses=True)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    servers = [EmbeddedServer(), EmbeddedServer()]
    try:
        for server in servers:
            server.start()
        primary, replica = servers
        async with (
            Address(primary.port).serving() as address,
            Address(primary.port).serving() as link,
        ):
            made = Pair(primary, replica, address, link)
            await made.follow()
            yield made
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
async def plane(pair: Pair, tmp_path: Path) -> AsyncIterator[Plane]:
    processes = Processes(tmp_path, f"redis://127.0.0.1:{pair.address.port}/0")
    processes.over["CORDBOARD_LEASE_S"] = str(LEASE_S)
    try:
        async with plane_of(processes) as opened:
            yield opened
    finally:
        await asyncio.to_thread(processes.stop)


async def refused(plane: Plane) -> bool:
    """Try a join; say whether it was told to come back."""
    url = f"{plane.gateways[0]}/join"
    async with plane.client.post(url, json={"room_url": "https://rooms.example/no"}) as answer:
        assert answer.status == 503
        return int(answer.headers["Retry-After"]) > 0


async def test_failover_that_loses_writes_ends_no_call(plane: Plane, pair: Pair) -> None:
    """A failover that loses the last writes: no call ends; a lost join, sent again, is one bot.

    ``old`` was replicated, ``young`` runs but the replica has never heard of it, ``lost`` was
    accepted and no more.
    """
    await plane.have("gateway", "operator", "runner")
    stays: dict[str, Any] = {"body": {"seconds": LEASE_S * 5.0}}
    old = asyncio.create_task(plane.call("old", **stays))
    await until(lambda: plane.entered("old") == 1, 40)
    await pair.caught_up()
    pair.link.passing.clear()
    young = asyncio.create_task(plane.call("young", **stays))
    await until(lambda: plane.entered("young") == 1, 40)
    plane.parts["operator"].signal(signal.SIGSTOP)
    body: dict[str, Any] = {"room_url": "https://rooms.example/lost", "sessionId": "lost"}
    status, _ = await ask(plane.client, "POST", f"{plane.gateways[0]}/join", body)
    assert status == 202

    await pair.lose_primary()
    assert await refused(plane)
    await pair.promote()
    plane.parts["operator"].signal(signal.SIGCONT)

    async def known() -> bool:
        found, _ = await plane.store.sessions(SessionFilter(state="running"))
        return {record.session_id for record in found} == {"old", "young"}

    await until(known, 30)
    with pytest.raises(NotFoundError):
        await plane.store.session("lost")
    again = await plane.join({"room_url": "https://rooms.example/young", "sessionId": "young"})
    assert again["reused"]
    await plane.call("lost", body={"seconds": 0.5})
    await asyncio.gather(old, young)
    names = ("old", "young", "lost")
    assert plane.verdict(*names) == []
    assert [plane.entered(name) for name in names] == [1, 1, 1]
    ends = {e["sid"]: (e["reason"], e["attempt"]) for e in plane.events if e["kind"] == "end"}
    assert ends == dict.fromkeys(names, ("bot_finished", 1))
