"""Webhooks of Daily (a phone call dials in) and LiveKit (a participant joins a room)."""

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import time
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from cordboard.context import adopt
from cordboard.contract.errors import (
    CordboardError,
    InvalidValueError,
    NotFoundError,
    SettingsError,
    UnauthorizedError,
)
from cordboard.contract.ids import canonical_room, is_bot_name, is_session_id
from cordboard.contract.livekit import verify_webhook
from cordboard.edge.caller import caller_id, masked_number
from cordboard.edge.rooms.start import start_daily
from cordboard.edge.services import EdgeServices, Services
from cordboard.edge.sessions import DEFAULT_BOT, JoinRequest, SessionView
from cordboard.edge.start_request import Start
from cordboard.emit import get_logger
from cordboard.settings import Settings
from cordboard.settings.room_services import daily_account, livekit_server

# Daily's own limit is not documented; that of Telnyx and Stripe is five minutes as well.
TIMESTAMP_TOLERANCE_S: Final = 300
# Daily sends milliseconds; a number of seconds has this many digits until the year 2286.
_SECONDS_DIGITS: Final = 10

# Of a hash that stands for an id with characters that no session id may have.
_HASH_CHARS: Final = 32
_DIALIN_FIELDS: Final = ("From", "To", "callId", "callDomain")
_DISPATCH_EVENTS: Final = ("room_started", "participant_joined")

log = get_logger("edge")
router = APIRouter()


@router.post("/phone/daily", tags=["rooms"], summary="A call dials in through Daily")
@router.post("/phone/daily/{bot}", include_in_schema=False)
@router.post("/daily-dialin-webhook", include_in_schema=False)
async def dial_in(request: Request, services: Services, bot: str = DEFAULT_BOT) -> JSONResponse:
    """Create a room for a caller whom Daily holds, and start the bot that lets the caller in.

    Args:
        request: Daily's webhook. Its session id is Daily's ``callId``.
        services: The edge's services.
        bot: The bot's name.
    """
    account = daily_account()
    if account is None or account.webhook_secret is None:
        raise NotFoundError(
            "Dial-in through Daily is not configured.",
            hint="Set DAILY_API_KEY and PINLESS_HMAC_SECRET in the environment of the edge.",
        )
    content = await request.body()
    _check_pinless_signature(request, content, account.webhook_secret, time.time())
    data = _object(content)
    if data.get("test") or data.get("Test"):  # Daily sends this when the webhook is configured
        return JSONResponse({"status": "OK"})
    start = _dial_in_start(data, bot, next(iter(services.settings.control_secrets), ""))
    adopt(session_id=start.session_id, user_id=start.user_id)
    log.info(
        "Call received",
        event="call.received",
        provider="daily",
        direction="inbound",
        number=data["To"],
        caller=masked_number(data["From"]),
    )
    # A call has one session, whatever bot the path names: the signature does not cover the path.
    ended = await _ended_session(services, start.session_id)
    if ended is not None:
        return JSONResponse({"sessionId": ended.session_id, "status": ended.status})
    return JSONResponse(await start_daily(services, start))


def _dial_in_start(data: dict[str, Any], bot: str, secret: str) -> Start:
    """Return the start for a caller, with the body that Pipecat's bots expect (``DailyDialinRequest``).

    Args:
        data: The body of Daily's webhook.
        bot: The bot's name.
        secret: The control secret, which keys the caller's id.
    """
    missing = [name for name in _DIALIN_FIELDS if not isinstance(data.get(name), str)]
    if missing:
        raise InvalidValueError(f"Invalid webhook: expected the texts {', '.join(missing)}.")
    if not is_bot_name(bot):
        raise InvalidValueError(f"Invalid bot name {bot!a}.")
    dialin_settings = {
        "call_id": data["callId"],
        "call_domain": data["callDomain"],
        "To": data["To"],
        "From": data["From"],
        "sip_headers": data.get("sipHeaders"),
    }
    sip = {
        "display_name": data["From"],
        "video": False,
        "sip_mode": "dial-in",
        "num_endpoints": 1,
    }
    return Start(
        session_id=_session_id_of("daily", data["callId"]),
        bot=bot,
        transport="daily",
        user_id=caller_id(data["From"], secret),
        body={"dialin_settings": dialin_settings},
        options={"dailyRoomProperties": {"sip": sip, "start_video_off": True}},
    )


@router.post("/livekit/webhook", tags=["rooms"], summary="An event of the LiveKit server")
async def livekit_event(request: Request, services: Services) -> JSONResponse:
    """Send a bot to a LiveKit room that was opened, if the room is one of ``livekit_dispatch``.

    Args:
        request: LiveKit's webhook.
        services: The edge's services.
    """
    server = livekit_server()
    if server is None:
        raise NotFoundError(
            "The transport livekit is not configured.",
            hint="Set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET in the environment of the edge.",
        )
    content = await request.body()
    verify_webhook(server, request.headers.get("authorization", ""), content, time.time())
    event = _object(content)
    room = event.get("room")
    name = room.get("name") if isinstance(room, dict) else None
    bot = dispatched_bot(str(name), parse_dispatch(services.settings.livekit_dispatch))
    if event.get("event") not in _DISPATCH_EVENTS or _is_agent(event) or bot is None:
        return JSONResponse({"status": "ignored"})
    # The room's own id is the session's: an event that LiveKit repeats meets the same session.
    sid = room.get("sid") if isinstance(room, dict) else None
    if not isinstance(sid, str) or not sid:
        raise InvalidValueError("Invalid webhook: expected the text room.sid.")
    session_id = _session_id_of("livekit", sid)
    adopt(session_id=session_id)
    ended = await _ended_session(services, session_id)
    if ended is not None:
        return JSONResponse({"sessionId": session_id, "status": ended.status})
    request_to_join = JoinRequest(session_id, canonical_room(f"livekit:{name}"), bot)
    accepted = await services.sessions.join(request_to_join)
    return JSONResponse({"sessionId": accepted.session_id, "status": accepted.status})


