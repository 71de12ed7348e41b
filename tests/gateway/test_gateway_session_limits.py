"""Limits on live sessions by user, tenant and address."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from cordboard.contract.errors import SettingsError, StoreUnavailableError
from cordboard.contract.operator_name import cold_suffix
from cordboard.environment import CONTROL_SECRET
from cordboard.gateway.app import create_app
from cordboard.gateway.session_limits import ADDRESS_HEADER, SessionLimits, hash_address, share
from cordboard.settings import Settings, load
from cordboard.store import RedisStore, Registration
from tests_support import served, until

SECRET = "a-secret-of-the-tests"
SLOTS = 4
HERE, ELSEWHERE = "192.0.2.7", "198.51.100.9"


@dataclass
class Gateway:
    client: aiohttp.ClientSession
    store: RedisStore

    async def join(self, number: int, address: str | None = HERE, **body: Any) -> tuple[int, Any]:
        headers = {ADDRESS_HEADER: address} if address else {}
        asked = {"room_url": f"webrtc:{number}", "sessionId": f"s{number}"} | body
        async with self.client.post("/join", json=asked, headers=headers) as answer:
            found = await answer.json()
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) > 0
                assert found["type"] == "about:blank" or "too_many_sessions" in str(found)
            return answer.status, found

    async def start(self, number: int) -> None:
        """Hand over a join to the runner, if a slot is free."""
        await self.store.placement.assign(f"s{number}", 1)


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
async def gateway(
    store: RedisStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    """A gateway with one runner of four slots."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    await store.register(Registration("r1", "http://127.0.0.1:9", capacity=SLOTS))
    async with served(create_app(settings, store)) as url:
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with aiohttp.ClientSession(url, headers=headers) as client:
            yield Gateway(client, store)


@pytest.mark.parametrize("starts", [True, False], ids=["running", "waiting"])
@pytest.mark.parametrize("by_address", [True, False], ids=["one address", "one user"])
async def test_last_slot_is_left_to_others(
    gateway: Gateway, starts: bool, by_address: bool
) -> None:
    """One address with many users, and one user at many addresses, leave a slot to others."""
    taken = 0
    for number in range(8):
        user = f"u-{number}" if by_address else "u-ada"
        address = HERE if by_address else f"192.0.2.{number}"
        status, body = await gateway.join(number, address, sessionUserId=user)
        if status == 202:
            taken += 1
            if starts:
                await gateway.start(number)
        else:
            assert (status, body["code"]) == (429, "too_many_sessions")
    assert taken == SLOTS - 1
    assert (await gateway.join(9, ELSEWHERE, sessionUserId="u-bob"))[0] == 202
    await gateway.start(9)
    for number in range(10):
        await gateway.start(number)
    assert (await gateway.store.session("s9")).runner_id == "r1"


async def test_cold_runners_count_as_slots(gateway: Gateway) -> None:
    """With cold runners, an office behind one address gets more than the warm slots."""
    operator = "op-1" + cold_suffix(4, None)
    await gateway.store.queue.read(operator, count=1, block_ms=1)  # creates the consumer group
    await gateway.store.queue.announce(operator)
    taken = [
        (await gateway.join(number, HERE, sessionUserId=f"u-{number}"))[0] for number in range(9)
    ]
    assert taken == [202] * (SLOTS + 4 - 1) + [429] * 2
    assert (await gateway.join(9, ELSEWHERE, sessionUserId="u-bob"))[0] == 202


class SilentStore:
    """A store that does not answer until `fails` is set."""

    def __init__(self) -> None:
        self.reads = 0
        self.fails = asyncio.Event()

    async def warm_slots(self) -> int:
        self.reads += 1
        await self.fails.wait()
        raise StoreUnavailableError("away")


async def test_joins_share_one_read_of_the_slots() -> None:
    """While Redis is silent all joins wait for the same read, even if one of them is cancelled."""
    store: Any = SilentStore()
    limits = SessionLimits(Settings(), store)
    joins = [asyncio.create_task(limits.of(HERE)) for _ in range(20)]
    await asyncio.sleep(0)
    joins[0].cancel()
    await until(lambda: store.reads)
    store.fails.set()
    ends = await asyncio.gather(*joins, return_exceptions=True)
    assert [type(end) for end in ends[1:]] == [StoreUnavailableError] * 19
    assert store.reads == 1
    with pytest.raises(StoreUnavailableError):
        await limits.of(HERE)
    assert store.reads == 2


