"""STUN and TURN servers as calls, bots and `cordboard doctor` find them, with a real coturn."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aioice import Connection
from aioice.stun import Class, Message, Method, TransactionFailed
from aioice.turn import create_turn_endpoint
from aiortc import RTCPeerConnection

from cordboard import ice_client
from cordboard.call.audio import Microphone, SoundDetector
from cordboard.call.peer import Peer
from cordboard.cli import main
from cordboard.cli._ice_checks import relay_note
from cordboard.contract.errors import CordboardError
from cordboard.contract.ice import parse_ice_url
from cordboard.ice_client import UsableServers, bound_gathering, check_server, usable_servers
from cordboard.ice_client import targets_of as targets
from cordboard.runner.signalling import BotSignalling
from ice.ice_support import SECRET, LocalTurn
from tests_support import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
QUICK_S = 0.2


@pytest.fixture
def silent() -> Iterator[str]:
    """A port at which nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "url",
    ["stun:127.0.0.1:PORT", "turn:127.0.0.1:PORT", "turn:127.0.0.1:PORT?transport=tcp", "turn:localhost:PORT"],
)  # fmt: skip
async def test_a_server_that_works_returns_an_address(turn: LocalTurn, url: str) -> None:
    """That of this machine, or that of the relay, over UDP and over TCP."""
    address = await check_server(targets(turn.config(url))[0])
    assert address.startswith("127.0.0.1:")


