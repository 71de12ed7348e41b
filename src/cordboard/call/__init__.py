"""A call without a browser: joins a ``webrtc:`` room as a person would, speaks, and listens.

For the command line (``cordboard call``), for tests and for benchmarks, which all need the same
answer: did audio come back, and how long did each stage take?
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from cordboard.call.audio import FRAME_S, PAUSE_S, RATE, Ear, Microphone, Recording, read_speech
from cordboard.call.gateway import Signalling, Where
from cordboard.call.peer import Peer
from cordboard.call.timeline import Stage, StageFailedError, Timeline, at_stage
from cordboard.contract.errors import CordboardError, UsageError
from cordboard.contract.ids import canonical_room, check_session_id, uuid7
from cordboard.contract.state import TERMINAL

RUNNING_TIMEOUT_S: Final = 65.0  # the gateway gives up on a join after 60 s, and says why
CONNECT_TIMEOUT_S: Final = 15.0
AUDIO_TIMEOUT_S: Final = 15.0
ENDING_WAIT_S: Final = (
    0.5  # an error may be how we meet the session's end, before we are told of it
)
GREETING_WAIT_S: Final = 8.0  # with something to say, a bot that does not greet is no failure
TURN_MAX_S: Final = 30.0
POLL_S: Final = 0.01

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What kind of call.

    Args:
        room: A ``webrtc:`` room.
        gateway_url: The gateway, http or https.
        control_secret: Its control secret; None if it needs none.
        tls_ca: A file of certificate authorities for it; None for those of the system.
        session_id: Kept byte for byte; None makes one.
        user_name: Who calls.
        say: A sound file to speak after the bot's greeting.
        record: Where to write what the bot says, as wav.
        seconds: Stay so long in the call; None leaves when the bot has been heard out.
    """

    room: str
    gateway_url: str
    control_secret: str | None = None
    tls_ca: str | None = None
    session_id: str | None = None
    user_name: str | None = None
    bot: str | None = None
    say: Path | None = None
    record: Path | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call went; ``failed`` names the stage that was not reached.

    Attributes:
        met: Whether the gateway has heard of it; else there are no lines of it.
    """

    session_id: str
    room: str
    stages: tuple[Stage, ...]
    failed: str | None = None
    reason: str = ""
    hint: str = ""
    recorded_s: float = 0.0
    met: bool = True

    @property
    def ok(self) -> bool:
        """Whether audio came back."""
        return self.failed is None

    def ms(self, stage: str) -> float | None:
        """Return when a stage was reached, in ms after the click."""
        return next((item.ms for item in self.stages if item.name == stage), None)


class _Call:
    """One call's parts, while it lasts."""

    def __init__(
        self, gateway: Signalling, line: Timeline, speech: bytes, recording: Recording | None
    ) -> None:
        self.gateway = gateway
        self.line = line
        self.speech = speech
        self.microphone = Microphone()
        self.ear = Ear(recording)
        self.peer = Peer(self.microphone, self.ear)
        self.running = asyncio.Event()
        self.satisfied = False
        self.last: dict[str, Any] = {}


