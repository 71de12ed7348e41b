"""A bot of the shape of Pipecat's voice examples holds a call each way, with doubles of its services.

The official examples do the same on demand, where CORDBOARD_EXAMPLES names their folder.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from pipecatcloud.exception import AgentStartError
from pipecatcloud.session import Session, SessionParams

from corpus import callers
from corpus.service_doubles import Doubles
from plane_support import ask
from tests_support import served_with_websockets, until
from up_support import Up, processes_of, ready

BOT = Path(__file__).with_name("voice_bot.py")
KEY = "pk_voice0123456789ab"
SECRET = "the-secret-of-these-tests"
CONTROL = {"Authorization": f"Bearer {SECRET}"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Plane:
    """Everything, with one voice bot, and the doubles of its services."""

    def __init__(self, up: Up, doubles: Doubles) -> None:
        self.up = up
        self.doubles = doubles
        self.edge = up.addresses["edge"]

    async def status(self, session_id: str) -> str:
        """Return the state of a session, as the gateway has it."""
        url = f"{self.up.addresses['gateway']}/sessions/{session_id}"
        async with aiohttp.ClientSession(headers=CONTROL) as client:
            return str((await ask(client, "GET", url))[1]["status"])

    async def ended(self, session_id: str) -> None:
        """Wait until a session has ended as it should."""

        async def has_ended() -> bool:
            return await self.status(session_id) == "ended"

        await until(has_ended, 30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    state = tmp_path_factory.mktemp("state")
    doubles = Doubles()
    async with (
        served_with_websockets(doubles.app()) as services,
        ready(
            state,
            *("--bot", str(BOT)),
            BOT_CONTROL_SHARED_SECRET=SECRET,
            CORDBOARD_PUBLIC_KEYS=KEY,
            blind=False,
            python=sys.executable,
            **Doubles.environment(services),
        ) as up,
    ):
        yield Plane(up, doubles)
    assert processes_of(state) == []
    assert doubles.faults == []


async def test_voice_bot_holds_a_call_over_webrtc(plane: Plane) -> None:
    heard = await callers.call_by_webrtc(plane.edge, key=KEY)
    assert heard.utterances == 2
    await plane.ended(heard.session_id)


async def test_voice_bot_holds_a_call_over_a_websocket(plane: Plane) -> None:
    answer = await callers.start(plane.edge, {"transport": "websocket"}, key=KEY)
    assert (await callers.call_by_websocket(answer["wsUrl"])).utterances == 2


async def test_voice_bot_holds_a_phone_call(plane: Plane) -> None:
    """Twilio's messages both ways, none that Twilio refuses; the bot hears the question and answers."""
    before = plane.doubles.requests["openai transcription"]
    answer = await callers.start(plane.edge, {"transport": "twilio"}, key=KEY)
    report = await callers.call_by_phone(answer["wsUrl"])
    assert report.violations == []
    assert report.metrics.audio_received_ms > 500
    assert plane.doubles.requests["openai transcription"] > before


async def test_eval_harness_of_pipecat_drives_the_bot(plane: Plane, tmp_path: Path) -> None:
    """`pipecat eval run` connects to `/ws`, unchanged; the bot's answers reach it."""
    scenario = callers.write_scenario(tmp_path)
    status, output = await callers.run_eval(scenario, plane.edge)
    assert status == 0, output
    assert "1/1 passed" in output


async def test_sdk_of_pipecat_cloud_starts_a_session(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official SDK needs another host name and a key; the session is an ordinary one."""
    monkeypatch.setenv("PIPECAT_API_HOST", plane.edge)
    session = Session("default", KEY, SessionParams(data={"customer": "Ada"}))
    answer = await session.start()
    assert await plane.status(answer["sessionId"]) in {"queued", "starting", "running"}
    async with aiohttp.ClientSession(headers=CONTROL) as client:
        url = f"{plane.up.addresses['gateway']}/leave"
        await ask(client, "POST", url, {"sessionId": answer["sessionId"]})


async def test_sdk_of_pipecat_cloud_gets_an_error_for_a_wrong_key(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPECAT_API_HOST", plane.edge)
    with pytest.raises(AgentStartError):
        await Session("default", "pk_anotherkey01234567").start()