async def test_tls_needs_a_trusted_certificate(
    turn: LocalTurn, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with a certificate of no known authority is refused; of one that the machine trusts, it works."""
    (target,) = targets(turn.config("turns:127.0.0.1:TLS"))
    with pytest.raises(CordboardError, match=r"^turns:127.* the TLS connection failed: .*CERTIF"):
        await check_server(target)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert (await check_server(target)).startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("turn:127.0.0.1:PORT", "wrong", "rejected the credentials (401)"),
        ("turn:127.0.0.1:PORT?transport=tcp", "wrong", "rejected the credentials (401)"),
        ("turn:127.0.0.1:1?transport=tcp", SECRET, "cannot be reached: Connect call failed"),
        ("stun:127.0.0.1:1", SECRET, "cannot be reached: Connection refused"),
        ("turn:nowhere.invalid", SECRET, "cannot be reached: Name or service not known"),
        ("turn:SILENT", SECRET, "no answer within 0.2 s"),
        ("stun:SILENT", SECRET, "no answer within 0.2 s"),
    ],
)
async def test_a_server_of_no_use_is_reported_with_the_reason(
    turn: LocalTurn, silent: str, url: str, secret: str, message: str
) -> None:
    """Each fault has its words and a hint, and no credentials are in them."""
    (target,) = targets(turn.config(url.replace("SILENT", silent), secret=secret))
    timeout_s = QUICK_S if "SILENT" in url else ice_client.ANSWER_S
    with pytest.raises(CordboardError) as caught:
        await check_server(target, timeout_s=timeout_s)
    assert message in caught.value.message
    assert caught.value.message.startswith(f"{target.url}: ")
    assert caught.value.hint
    assert target.credential is None or target.credential not in str(caught.value)


# --- the choice for aiortc


async def usable(turn: LocalTurn, *urls: str, **options: Any) -> UsableServers:
    return await usable_servers(turn.config(*urls, **options), timeout_s=ice_client.ANSWER_S)


async def test_the_first_server_of_each_kind_is_chosen(turn: LocalTurn) -> None:
    """Of several servers that answer, the order of the setting decides."""
    urls = ("turn:127.0.0.1:PORT?transport=tcp", "turn:127.0.0.1:PORT", "stun:127.0.0.1:PORT")
    servers = await usable(turn, *urls)
    stun, relay = servers.entries
    assert stun == {"urls": f"stun:127.0.0.1:{turn.port}"}
    assert relay["urls"] == f"turn:127.0.0.1:{turn.port}?transport=tcp"
    assert relay["username"].endswith(":call:7")
    assert (servers.has_relay, servers.faults, servers.is_relay_only) == (True, (), False)


async def test_a_server_without_an_answer_is_passed_over(turn: LocalTurn, silent: str) -> None:
    """A network that blocks UDP: the server that answers over TCP is chosen, without waiting for the other."""
    servers = await usable(turn, f"turn:{silent}", "turn:127.0.0.1:PORT?transport=tcp")
    assert [entry["urls"] for entry in servers.entries] == [
        f"turn:127.0.0.1:{turn.port}?transport=tcp"
    ]


async def test_servers_that_aiortc_cannot_use_are_left_out(turn: LocalTurn) -> None:
    """Browsers use them; aiortc would fail at the address in brackets."""
    urls = ("stuns:h", "turns:h?transport=udp", "turn:[::1]:PORT", "turn:127.0.0.1:PORT")
    servers = await usable(turn, *urls)
    assert [entry["urls"] for entry in servers.entries] == [f"turn:127.0.0.1:{turn.port}"]


async def test_faults_are_kept_if_no_server_is_of_use(turn: LocalTurn) -> None:
    """The policy and all reasons are known to the code that makes the connection."""
    servers = await usable(turn, "turn:127.0.0.1:PORT", secret="wrong", policy="relay")
    assert (servers.entries, servers.has_relay, servers.is_relay_only) == ((), False, True)
    assert "401" in servers.faults[0].message


async def test_no_servers_need_no_network() -> None:
    """Without a setting nothing is asked."""
    assert await usable_servers(None) == UsableServers()


# --- connections


async def test_call_with_the_policy_relay_offers_relays_only(turn: LocalTurn) -> None:
    """No address of this machine is in the offer."""
    servers = await usable(turn, "turn:127.0.0.1:PORT", policy="relay")
    peer = Peer(Microphone(), SoundDetector(), servers)
    offer = await peer.offer()
    await peer.close()
    candidates = [line for line in offer["sdp"].splitlines() if line.startswith("a=candidate")]
    assert candidates
    assert all("typ relay raddr 0.0.0.0" in line for line in candidates)


async def test_call_with_the_policy_relay_and_no_relay_fails_with_the_reason(
    turn: LocalTurn,
) -> None:
    """There is no offer without an address; the hint is that of the server."""
    servers = await usable(turn, "turn:127.0.0.1:PORT", secret="wrong", policy="relay")
    peer = Peer(Microphone(), SoundDetector(), servers)
    with pytest.raises(CordboardError, match="no TURN server can be used") as caught:
        await peer.offer()
    await peer.close()
    assert "rejected the credentials (401)" in caught.value.hint


async def test_bot_answers_with_a_relay_of_its_session(turn: LocalTurn) -> None:
    """The first offer waits for the servers; the answer has an address at the TURN server."""
    loop = asyncio.get_running_loop()
    servers = loop.create_task(usable_servers(turn.config("turn:127.0.0.1:PORT")))
    peer: asyncio.Future[Any] = loop.create_future()
    signalling = BotSignalling(peer, servers=servers)
    pc = RTCPeerConnection()
    pc.createDataChannel("x")
    await pc.setLocalDescription(await pc.createOffer())
    local = pc.localDescription
    status, answer = await signalling.handle("POST", {"sdp": local.sdp, "type": local.type})
    await pc.close()
    await (await peer).connection.disconnect()
    assert status == 200
    assert "typ relay" in answer["sdp"]


async def test_call_goes_on_after_its_credentials_have_expired(turn: LocalTurn) -> None:
    """The server checks them for a new relay only; one that exists is kept, and reaches further peers."""
    [server] = turn.config("turn:127.0.0.1:PORT", valid_s=2)["iceServers"]
    account = (("127.0.0.1", turn.port), server["username"], server["credential"])
    relay, _ = await create_turn_endpoint(asyncio.DatagramProtocol, *account)

    async def are_refused() -> bool:
        try:
            (await create_turn_endpoint(asyncio.DatagramProtocol, *account))[0].close()
        except TransactionFailed:
            return True
        await asyncio.sleep(0.2)
        return False

    await until(are_refused)
    client: Any = relay._TurnTransport__inner_protocol  # type: ignore[attr-defined]
    await client.channel_bind(0x4001, ("192.0.2.1", 9))
    refresh = Message(message_method=Method.REFRESH, message_class=Class.REQUEST)
    refresh.attributes["LIFETIME"] = client.lifetime
    answer, _ = await client.request_with_retry(refresh)
    assert answer.attributes["LIFETIME"] > 0
    relay.close()


async def test_gathering_does_not_wait_long_for_a_silent_stun_server(silent: str) -> None:
    """The limit is this process's, not the 5 s of aioice."""
    host, _, port = silent.partition(":")
    bound_gathering(QUICK_S)
    connection = Connection(ice_controlling=True, stun_server=(host, int(port)))
    try:
        await asyncio.wait_for(connection.gather_candidates(), 3)
    finally:
        bound_gathering()
        await connection.close()
    assert {candidate.type for candidate in connection.local_candidates} <= {"host"}


# --- doctor


def run_doctor(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    state: Path,
    **variables: str,
) -> tuple[int, str]:
    """Run `cordboard doctor`; return its exit status and its lines about ICE servers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    status = main(["doctor"])
    lines = capfd.readouterr().out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line[6:].startswith(("stun", "turn", "ice ")))
    end = next(i for i, line in enumerate(lines) if line[6:].startswith("bot file"))
    return status, "\n".join(lines[begin:end])


async def test_doctor_checks_each_server_and_shows_no_password(
    turn: LocalTurn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What came of each server, in the order of the setting, with a hint where it is of no use."""
    port = turn.port
    servers = [
        f"stun:127.0.0.1:{port}",
        f"turn:127.0.0.1:{port}",
        {"urls": f"turn:127.0.0.1:{port}", "username": "swordfish", "credential": "swordfish"},
        "stuns:turn.invalid",
    ]
    status, shown = await asyncio.to_thread(
        run_doctor,
        monkeypatch, capfd, tmp_path,
        CORDBOARD_TURN_SECRET=SECRET, CORDBOARD_ICE_SERVERS=json.dumps(servers),
    )  # fmt: skip
    stun, relay, refused, hint, unchecked, *_others = shown.splitlines()
    assert status == 1
    assert (
        f"ok    stun           stun:127.0.0.1:{port}: this machine's address is 127.0.0.1:" in stun
    )
    assert f"ok    turn           turn:127.0.0.1:{port}: allocated the relay 127.0.0.1:" in relay
    assert "its address is private" in relay
    assert (
        f"FAIL  turn           turn:127.0.0.1:{port}: the server rejected the credentials"
        in refused
    )
    assert "static-auth-secret" in hint
    assert "not checked, because only browsers can use it" in unchecked
    assert "swordfish" not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("relay", "server", "is_good"),
    [
        ("8.8.8.8:49152", "8.8.8.8", True),
        ("[2001:4860:4860::8888]:49152", "8.8.8.8", True),
        ("10.0.0.5:49152", "10.0.0.5", True),
        ("10.0.0.5:49152", "8.8.8.8", False),
        ("127.0.0.1:49152", "10.0.0.5", False),
    ],
)
async def test_doctor_notices_a_relay_that_callers_cannot_reach(
    relay: str, server: str, is_good: bool
) -> None:
    """A public server behind address translation needs external-ip; a private one serves its own network."""
    if is_good:
        assert ("private" in relay_note(parse_ice_url("turn:h"), relay, [server])) is (
            "10.0" in relay
        )
        return
    with pytest.raises(CordboardError) as caught:
        relay_note(parse_ice_url("turn:h"), relay, [server])
    assert "external-ip=" in caught.value.hint


@pytest.mark.parametrize(
    ("variables", "status", "message"),
    [
        ({}, 0, "ok    ice servers    none"),
        ({"CORDBOARD_ICE_SERVERS": "turn:h"}, 1, "FAIL  ice servers    ice_servers: turn:h has no credentials"),
        ({"CORDBOARD_ICE_TRANSPORT_POLICY": "relay"}, 1, "FAIL  ice servers    ice_transport_policy is relay"),
    ],
)  # fmt: skip
async def test_doctor_reports_settings_without_servers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variables: dict[str, str],
    status: int,
    message: str,
) -> None:
    """No servers are fine; a TURN server without credentials, or a policy without a server, is not."""
    shown = await asyncio.to_thread(run_doctor, monkeypatch, capfd, tmp_path, **variables)
    assert shown[0] == status
    assert message in shown[1]
