"""docs/contract/ describes the bodies, answers and values of Redis that the code reads and writes."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from cordboard.contract.ice import parse_ice_servers
from cordboard.contract.launch import Launch, encode
from cordboard.logs.coverage import Answer, Coverage, Shortfall
from cordboard.logs.report.bundle import coverage_json
from cordboard.store import Holder, RedisStore, Registration, Renewal
from docs_support import codes, first_codes, page, rows, section, words_of_source
from parts_support import client, make

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("part", "path", "method", "heading"),
    [
        ("gateway", "/join", "post", "### POST /join"),
        ("gateway", "/leave", "post", "### POST /leave"),
        ("runner", "/start", "post", "### POST /start"),
        (
            "runner",
            "/sessions/{session_id}/offer",
            "post",
            "### POST and PATCH /sessions/{id}/offer",
        ),
    ],
)
def test_every_field_of_a_body_is_in_the_page(
    part: str, path: str, method: str, heading: str
) -> None:
    """The table of a body lists the fields that the application reads, and which are required."""
    schema = make(part).openapi()
    body = schema["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    model = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    of_part = section(page("http.md"), f"## {part.capitalize()}")
    table = section(of_part, heading)
    listed = {codes(cells[0])[0]: cells[1] for cells in rows(table, "field")}
    assert listed.keys() == model["properties"].keys()
    required = {name for name, kind in listed.items() if "required" in kind}
    assert required == set(model.get("required", []))


@pytest.fixture
async def gateway(store: RedisStore) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway over a real store."""
    app = make("gateway", store, ice_servers=parse_ice_servers(["stun:stun.example.com"]))
    async with app.router.lifespan_context(app), client(app) as asking:
        yield asking


JOIN = {
    "room_url": "webrtc:standup",
    "sessionId": "call-7",
    "sessionUserId": "u-1",
    "sessionUserName": "Ada",
    "tenantId": "t-1",
    "token": "secret",
}
HOLDER = Holder("r-1", "http://127.0.0.1:9", "warm", 42, "job-1", {"bot": "3f9a1c0d2e4b"})


async def live(store: RedisStore, session_id: str, epoch: int) -> None:
    """Bring a session to running, as an operator and a runner do."""
    await store.register(Registration("r-1", HOLDER.runner_url, capacity=4))
    await store.placement.assign(session_id, epoch)
    await store.confirm_running(session_id, epoch, HOLDER)


async def test_every_field_of_an_answer_is_in_the_page(
    gateway: httpx.AsyncClient, store: RedisStore
) -> None:
    """What the gateway answers to joins, leaves and looks has the fields that the page lists."""
    text = page("http.md")
    joined = (await gateway.post("/join", json=JOIN)).json()
    met = (await gateway.post("/join", json={**JOIN, "sessionId": "other"})).json()
    waited = (await gateway.post("/join?wait=0.1", json=JOIN)).json()
    listed = first_codes(section(text, "### POST /join"), "field of the response")
    assert {*joined, *met, *waited} == listed - {"reason"}
    await live(store, "call-7", joined["epoch"])
    await store.finish("call-7", joined["epoch"], "bot_crashed", "a detail")
    record = (await gateway.get("/sessions/call-7?runner=true")).json()
    listed = first_codes(section(text, "### GET /sessions/{id}"), "field of the response")
    # Of a cold start, of a second attempt.
    assert set(record) == listed - {"cell", "jobName", "recovery", "takeOvers"}
    assert {*record["stages"]} <= set(codes(section(text, "### GET /sessions/{id}")))
    absent = (await gateway.post("/leave", json={"sessionId": "call-7"})).json()
    assert set(absent) == {"sessionId", "room_url", "status"}
    assert "errors" in (await gateway.post("/join", json={})).json()


# --- Redis


async def test_every_field_in_redis_is_in_the_page(store: RedisStore) -> None:
    """Records, holders, keepalives, queue entries and registrations have the fields of the page."""
    seen = await fields_in_redis(store)
    text = page("redis.md")
    record = first_codes(section(text, "## Session record"), "field")
    assert seen["record"] <= record
    assert record - seen["record"] <= {
        "job_name",
        "stop",
        "detail",
        "recovered_by",
        "recovery",
        "at_recovered",
        "take_overs",
        "suspected_ms",
        "refusals",
        "counted",
    }
    assert seen["room_active"] | {"job_name"} == first_codes(text, "field of `room_active`")
    assert seen["room_keepalive"] == first_codes(text, "field of `room_keepalive`")
    assert seen["entry"] <= set(codes(section(text, "## Launch queue and dead letters")))
    assert seen["runner"] <= {*codes(section(text, "## Runners")), "bot:default"}
    assert record <= words_of_source()


async def fields_in_redis(store: RedisStore) -> dict[str, set[str]]:
    """Let a session live, and return the fields that were met in each kind of value."""
    launch = Launch(
        "call-7", "webrtc:standup", 1, "u-1", "Ada", "ada@example.org", "t-1", token="secret",
        traceparent=TRACEPARENT,
    )  # fmt: skip
    redis, keys = store.connection.client, store.keys
    accepted = await store.accept(launch, queue_max=9)
    seen: dict[str, set[str]] = {"record": set(await redis.hgetall(keys.session("call-7")))}
    ((_, entry),) = await redis.xrange(keys.launches)
    seen["entry"] = {*entry, *json.loads(entry["launch"])}
    await live(store, "call-7", accepted.epoch)
    await store.renew([Renewal("call-7", accepted.epoch, HOLDER, 1.5)])
    seen["record"] |= set(await redis.hgetall(keys.session("call-7")))
    seen["runner"] = set(await redis.hgetall(keys.runner("r-1")))
    for name in ("room_active", "room_keepalive"):
        seen[name] = set(json.loads(await redis.get(getattr(keys, name)("webrtc:standup"))))
    await store.finish("call-7", accepted.epoch, "left")
    seen["record"] |= set(await redis.hgetall(keys.session("call-7")))
    return seen


def test_every_field_of_a_launch_is_in_the_page() -> None:
    """redis.md lists the fields of a launch message."""
    full = Launch(
        "s", "webrtc:r", 1, "u", "n", "e", "t", "default", "token", {}, 1, 60, 60, TRACEPARENT
    )
    table = section(page("redis.md"), "## Launch queue and dead letters")
    assert first_codes(table, "field of `launch`") == {*json.loads(encode(full))}


def test_every_member_of_a_coverage_is_in_the_page() -> None:
    """commands.md lists the members of the JSON that --coverage writes, and of its entries."""
    answer = Answer("gateway", "service", shortfalls=(Shortfall("gap", "boot 9f31c2aa"),))
    written = json.loads(coverage_json(Coverage((answer,))))
    text = page("commands.md")
    assert first_codes(text, "member of a coverage") == written.keys()
    (entry,) = written["answers"]
    assert {*entry, *entry["shortfalls"][0]} <= set(codes(text))


@pytest.mark.parametrize("part", ["gateway", "runner"])
async def test_the_schema_can_be_fetched(part: str) -> None:
    """Gateway and runner return their OpenAPI schema, as http.md says."""
    async with client(make(part)) as asking:
        answer = await asking.get("/openapi.json")
    assert "/sessions" in answer.json()["paths"]
    assert "`GET /openapi.json`" in page("http.md")
