"""WebRTC at a runner: limits on offers and candidates, and users who vanish."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aioice
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtcicetransport import candidate_to_aioice
from aiortc.sdp import SessionDescription
from pipecat.transports.smallwebrtc import request_handler

from cordboard.emit import capture
from cordboard.runner import ice_candidates
from cordboard.runner.signalling import OFFERS_MAX, BotSignalling, OfferingPeer
from cordboard.store import RedisStore
from plane_support import SECRET, Processes, ready
from runner.runner_support import Runner, client, processes, write_bot
from tests_support import until

pytestmark = pytest.mark.timeout(90)

DEAF = """
import asyncio, aioice.ice
aioice.ice.CONSENT_INTERVAL = 0.3  # a vanished peer is noticed after 2 s instead of 30
async def bot(args):
    print("entered")
    await asyncio.sleep(600)
"""

PEER = """
import asyncio, json, sys
import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

async def connect(http, url, **more):
    pc, connected = RTCPeerConnection(), asyncio.Event()
    pc.on("connectionstatechange", lambda: pc.connectionState == "connected" and connected.set())
    pc.addTrack(AudioStreamTrack())
    pc.createDataChannel("x")
    await pc.setLocalDescription(await pc.createOffer())
    body = {"sdp": pc.localDescription.sdp, "type": "offer", **more}
    async with http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        description = await answer.json()
    await pc.setRemoteDescription(RTCSessionDescription(description["sdp"], description["type"]))
    await connected.wait()
    print(json.dumps(description["pc_id"]), flush=True)

async def main(url, secret, more):
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer " + secret}) as http:
        await connect(http, url, **json.loads(more))
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