async def test_ended_session_frees_its_place(gateway: Gateway) -> None:
    """A refused user may join after one of their sessions has ended."""
    for number in range(3):
        await gateway.join(number, sessionUserId="u-ada")
    assert (await gateway.join(3, sessionUserId="u-ada"))[0] == 429
    assert (await gateway.join(1, sessionUserId="u-ada"))[0] == 200, (
        "a repeated join is not a new session"
    )
    await gateway.store.leave(session_id="s0")
    assert (await gateway.join(3, sessionUserId="u-ada"))[0] == 202


async def test_trusted_caller_is_limited_by_tenant_only(gateway: Gateway) -> None:
    """By default a tenant has no limit."""
    for number in range(8):
        assert (await gateway.join(number, None, sessionUserId="u", tenantId="t"))[0] == 202


class TestTenants:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(sessions_per_tenant=2)

    async def test_tenant_has_its_own_limit(self, gateway: Gateway) -> None:
        """It counts joins of trusted callers and of public entrances together."""
        assert (await gateway.join(1, None, tenantId="t"))[0] == 202
        assert (await gateway.join(2, HERE, tenantId="t"))[0] == 202
        assert (await gateway.join(3, None, tenantId="t"))[0] == 429
        assert (await gateway.join(4, None, tenantId="other"))[0] == 202
        assert (await gateway.join(5, None))[0] == 202


async def test_id_of_another_users_ended_session_is_session_id_used(gateway: Gateway) -> None:
    """409 without details of the other session; its owner can still read the record."""
    await gateway.join(1, sessionUserId="u-ada")
    await gateway.store.leave(session_id="s1")
    status, body = await gateway.join(2, sessionId="s1", sessionUserId="u-bob")
    assert (status, body["code"]) == (409, "session_id_used")
    async with gateway.client.get("/sessions/s1") as answer:
        record = await answer.json()
    assert (record["userId"], record["room_url"]) == ("u-ada", "webrtc:1")
    assert "u-ada" not in str(body)
    assert "webrtc:1" not in str(body)


async def test_redis_has_only_a_keyed_hash_of_an_address(gateway: Gateway) -> None:
    """Neither the launch queue nor the record has the address."""
    await gateway.join(1)
    client, tag = gateway.store.connection.client, gateway.store.keys.tag
    held = str([key async for key in client.scan_iter(f"*{{{tag}}}*")])
    held += str(await client.hgetall(gateway.store.keys.session("s1")))
    held += str(await client.xrange(gateway.store.keys.launches))
    assert HERE not in held
    assert hash_address(HERE, (SECRET,)) in held


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("unix", "unix", True),
    ],
)
def test_addresses_of_one_customer_have_one_hash(one: str, other: str, same: bool) -> None:
    """An IPv4 address in any notation; all addresses of an IPv6 /64 network."""
    assert (hash_address(one, (SECRET,)) == hash_address(other, (SECRET,))) is same
    assert hash_address(one, (SECRET,)) != hash_address(one, ("another-secret",))


@pytest.mark.parametrize(
    ("limit", "slots", "expected"),
    [(3, 0, 3), (3, 4, 3), (20, 4, 3), (3, 2, 1), (3, 1, 1), (0, 4, 0), (20, 99, 20)],
)
def test_share_leaves_one_slot(limit: int, slots: int, expected: int) -> None:
    """The limit of the settings, but less than all slots; 0 is no limit."""
    assert share(limit, slots) == expected


def test_zero_disables_a_session_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other numbers must be above 0."""
    monkeypatch.setenv("CORDBOARD_SESSIONS_PER_USER", "0")
    assert load().sessions_per_user == 0
    monkeypatch.setenv("CORDBOARD_QUEUE_MAX", "0")
    with pytest.raises(SettingsError, match="above 0"):
        load()
