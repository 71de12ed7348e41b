"""The edge of `cordboard up`, with real bots: what a client of Pipecat meets."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from plane_support import Processes
from tests_support import until
from up_support import Up, ready

pytestmark = pytest.mark.timeout(120)

BOT = """
import asyncio
import json
from pipecatcloud_system import app


@app.get("/who/{name}")
async def who(name: str, q: str = ""):
    return {"name": name, "q": q}


@app.post("/size")
async def size(data: dict):
    return {"size": len(data["x"])}


async def bot(args):
    print("body " + json.dumps({k: v if len(str(v)) < 99 else len(v) for k, v in args.body.items()}))
    await asyncio.sleep(600)
"""


async def connect(http: aiohttp.ClientSession, url: str, **more: Any) -> dict[str, Any]:
    """Connect a peer as Pipecat's client does; return the answer's fields without the SDP."""
    pc, connected = RTCPeerConnection(), asyncio.Event()

    def on_change() -> None:
        if pc.connectionState == "connected":
            connected.set()

    pc.on("connectionstatechange", on_change)
    pc.addTrack(AudioStreamTrack())
    pc.createDataChannel("x")
    await pc.setLocalDescription(await pc.createOffer())
    body = {"sdp": pc.localDescription.sdp, "type": "offer", **more}
    async with http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        description = await answer.json()
    sdp = description.pop("sdp")
    await pc.setRemoteDescription(RTCSessionDescription(sdp, description["type"]))
    candidates = {"pc_id": description["pc_id"], "candidates": [{"candidate": "", "sdp_mid": "0",
                  "sdp_mline_index": 0}]}  # fmt: skip
    async with http.patch(url, json=candidates) as answer:
        assert await answer.json() == {"status": "success"}
    await asyncio.wait_for(connected.wait(), 20)
    await pc.close()
    return dict(description)


async def body_of(up: Up, session_id: str) -> dict[str, Any]:
    """Return ``runner_args.body`` as the session's bot printed it."""

    def line() -> str | None:
        mine = (r["message"] for r in up.records if r["sessionId"] == session_id)
        return next((text for text in mine if text.startswith("body {")), None)

    return dict(json.loads((await until(line)).removeprefix("body ")))


async def test_pipecats_calls_reach_a_bot(tmp_path: Path) -> None:
    """Start, offer, candidates, the bot's own routes, a large body, a bare offer, SIGTERM."""
    (tmp_path / "bot.py").write_text(BOT)
    async with (
        ready(tmp_path, "--bot", str(tmp_path / "bot.py")) as up,
        aiohttp.ClientSession() as http,
    ):
        edge = up.addresses["edge"]
        start = json.dumps({"body": {"x": "é" * 490_000}, "more": 1}, ensure_ascii=False)
        async with http.post(f"{edge}/start", data=start.encode()) as answer:
            session_id = (await answer.json())["sessionId"]
        url = f"{edge}/sessions/{session_id}/api/offer"
        async with http.post(url, json={"sdp": "x", "type": "offer"}) as answer:
            assert answer.status == 422
        await connect(http, url)
        ours = {
            "room_url": f"webrtc:{session_id}",
            "session_id": session_id,
            "epoch": 1,
            "attempt": 1,
        }
        assert await body_of(up, session_id) == {"x": 490_000, **ours}
        async with http.get(f"{edge}/sessions/{session_id}/who/a%20b?q=1") as answer:
            assert await answer.json() == {"name": "a b", "q": "1"}
        async with http.post(
            f"{edge}/sessions/{session_id}/size", json={"x": "y" * 900_000}
        ) as answer:
            assert await answer.json() == {"size": 900_000}

        started = await connect(http, f"{edge}/api/offer", requestData={"bare": True})
        bare = started["pc_id"].partition("@")[2]
        assert (await body_of(up, bare))["bare"] is True

        async with http.post(f"{edge}/sessions/{session_id}/leave") as answer:
            assert (await answer.json())["status"] == "ended"
        async with http.post(url, json={}) as answer:
            assert answer.status == 410
        expected = {"join.requested", "join.accepted", "bot.started", "session.ended"}
        await until(lambda: expected <= {*up.events(session_id)})
        assert await up.stop() == 0
        stopped = [r for r in up.records if r["service"] == "edge" and r["message"] == "Stopped"]
        assert len(stopped) == 1


async def test_edge_needs_no_secret_of_the_turn_servers(tmp_path: Path) -> None:
    """It gets the credentials of a session from a gateway, and may have the settings of all others."""
    (tmp_path / "cordboard.toml").write_text(
        'ice_servers = ["turn:turn.example.com"]\nice_transport_policy = "relay"\n'
    )
    processes = Processes(tmp_path, "")
    edge = processes.spawn("edge")

    async def is_alive() -> bool:
        assert edge.alive, edge.other
        try:
            async with http.get(f"{edge.url}/healthz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    try:
        async with aiohttp.ClientSession() as http:
            await until(is_alive, 40)
    finally:
        processes.stop()