def new_session_id() -> str:
    """Return a session id as a page makes one: a UUIDv7."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def checked(options: CallOptions) -> Where:
    """Return where the call goes.

    Raises:
        UsageError, InvalidValueError: No such room, no such id, no such time.
    """
    room = canonical_room(options.room)
    if not room.startswith("webrtc:"):
        raise UsageError(
            f"{room} is no room that this command can enter.",
            hint="It calls built-in peer-to-peer rooms: cordboard call webrtc:NAME",
        )
    if options.seconds is not None and not 0 < options.seconds <= 3600:  # noqa: PLR2004 - an hour
        raise UsageError("--seconds: a number above 0, at most 3600, is wanted.")
    return Where(
        gateway_url=options.gateway_url.rstrip("/"),
        control_secret=options.control_secret,
        tls_ca=options.tls_ca,
        room=room,
        session_id=check_session_id(options.session_id or new_session_id()),
        user_name=options.user_name,
        bot=options.bot,
    )


async def place_call(
    options: CallOptions, on_stage: Callable[[Stage], None] = lambda _stage: None
) -> CallResult:
    """Make one call; always leaves, also when cancelled.

    Args:
        options: What kind of call.
        on_stage: Told of each stage as it is reached.

    Raises:
        CordboardError: The options cannot be used; nothing has been asked of anyone.
    """
    where = checked(options)
    speech = read_speech(options.say) if options.say else b""
    line = Timeline(on_stage)
    failure: StageFailedError | None = None
    with _recording(options.record) as recording:
        async with Signalling(where) as gateway:
            try:
                await _attempt(_Call(gateway, line, speech, recording), options.seconds)
            except StageFailedError as error:
                failure = error
    return CallResult(
        session_id=where.session_id,
        room=where.room,
        stages=tuple(line.stages),
        failed=failure.stage if failure else None,
        reason=failure.message if failure else "",
        hint=failure.hint if failure else "",
        recorded_s=recording.seconds if recording else 0.0,
        met=gateway.answered,
    )


@contextlib.contextmanager
def _recording(path: Path | None) -> Iterator[Recording | None]:
    if path is None:
        yield None
        return
    with contextlib.closing(Recording(path)) as recording:
        yield recording


async def _attempt(call: _Call, seconds: float | None) -> None:
    """Join, converse, leave."""
    offering = asyncio.create_task(call.peer.offer())  # gathers addresses while the bot starts
    try:
        async with call.line.stage("joined"):
            await call.gateway.join()
        await _while_live(call, _converse(call, offering, seconds))
        await _leave(call)
    except (StageFailedError, asyncio.CancelledError) as error:
        # A join that was refused left nothing; one that was cut short may have been accepted.
        if getattr(error, "stage", "") not in {"joined", "left"}:
            with contextlib.suppress(CordboardError):
                await call.gateway.leave()
        raise
    finally:
        offering.cancel()
        await asyncio.gather(offering, return_exceptions=True)
        await call.peer.close()


async def _while_live(call: _Call, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until it is done, or the session has ended under it."""
    conversation = asyncio.create_task(work)
    following = asyncio.create_task(_follow(call))
    try:
        await asyncio.wait({conversation, following}, return_when=asyncio.FIRST_COMPLETED)
        if conversation.done():
            conversation.result()
        else:
            following.result()
            await _check_end(call)
    except CordboardError as error:
        failure = at_stage(call.line.towards, error)
        await asyncio.wait({following}, timeout=ENDING_WAIT_S)
        if call.last.get("status") in TERMINAL and following.done():
            raise StageFailedError(failure.stage, *await _ending(call)) from error
        raise failure from error
    finally:
        conversation.cancel()
        following.cancel()
        await asyncio.gather(conversation, following, return_exceptions=True)


async def _follow(call: _Call) -> None:
    async for change in call.gateway.states():
        call.last = change
        if change.get("status") == "running":
            call.running.set()


async def _check_end(call: _Call) -> None:
    """See whether the session ended as it should: after we have heard what we came for.

    Raises:
        StageFailedError: It did not.
    """
    if not call.satisfied:
        raise StageFailedError(call.line.towards, *await _ending(call))
    if call.last.get("status") == "failed":
        raise StageFailedError("left", *await _ending(call))


async def _ending(call: _Call) -> tuple[str, str]:
    """Say how the session ended, and where to look."""
    record = dict(call.last)
    with contextlib.suppress(CordboardError):
        record |= await call.gateway.record()
    why = ", ".join(str(record[name]) for name in ("reason", "detail") if record.get(name))
    return (
        f"The session has ended: {record.get('status')}{f' ({why})' if why else ''}.",
        "Its lines, printed by the command below, say more.",
    )


