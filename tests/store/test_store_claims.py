"""Joins over three shards whose callers die or freeze between any two of their steps."""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cordboard.contract.errors import CordboardError, QueueFullError, SessionInUseError
from cordboard.contract.launch import Launch
from cordboard.store import SessionStore, open_store
from cordboard.store.connection import Connection
from cordboard.store.keys import LATE_S, shard_of
from cordboard.store.scripts import Scripts
from cordboard.store.sharding.hints import ROOMS_MAX, JoinHints
from cordboard.store.sharding.store import ShardedStore

SHARDS = 3
IDS = "abcd"
STEPS = ("claim", "share", "accept", "retire", "move", "release", "forget")
_fate: contextvars.ContextVar["Fate | None"] = contextvars.ContextVar("fate", default=None)


class Died(BaseException):
    """Ends a caller as SIGKILL ends its process: it does not continue, and cleans up nothing."""


class Fate:
    """Kills or freezes one caller at the n-th of the points that it passes, or at a named one.

    Attributes:
        passed: The names of the points that it has passed.
        thaws: Set to let it continue.
        stands_still: Whether it is frozen now.
    """

    def __init__(self, at: int | str, *, freezes: bool = False) -> None:
        self._at, self._freezes = at, freezes
        self.passed: list[str] = []
        self.thaws = asyncio.Event()
        self.stands_still = False

    async def meet(self, point: str) -> None:
        self.passed.append(point)
        if self._at not in {len(self.passed), point}:
            return
        self._at = 0
        if not self._freezes:
            raise Died
        self.stands_still = True
        await self.thaws.wait()
        self.stands_still = False


@pytest.fixture(autouse=True)
def _points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the fate of each caller before and after each of its steps."""
    monkeypatch.setattr(Scripts, "run", _watched(Scripts.run))
    monkeypatch.setattr(Connection, "execute", _watched(Connection.execute))


def _watched(original: Any) -> Any:
    async def step(self: Any, name: str, *args: Any) -> Any:
        fate = _fate.get()
        if fate is None or name not in STEPS:
            return await original(self, name, *args)
        await fate.meet(f"{name}.before")
        answer = await original(self, name, *args)
        await fate.meet(f"{name}.after")
        return answer

    return step


@pytest.fixture
async def gateways(redis_url: str) -> AsyncIterator[list[ShardedStore]]:
    """Three stores over the same three empty shards, like those of three gateways."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_store(f"{redis_url[:-1]}7", shards=SHARDS))
            for _ in range(3)
        ]
        await opened[0].shards[0].connection.client.flushdb()
        yield opened  # type: ignore[misc]


def rooms_of(shard: int) -> Iterator[str]:
    """Return rooms of a shard."""
    return (f"webrtc:{n}" for n in range(10_000) if shard_of(f"webrtc:{n}", SHARDS) == shard)


ROOMS = [room for shard in range(SHARDS) for room, _ in zip(rooms_of(shard), "ab", strict=False)]


async def join(store: SessionStore, sid: str, room: str, fate: Fate | None = None) -> Any:
    _fate.set(fate)
    return await store.accept(Launch(sid, room, epoch=1), queue_max=1000)


async def attempt(store: SessionStore, sid: str, room: str, fate: Fate | None) -> None:
    """Join, and ignore the result."""
    with contextlib.suppress(CordboardError, Died):
        await join(store, sid, room, fate)


async def live(store: ShardedStore) -> dict[str, tuple[str, int]]:
    """Return room and epoch of each live id; each is live once, where the index says."""
    found: dict[str, tuple[str, int]] = {}
    for number, shard in enumerate(store.shards):
        for sid in await shard.connection.client.zrange(shard.keys.live, 0, -1):
            record = await shard.session(sid)
            assert sid not in found, f"{sid} lives in {found[sid]} and in {record.room_url}"
            assert await store.joins.index_of(sid).find(sid) == number
            found[sid] = record.room_url, record.epoch
    return found