@contextlib.asynccontextmanager
async def peer(url: str, **more: Any) -> AsyncIterator[str]:
    """Run a peer in another process, which is killed at the end; yield its pc_id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PEER, url, SECRET, json.dumps(more), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    yield json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("webrtc")
    for made in processes(directory, redis_url):
        made.over |= {"CORDBOARD_USER_ABSENT_S": "4"}
        made.spawn("runner", "--bot", write_bot(directory, DEAF), "--capacity", "9")
        yield made


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)


class TestAbsence:
    async def test_vanished_user_ends_the_session(self, runner: Runner) -> None:
        """A user who vanishes ends the session, even if the bot ignores it."""
        launch = await runner.run("", room_url="webrtc:vanished")
        async with peer(f"{runner.part.url}/sessions/{launch.session_id}/offer"):
            await asyncio.sleep(6)  # longer than the time of absence
            assert (await runner.store.session(launch.session_id)).state == "running"
        record = await runner.end(launch, 40)
        assert (record.state, record.reason) == ("ended", "user_absent")
        assert "entered" in str(runner.lines(launch))

    async def test_user_who_reconnects_in_time_goes_on(self, runner: Runner) -> None:
        """A session goes on if its user reconnects in time."""
        launch = await runner.run("", room_url="webrtc:back")
        url = f"{runner.part.url}/sessions/{launch.session_id}/offer"
        async with peer(url) as pc_id:
            pass
        async with peer(url, pc_id=pc_id, restart_pc=True):
            await asyncio.sleep(8)
            assert (await runner.store.session(launch.session_id)).state == "running"
        assert (await runner.end(launch, 40)).reason == "user_absent"


async def an_offer() -> dict[str, Any]:
    """Return an offer like that of a page, without candidates."""
    pc = RTCPeerConnection()
    pc.createDataChannel("x")
    offer = await pc.createOffer()
    await pc.close()
    return {"sdp": offer.sdp, "type": offer.type}


def line(host: str) -> str:
    return f"candidate:1 1 udp 2130706431 {host} 40000 typ host"


@pytest.fixture
async def connections(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Any]]:
    """Yield the peer connections that Pipecat makes; close them afterwards."""
    made: list[Any] = []

    class Noted(request_handler.SmallWebRTCConnection):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.candidates: list[Any] = []
            made.append(self)

        async def call(self, event: str) -> None:
            await self._call_event_handler(event)

        async def add_ice_candidate(self, candidate: Any) -> None:
            self.candidates.append(candidate and candidate.ip)

    monkeypatch.setattr(request_handler, "SmallWebRTCConnection", Noted)
    yield made
    for connection in made:
        await connection.disconnect()


class TestOffers:
    async def test_first_of_several_offers_makes_the_connection(
        self, connections: list[Any]
    ) -> None:
        """Only one of several simultaneous first offers makes a connection; the others are refused."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future())
        offers = [await an_offer() for _ in range(5)]
        answers = await asyncio.gather(*(signalling.handle("POST", offer) for offer in offers))
        assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409]
        assert len(connections) == 1

    async def test_offer_after_the_connection_closed_is_refused(
        self, connections: list[Any]
    ) -> None:
        """After a closed connection, no other is made: no bot would use it."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future())
        _, answer = await signalling.handle("POST", await an_offer())
        await connections[0].disconnect()
        await until(lambda: signalling.is_closed)
        again = await an_offer() | {"pc_id": answer["pc_id"]}
        assert (await signalling.handle("POST", again))[0] == 409
        assert len(connections) == 1

    async def test_garbage_takes_nothing(self, connections: list[Any]) -> None:
        """What is no offer is refused, and the real offer is still the first."""
        peer: asyncio.Future[OfferingPeer] = asyncio.get_running_loop().create_future()
        signalling = BotSignalling(peer)
        good = await an_offer()
        without = {
            name: "".join(line for line in good["sdp"].splitlines(True) if name not in line)
            for name in ("m=", "a=fingerprint", "a=ice-ufrag", "a=ice-pwd")
        }
        bodies: list[dict[str, Any]] = [
            {}, {"sdp": "x", "type": "offer"}, {"sdp": "v=0", "type": "offer"}, good | {"type": "x"},
            good | {"sdp": 5}, good | {"sdp": None}, good | {"requestData": [1]},
            *(good | {"sdp": sdp} for sdp in without.values()),
        ]  # fmt: skip
        for body in bodies:
            assert (await signalling.handle("POST", body))[0] == 422, body
        assert (len(connections), peer.done()) == (0, False)
        assert (await signalling.handle("POST", good))[0] == 200

    @pytest.mark.parametrize("name", ["requestData", "request_data"])
    async def test_data_of_the_first_offer_is_for_the_bot(
        self, connections: list[Any], name: str
    ) -> None:
        """By both of the names that Pipecat's clients use."""
        peer: asyncio.Future[OfferingPeer] = asyncio.get_running_loop().create_future()
        await BotSignalling(peer).handle("POST", await an_offer() | {name: {"a": 1}})
        assert (peer.result().request_data, peer.result().connection) == ({"a": 1}, connections[0])

    async def test_reloaded_page_replaces_a_peer_that_never_came(
        self, connections: list[Any]
    ) -> None:
        """The bot keeps its connection; a peer that may still come is not replaced."""
        loop = asyncio.get_running_loop()
        patient = BotSignalling(loop.create_future())
        statuses = [(await patient.handle("POST", await an_offer()))[0] for _ in range(2)]
        assert statuses == [200, 409]
        hasty = BotSignalling(loop.create_future(), connect_s=0)
        await hasty.handle("POST", await an_offer())
        old = connections[1].pc
        status, again = await hasty.handle("POST", await an_offer())
        assert (status, again["pc_id"]) == (200, connections[1].pc_id)
        assert (len(connections), connections[1].pc is old) == (2, False)

    async def test_reloaded_page_replaces_a_peer_that_has_gone(
        self, connections: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A peer whose pings still come is not replaced."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future())
        await signalling.handle("POST", await an_offer())
        (connection,) = connections
        with capture() as records:
            await connection.call("connected")
            await until(lambda: any(r.get("event") == "bot.connected" for r in records))
        monkeypatch.setattr(connection, "is_connected", lambda: True)
        assert (await signalling.handle("POST", await an_offer()))[0] == 409
        monkeypatch.setattr(connection, "is_connected", lambda: False)
        assert (await signalling.handle("POST", await an_offer()))[0] == 200
        assert len(connections) == 1

    async def test_peer_of_the_bot_before_makes_a_new_connection(
        self, connections: list[Any]
    ) -> None:
        """Its `pc_id` names a connection of a process that has died; later it counts as another peer."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future(), connect_s=0)
        old = {"pc_id": "SmallWebRTCConnection#0-of-another-process", "restart_pc": True}
        status, answer = await signalling.handle("POST", await an_offer() | old)
        assert (status, answer["pc_id"]) == (200, connections[0].pc_id)
        late = {
            "pc_id": old["pc_id"],
            "candidates": [{"candidate": line("192.0.2.8"), "sdpMid": "0"}],
        }
        assert (await signalling.handle("PATCH", late))[0] == 200
        assert connections[0].candidates == ["192.0.2.8"]
        # The answer was lost: the peer tries again with what it knows.
        status, answer = await signalling.handle("POST", await an_offer() | old)
        assert (status, answer["pc_id"]) == (200, connections[0].pc_id)
        assert len(connections) == 1

    async def test_further_offer_of_a_peer_moves_its_path(self, connections: list[Any]) -> None:
        """With new ICE credentials and the same `pc_id` media come from the peer's new address."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future())
        caller = RTCPeerConnection()
        caller.createDataChannel("x")
        await caller.setLocalDescription(await caller.createOffer())
        first = {"sdp": caller.localDescription.sdp, "type": "offer"}
        _, answer = await signalling.handle("POST", first)
        pc = connections[0].pc
        await caller.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await until(lambda: pc.connectionState == "connected")
        password = "newPasswordOf24Characters"
        sdp = re.sub(r"ice-ufrag:\S+", "ice-ufrag:newu", first["sdp"])
        sdp = re.sub(r"ice-pwd:\S+", f"ice-pwd:{password}", sdp)
        # The bot sends to the candidates of the offer as well: it may be behind address translation.
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        (address, *_) = re.findall(r"udp \d+ (\d+\.\S+) \d+ typ host", answer["sdp"])
        other.bind((address, 0))
        other.setblocking(False)
        port = other.getsockname()[1]
        sdp += f"a=candidate:9 1 udp 1 {address} {port} typ host\r\n"
        again = {"sdp": sdp, "type": "offer", "pc_id": answer["pc_id"]}
        first_parameters = SessionDescription.parse(answer["sdp"]).media[0].ice
        status, answer = await signalling.handle("POST", again)
        assert status == 200
        # The caller's ICE as a browser restarts it: another port, and new credentials of both sides.
        parameters = SessionDescription.parse(answer["sdp"]).media[0].ice
        assert parameters.usernameFragment != first_parameters.usernameFragment
        ice = aioice.Connection(
            ice_controlling=True, local_username="newu", local_password=password
        )
        await ice.gather_candidates()
        for candidate in pc.sctp.transport.transport.iceGatherer.getLocalCandidates():
            await ice.add_remote_candidate(candidate_to_aioice(candidate))
        await ice.add_remote_candidate(None)
        ice.remote_username = parameters.usernameFragment
        ice.remote_password = parameters.password
        try:
            await asyncio.wait_for(ice.connect(), 20)
            connections[0].send_app_message({"over": "the new path"})
            assert await asyncio.wait_for(ice.recv(), 20)
            loop = asyncio.get_running_loop()
            assert await asyncio.wait_for(loop.sock_recv(other, 1500), 20)
        finally:
            other.close()
            await ice.close()
            await caller.close()

    async def test_number_is_limited(self, connections: list[Any]) -> None:
        """Offers beyond the limit are refused; invalid ones count as well."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future())
        for _ in range(OFFERS_MAX):
            status, _ = await signalling.handle("POST", {"sdp": "v=0", "type": "answer"})
            assert status == 422
        assert (await signalling.handle("POST", await an_offer()))[0] == 429


class TestCandidates:
    @pytest.mark.parametrize(
        ("host", "fit", "fit_locally"),
        [
            ("192.0.2.7", True, True),
            ("10.1.2.3", True, True),
            ("2a00:1450::7", True, True),
            ("0ab1-2c.local", True, True),
            ("127.0.0.1", False, True),
            ("127.9.9.9", False, True),
            ("::1", False, True),
            ("::ffff:127.0.0.1", False, True),
            ("169.254.169.254", False, True),
            ("::ffff:169.254.169.254", False, True),
            ("fe80::1%eth0", False, True),
            ("fd00:ec2::254", False, True),
            ("0.0.0.0", False, False),
            ("224.0.0.1", False, False),
            ("255.255.255.255", False, False),
            ("redis", False, False),
            ("", False, False),
        ],
    )
    def test_permitted_addresses(self, host: str, fit: bool, fit_locally: bool) -> None:
        """A bot sends to its own machine or link only if the runner is on loopback."""
        assert ice_candidates.is_permitted_address(host, local=False) is fit
        assert ice_candidates.is_permitted_address(host, local=True) is fit_locally

    @pytest.mark.parametrize("local", [False, True])
    async def test_unfit_candidates_do_not_reach_the_connection(
        self, connections: list[Any], local: bool
    ) -> None:
        """No candidate that is not permitted reaches the connection, in an offer or after it."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future(), local=local)
        offer = await an_offer()
        hosts = ["169.254.7.7", "192.0.2.7"]
        offer["sdp"] += "".join(f"a={line(host)}\r\n" for host in hosts)
        _, answer = await signalling.handle("POST", offer)
        remote = connections[0].pc.remoteDescription.sdp
        assert ("169.254.7.7" in remote, "192.0.2.7" in remote) == (local, True)
        candidates = [
            {"candidate": line(host), "sdpMid": "0"} for host in ("127.0.0.1", "192.0.2.8")
        ]
        body = {"pc_id": answer["pc_id"], "candidates": [*candidates, {"candidate": ""}]}
        assert (await signalling.handle("PATCH", body))[0] == 200
        assert connections[0].candidates == ["127.0.0.1"] * local + ["192.0.2.8", None]

    async def test_number_is_limited(self, connections: list[Any]) -> None:
        """Candidates beyond the limit are dropped, with one warning."""
        signalling = BotSignalling(asyncio.get_running_loop().create_future())
        offer = await an_offer()
        offer["sdp"] += "".join(f"a={line(f'192.0.2.{n}')}\r\n" for n in range(1, 21))
        _, answer = await signalling.handle("POST", offer)
        with capture() as records:
            for n in range(1, 101):
                candidates = [{"candidate": line(f"198.51.100.{n}"), "sdpMid": "0"}]
                await signalling.handle(
                    "PATCH", {"pc_id": answer["pc_id"], "candidates": candidates}
                )
        assert len(connections[0].candidates) == ice_candidates.CANDIDATES_MAX - 20
        assert len([r for r in records if r["level"] == "warn"]) == 1