async def _converse(
    call: _Call, offering: asyncio.Task[dict[str, str]], seconds: float | None
) -> None:
    line = call.line
    async with line.stage("running", RUNNING_TIMEOUT_S, _NO_RUNNER):
        await call.running.wait()
    async with line.stage("answered"):
        answer = await call.gateway.offer(await offering)
    async with line.stage("connected", CONNECT_TIMEOUT_S, _NO_PATH):
        await call.peer.accept(answer)
        await call.peer.connected()
    since = time.monotonic()
    await _greeted(call)
    if call.speech:
        await _turn(call)
    if seconds is not None:
        await asyncio.sleep(max(0.0, since + seconds - time.monotonic()))


async def _greeted(call: _Call) -> None:
    """Wait for the bot's first audio, and until it has finished."""
    call.line.towards = "first_audio"
    wait_s = GREETING_WAIT_S if call.speech else AUDIO_TIMEOUT_S
    at = await _until(lambda: call.ear.onset_after(0.0), wait_s)
    if at is not None:
        call.line.reach("first_audio", at)
        call.satisfied = not call.speech
        await _heard_out(call)
    elif not call.speech:
        raise _silent("first_audio", wait_s)


async def _turn(call: _Call) -> None:
    """Speak, and wait for the bot's answer."""
    call.line.towards = "spoken"
    call.microphone.say(call.speech)
    spoken = await _until(
        lambda: call.microphone.spoken_at, len(call.speech) / 2 / RATE + TURN_MAX_S
    )
    if spoken is None:
        raise StageFailedError("spoken", *_TOO_BUSY)
    call.line.reach("spoken", spoken)
    call.line.towards = "heard_back"
    # What arrives together with our last frame answers nothing; a bot that began while we spoke, and
    # goes on, does.
    at = await _until(
        lambda: call.ear.onset_after(spoken + FRAME_S) or call.ear.loud_after(spoken + PAUSE_S),
        AUDIO_TIMEOUT_S,
    )
    if at is None:
        raise _silent("heard_back", AUDIO_TIMEOUT_S)
    call.line.reach("heard_back", at)
    call.satisfied = True
    await _heard_out(call)


async def _heard_out(call: _Call) -> None:
    """Wait until the bot has finished, bounded: some never stop."""
    await _until(lambda: call.ear.quiet(time.monotonic()) or None, TURN_MAX_S)


async def _leave(call: _Call) -> None:
    """Leave the room, and see that the session has ended."""
    async with call.line.stage("left"):
        if await call.gateway.leave() != "stopping":
            return
        if (await call.gateway.record())["status"] not in TERMINAL:
            raise CordboardError("The bot did not confirm its end.", hint=_SESSIONS)


async def _until(look: Callable[[], T | None], timeout_s: float) -> T | None:
    deadline = time.monotonic() + timeout_s
    while (found := look()) is None and time.monotonic() < deadline:  # noqa: ASYNC110 - a frame comes every 20 ms anyway
        await asyncio.sleep(POLL_S)
    return found


_SESSIONS: Final = "Its state: cordboard sessions ID"
_NO_RUNNER: Final = ("No runner took the session in time.", "Is one running? See cordboard doctor.")
_NO_PATH: Final = (
    "No path for media was found in time.",
    "UDP to the runner must not be blocked (firewall, VPN), nor the bot's event loop by the bot.",
)
_TOO_BUSY: Final = (
    "The speech could not be sent at its own speed.",
    "This machine is too busy for a call.",
)


def _silent(stage: str, wait_s: float) -> StageFailedError:
    return StageFailedError(
        stage,
        f"Connected, but nothing was heard from the bot for {wait_s:.0f} s.",
        "Does it speak then? Its lines, printed by the command below, tell."
        + (" A bot that waits for a voice answers no tones." if stage == "heard_back" else ""),
    )