@dataclass
class Call:
    """One join in progress."""

    task: asyncio.Task[None]
    fate: Fate | None

    @property
    def is_moving(self) -> bool:
        return not self.task.done() and not (self.fate and self.fate.stands_still)


class Callers:
    """Callers of all gateways, some of which die and some freeze, to continue much later."""

    def __init__(self, gateways: list[ShardedStore], draw: random.Random) -> None:
        self._gateways, self._draw = gateways, draw
        self._calls: list[Call] = []

    async def some(self, count: int) -> None:
        """Let so many join at once; return when each is done, dead or frozen."""
        draw = self._draw
        for _ in range(count):
            freezes, hits = draw.random() < 0.5, draw.random() < 0.8
            fate = Fate(draw.randrange(1, 14), freezes=freezes) if hits else None
            work = attempt(draw.choice(self._gateways), draw.choice(IDS), draw.choice(ROOMS), fate)
            self._calls.append(Call(asyncio.create_task(work), fate))
        await self._settled()

    async def thaw(self, share: float) -> None:
        """Let some of the frozen ones go on."""
        for call in self._calls:
            if call.fate and self._draw.random() < share:
                call.fate.thaws.set()
        await self._settled()

    async def _settled(self) -> None:
        while any(call.is_moving for call in self._calls):  # noqa: ASYNC110 - of many, at once
            await asyncio.sleep(0.001)
        for call in self._calls:
            if call.task.done():
                call.task.result()
        self._calls = [call for call in self._calls if not call.task.done()]


@pytest.mark.parametrize("seed", range(8))
async def test_session_id_is_live_once_whoever_dies_or_freezes(
    gateways: list[ShardedStore], seed: int
) -> None:
    """An id is never live twice, its epochs grow, and no free room refuses it."""
    draw, store = random.Random(seed), gateways[0]
    callers, epochs = Callers(gateways, draw), dict[str, int]()
    for _ in range(20):
        await callers.some(8)
        await callers.thaw(0.3)
        held = await live(store)
        for sid, (_, epoch) in held.items():
            assert epoch >= epochs.get(sid, 0)
            epochs[sid] = epoch
        for sid in held:
            if draw.random() < 0.6:
                await store.leave(session_id=sid)
        held = await live(store)
        taken = {room for room, _ in held.values()}
        for sid, room in zip(set(IDS) - set(held), set(ROOMS) - taken, strict=False):
            accepted = await join(draw.choice(gateways), sid, room)
            assert (accepted.session_id, accepted.reused) == (sid, False)
            assert accepted.epoch > epochs.get(sid, 0)
            epochs[sid] = accepted.epoch
    await callers.thaw(1.0)
    await live(store)


@pytest.mark.parametrize("at", [f"{step}.{when}" for step in STEPS for when in ("before", "after")])
@pytest.mark.parametrize("freezes", [False, True])
async def test_caller_that_dies_or_freezes_at_a_point_blocks_nothing(
    gateways: list[ShardedStore], at: str, freezes: bool
) -> None:
    """At whichever point a caller dies or freezes: the id is free for another room at once, and live once."""
    one, other, third = gateways
    here, there = ROOMS[0], ROOMS[2]
    fate = Fate(at, freezes=freezes)
    if at.startswith("release"):
        await join(other, "holder", here)
    elif not at.startswith(("claim", "accept")):
        ended = await join(other, "a", there)
        await other.leave(session_id="a")
        assert ended.epoch == 1
    if at.startswith("share"):
        here = ROOMS[3]  # in the shard in which it has ended
    calling = asyncio.create_task(attempt(one, "a", here, fate))
    while not (calling.done() or fate.stands_still):  # noqa: ASYNC110 - either
        await asyncio.sleep(0.001)
    assert fate.passed[-1] == at, "the point was never passed"
    was_accepted = "a" in await live(third)
    if was_accepted:
        with pytest.raises(SessionInUseError):
            await join(third, "a", ROOMS[4])
    else:
        assert not (await join(third, "a", ROOMS[4])).reused
    fate.thaws.set()
    await calling
    assert (await live(third))["a"][0] == (here if was_accepted else ROOMS[4])


