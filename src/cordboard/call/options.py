"""The options and the result of a call."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cordboard.call.gateway import TIMEOUT_S, CallTarget
from cordboard.call.interruption import Interruption
from cordboard.call.timeline import CallStage
from cordboard.contract.errors import UsageError
from cordboard.contract.ids import canonical_room, check_session_id, uuid7

# The longest ``--seconds``: a forgotten call holds its room and a slot for an hour at most.
SECONDS_MAX: Final = 3600


@dataclass(frozen=True, slots=True)
class CallTimeouts:
    """How many seconds each part of a call may take.

    Attributes:
        request: The gateway's answer to a request.
        running: The session's start. The gateway ends a session that does not run within 60 s, and reports
            the reason, which is more useful than a timeout here.
        connected: The WebRTC connection after the bot's answer.
        audio: The bot's first sound, and its reply to the speech.
        greeting: The bot's first sound if there is something to speak. A bot that does not greet is no
            failure then.
        turn: The bot's utterance to its end, because some bots never stop; and the time beyond its own
            length that sending the speech may take.
        ending: The final state of the session after an error. The error may be the first sign that the
            session has ended.
    """

    request: float = TIMEOUT_S
    running: float = 65.0
    connected: float = 15.0
    audio: float = 15.0
    greeting: float = 8.0
    turn: float = 30.0
    ending: float = 0.5


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of a call.

    Attributes:
        room: A ``webrtc:`` room.
        gateway_url: The base URL of the gateway, http or https.
        control_secret: The gateway's control secret; None if it has none.
        tls_ca: A file of certificate authorities for the gateway; None for the system's.
        session_id: The session id, kept byte for byte; None makes one.
        user_name: The caller's name.
        bot: The name of the bot; None for the default.
        say: A sound file to play after the bot's greeting.
        record: The WAV file that records the bot, from the connection to the end of the call. It keeps time.
        seconds: How long to stay in the call; None leaves when the bot has finished speaking.
        timeouts: The bounds of each stage.
        measures: Whether the log gets the figures of the media, and the latency that was heard.
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
    timeouts: CallTimeouts = CallTimeouts()
    measures: bool = False


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a call.

    Attributes:
        session_id: The session.
        room: The room, in canonical form.
        stages: The stages that the call reached, in order.
        failed: The name of the stage that was not reached; None after a complete call. ``recorded`` if all was heard,
            and the recording could not be written to its end.
        reason: Why it was not reached.
        hint: What to do about it.
        seconds: How long the call lasted, from its connection until it was left or had ended.
        recorded_s: Seconds of sound in the recording: as many.
        has_logs: Whether the gateway has answered, so that log lines of this session exist.
        interruptions: When the bot was lost during the call. The call went on after each but the last, and after that
            one if ``new_epoch`` says so.
    """

    session_id: str
    room: str
    stages: tuple[CallStage, ...]
    failed: str | None = None
    reason: str = ""
    hint: str = ""
    seconds: float = 0.0
    recorded_s: float = 0.0
    has_logs: bool = True
    interruptions: tuple[Interruption, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every stage was reached."""
        return self.failed is None

    def ms(self, stage: str) -> float | None:
        """Return the milliseconds from the start to the stage named ``stage``; None if not reached.

        A stage that was reached again, because an interruption had spoiled a turn, counts from then.
        """
        return next(
            (reached.ms for reached in reversed(self.stages) if reached.name == stage), None
        )


def target_of(options: CallOptions) -> CallTarget:
    """Return the target of a call, with a new session id if ``options`` has none.

    Raises:
        UsageError: The room is not a ``webrtc:`` room, or ``seconds`` is out of range.
        InvalidValueError: The room or the session id is malformed.
    """
    room = canonical_room(options.room)
    if not room.startswith("webrtc:"):
        raise UsageError(
            f"This command cannot enter {room}.",
            hint="It calls built-in peer-to-peer rooms: cordboard call webrtc:NAME",
        )
    if options.seconds is not None and not 0 < options.seconds <= SECONDS_MAX:
        raise UsageError(f"--seconds: expected a number above 0 and at most {SECONDS_MAX}.")
    # The id is made here, so that a caller can name the session's log lines before the first request.
    return CallTarget(
        gateway_url=options.gateway_url.rstrip("/"),
        control_secret=options.control_secret,
        tls_ca=options.tls_ca,
        room=room,
        session_id=check_session_id(options.session_id or _new_session_id()),
        user_name=options.user_name,
        bot=options.bot,
        timeout_s=options.timeouts.request,
    )


def _new_session_id() -> str:
    """Return a session id like those of pages: a UUIDv7."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))