def parse_dispatch(entries: tuple[str, ...]) -> dict[str, str]:
    """Return the bot of each prefix of the setting ``livekit_dispatch``.

    Args:
        entries: Each ``PREFIX`` or ``PREFIX=BOT``.

    Raises:
        SettingsError: A prefix is empty or given twice, or a bot's name is invalid.
    """
    bots: dict[str, str] = {}
    for entry in entries:
        prefix, _, bot = entry.partition("=")
        bot = bot or DEFAULT_BOT
        if not prefix or prefix in bots or not is_bot_name(bot):
            raise SettingsError(
                f"livekit_dispatch: {entry!r}: expected PREFIX or PREFIX=BOT, and each PREFIX once."
            )
        bots[prefix] = bot
    return bots


def dispatched_bot(room: str, bots: dict[str, str]) -> str | None:
    """Return the bot for a LiveKit room: that of the longest prefix; None if no prefix matches.

    Args:
        room: The room's name at LiveKit.
        bots: The bot of each prefix.
    """
    prefixes = [prefix for prefix in bots if room.startswith(prefix)]
    return bots[max(prefixes, key=len)] if prefixes else None


def _is_agent(event: dict[str, Any]) -> bool:
    """Return whether the event is the arrival of a bot: it must not bring another one."""
    participant = event.get("participant")
    if not isinstance(participant, dict):
        return False
    # LiveKit sends the enumeration by name or, with some serializers, by number (AGENT is 4).
    return participant.get("kind") in {"AGENT", 4}


def _check_pinless_signature(request: Request, body: bytes, secret: str, now_s: float) -> None:
    """Check Daily's signature of a dial-in webhook.

    It is the base64 of the HMAC-SHA256 of ``TIMESTAMP.BODY`` with the decoded secret (Daily's guide "Pinless
    dial-in").

    Raises:
        UnauthorizedError: The signature is missing or wrong, or the timestamp is old.
    """
    timestamp = request.headers.get("x-pinless-timestamp", "")
    signature = request.headers.get("x-pinless-signature", "")
    message = timestamp.encode("utf-8", "surrogateescape") + b"." + body
    expected = base64.b64encode(hmac.new(_decoded(secret), message, hashlib.sha256).digest())
    is_signed = hmac.compare_digest(expected, signature.encode("utf-8", "surrogateescape"))
    if not is_signed or abs(_seconds(timestamp) - now_s) > TIMESTAMP_TOLERANCE_S:
        raise UnauthorizedError(
            "The webhook's signature is missing, wrong or old.",
            hint="Set PINLESS_HMAC_SECRET to the hmac of the number's dial-in configuration at Daily.",
        )


def check_settings(settings: Settings) -> None:
    """Check the settings of these webhooks, so that a mistake ends the start and not the first call.

    Args:
        settings: The settings.

    Raises:
        SettingsError: ``livekit_dispatch`` or ``PINLESS_HMAC_SECRET`` is invalid.
    """
    parse_dispatch(settings.livekit_dispatch)
    account = daily_account()
    if account is not None and account.webhook_secret is not None:
        _decoded(account.webhook_secret)


def _decoded(secret: str) -> bytes:
    try:
        return base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SettingsError(
            "PINLESS_HMAC_SECRET: expected base64.",
            hint="Copy it from the hmac field of the number's dial-in configuration at Daily.",
        ) from error


def _seconds(timestamp: str) -> float:
    """Return a timestamp of seconds or milliseconds since 1970 in seconds; 0 for anything else."""
    if not (timestamp.isascii() and timestamp.isdigit()):
        return 0
    return int(timestamp) / 10.0 ** max(len(timestamp) - _SECONDS_DIGITS, 0)


def _object(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError("Invalid webhook: expected JSON.") from error
    if not isinstance(data, dict):
        raise InvalidValueError("Invalid webhook: expected a JSON object.")
    return data


def _session_id_of(source: str, given: str) -> str:
    """Return the id of the session for a call or a room: always the same, so that a repetition meets the session.

    Args:
        source: Whose id it is.
        given: The id.
    """
    if is_session_id(given):
        return given
    digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{source}-{digest[:_HASH_CHARS]}"


async def _ended_session(services: EdgeServices, session_id: str) -> SessionView | None:
    """Return the session of a webhook if it has ended: the webhook is a repetition then, or somebody replays it."""
    # A call that nobody knows is the usual case. Without its record, the webhook is taken as a new one.
    with contextlib.suppress(CordboardError):
        view = await services.sessions.view(session_id)
        if view.is_over:
            log.warning("A webhook came again after the end of its session")
            return view
    return None