class TestCommands:
    """The commands that a join over shards takes beyond those of a single shard."""

    async def test_new_session_takes_one_command_and_one_script(
        self, gateways: list[ShardedStore]
    ) -> None:
        """A new session takes one plain command and the script."""
        fate = Fate(0)
        await join(gateways[0], "a", ROOMS[0], fate)
        assert fate.passed[::2] == ["claim.before", "accept.before"]

    async def test_same_id_returns_the_live_session(self, gateways: list[ShardedStore]) -> None:
        """The same id again, by the same gateway or another, returns the live session."""
        await join(gateways[0], "a", ROOMS[0])
        for gateway, steps in (
            (gateways[0], ["accept", "claim"]),
            (gateways[1], ["claim", "share", "accept"]),
        ):
            fate = Fate(0)
            assert (await join(gateway, "a", ROOMS[0], fate)).reused
            assert fate.passed[::2] == [f"{step}.before" for step in steps]

    async def test_known_busy_room_takes_one_script(self, gateways: list[ShardedStore]) -> None:
        """A room that is known to be busy is asked first, and takes one script."""
        await join(gateways[0], "holder", ROOMS[0])
        fate = Fate(0)
        assert (await join(gateways[0], "a", ROOMS[0], fate)).session_id == "holder"
        assert fate.passed[::2] == ["accept.before"]

    async def test_wrong_hint_takes_one_round_trip_more(self, gateways: list[ShardedStore]) -> None:
        """A room that is wrongly taken for busy takes one round trip more, and decides nothing."""
        await join(gateways[0], "holder", ROOMS[0])
        await gateways[1].leave(session_id="holder")
        assert not (await join(gateways[0], "a", ROOMS[0])).reused


class TestRefusedJoins:
    """A join that was refused leaves no claim."""

    async def test_refused_by_a_busy_room(self, gateways: list[ShardedStore]) -> None:
        """An id that met another session has no entry; the mark against late replies expires soon."""
        await join(gateways[0], "holder", ROOMS[0])
        met = await join(gateways[1], "a", ROOMS[0])
        assert (met.session_id, met.reused) == ("holder", True)
        await _is_unknown(gateways[0], "a")

    async def test_refused_by_a_full_queue(self, gateways: list[ShardedStore]) -> None:
        """An id that found the queue full has no entry, even if it tries again at once."""
        await join(gateways[0], "holder", ROOMS[0])
        for gateway in (gateways[1], gateways[1], gateways[2]):
            with pytest.raises(QueueFullError):
                await gateway.accept(Launch("a", ROOMS[1], epoch=1), queue_max=1)
            await _is_unknown(gateway, "a")

    async def test_claim_that_another_join_uses_stays(self, gateways: list[ShardedStore]) -> None:
        """A claim that another caller uses stays when its maker is refused."""
        await join(gateways[0], "holder", ROOMS[0])
        fate = Fate("claim.after", freezes=True)
        calling = await _frozen(gateways[1], "a", ROOMS[0], fate)
        assert not (await join(gateways[2], "a", ROOMS[1])).reused
        fate.thaws.set()
        await calling
        assert (await live(gateways[0]))["a"][0] == ROOMS[1]

    async def test_claim_that_a_frozen_join_may_use_stays(
        self, gateways: list[ShardedStore]
    ) -> None:
        """A claim that a frozen caller knows stays: a session that it makes much later has its entry."""
        await join(gateways[0], "holder", ROOMS[0])
        makes, knows = (Fate(at, freezes=True) for at in ("claim.after", "share.after"))
        making = await _frozen(gateways[1], "a", ROOMS[0], makes)
        knowing = await _frozen(gateways[2], "a", ROOMS[1], knows)
        makes.thaws.set()
        await making
        for shard in gateways[0].shards:  # as if LATE_S had passed
            async for key in shard.connection.client.scan_iter(shard.keys.retired_claim("*")):
                await shard.connection.client.delete(key)
        knows.thaws.set()
        await knowing
        assert (await live(gateways[0]))["a"][0] == ROOMS[1]

    async def test_late_duplicate_of_an_accept_is_refused(
        self, gateways: list[ShardedStore]
    ) -> None:
        """An accept that arrives a second time, after its claim was released, is refused."""
        store, launch = gateways[0], Launch("a", ROOMS[0], epoch=1)
        await join(store, "holder", ROOMS[0])
        claim = await store.joins.index_of("a").claim(launch, 0)
        answer = await store.joins.shards[0].accept(launch, "by", claim, queue_max=9, limit_sets=[])
        assert (answer[1], answer[-1]) == ("holder", "1")
        await store.joins.index_of("a").release("a", claim)
        await store.leave(session_id="holder")
        late = await store.joins.shards[0].accept(launch, "by", claim, queue_max=9, limit_sets=[])
        assert late == ["retired"]

    async def test_refused_join_keeps_the_record_of_an_ended_session(
        self, gateways: list[ShardedStore]
    ) -> None:
        """A refused join with the id of an ended session removes nothing."""
        await join(gateways[0], "a", ROOMS[0])
        await gateways[0].leave(session_id="a")
        home = gateways[0].shards[shard_of("a", SHARDS)]
        await home.connection.client.delete(home.keys.session_shard("a"))  # a failover may lose it
        await join(gateways[1], "holder", ROOMS[1])
        assert (await join(gateways[2], "a", ROOMS[1])).session_id == "holder"
        assert (await gateways[2].session("a")).state == "cancelled"


async def _frozen(store: SessionStore, sid: str, room: str, fate: Fate) -> asyncio.Task[None]:
    """Return a join that is frozen."""
    calling = asyncio.create_task(attempt(store, sid, room, fate))
    while not fate.stands_still:  # noqa: ASYNC110 - short
        await asyncio.sleep(0.001)
    return calling


async def _is_unknown(store: ShardedStore, sid: str) -> None:
    assert await store.joins.index_of(sid).find(sid) is None
    for shard in store.shards:
        async for key in shard.connection.client.scan_iter(shard.keys.retired_claim("*")):
            assert 0 < await shard.connection.client.ttl(key) <= LATE_S


@pytest.mark.faults_full  # a thousand connections at once need the whole machine
async def test_thousand_callers_of_three_gateways_get_one_session(
    gateways: list[ShardedStore],
) -> None:
    """Of a thousand callers with one id and one room, through three gateways, one makes the session."""
    for room in ROOMS[:3]:
        joins = (join(gateways[i % 3], "a", room) for i in range(1000))
        answers = await asyncio.gather(*joins)
        assert sum(not answer.reused for answer in answers) == 1
        assert {answer.session_id for answer in answers} == {"a"}
        assert (await live(gateways[0]))["a"][0] == room
        await gateways[0].leave(session_id="a")


class TestHints:
    def test_hints_are_bounded(self) -> None:
        """No more rooms are remembered than the limit; the oldest are lost first."""
        hints = JoinHints()
        for number in range(ROOMS_MAX + 5):
            hints.note_busy(f"r{number}")
        assert not hints.is_refusal_likely("r4", 0)
        assert hints.is_refusal_likely("r5", 0)
        hints.note_free("r5")
        assert not hints.is_refusal_likely("r5", 0)
        hints.note_full(2)
        assert hints.is_refusal_likely("r5", 2)
        assert not hints.is_refusal_likely("r5", 1)
