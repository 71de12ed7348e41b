"""The routes of carriers, and of applications that place calls."""

import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, ConfigDict, Field

from cordboard.context import adopt
from cordboard.contract.errors import (
    BodyTooLargeError,
    InvalidValueError,
    NotFoundError,
    UnauthorizedError,
)
from cordboard.contract.ids import BOT_NAME, check_session_id, is_bot_name
from cordboard.edge.access import RequestAccess
from cordboard.edge.phone.desk import STEPS
from cordboard.edge.phone.documents import Document
from cordboard.edge.phone.outbound import CallRequest, CallResult, MachinePolicy
from cordboard.edge.phone.webhook import FIELDS_MAX, FORM_MAX_BYTES, Webhook, read_pairs
from cordboard.edge.services import EdgeServices, Services
from cordboard.web.form_charset import check_form_charset
from cordboard.web.openapi import DescribedRoute
from cordboard.web.strict_body import StrictBody

_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"  # Exotel's status callbacks

# Without patterns: a path that names no carrier is answered with 404, whatever else it contains.
Provider = Annotated[str, Path(description="The carrier.")]
BotName = Annotated[str, Path(description="The bot that answers.")]
SessionId = Annotated[str, Path(max_length=128, description="The session.")]
Mac = Annotated[str, Path(max_length=64, description="The proof that an edge made this URL.")]

router = APIRouter(route_class=DescribedRoute, tags=["phone"])


class OutboundBody(StrictBody):
    """A call to place."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"to": "+15557654321", "from": "+15551234567", "bot": "support"}]
        },
    )

    to: str = Field(max_length=32, description="The number to call, such as +15557654321.")
    from_: str = Field(alias="from", max_length=32, description="Your number.")
    bot: str | None = Field(None, pattern=f"^{BOT_NAME}$", description="The bot.")
    body: dict[str, Any] = Field(default_factory=dict, description="Passed to the bot.")
    session_id: Annotated[str | None, BeforeValidator(lambda value: value or None)] = Field(
        None,
        alias="sessionId",
        description="The session; a repeated request places no second call.",
    )
    machine: Literal["ignore", "report", "hangup"] = Field(
        "ignore", description="What happens if an answering machine answers."
    )


@router.post("/phone/{provider}/calls", status_code=201, summary="Place a call")
async def place_call(
    provider: Provider,
    body: Annotated[OutboundBody, Body()],
    access: RequestAccess,
    services: Services,
) -> JSONResponse:
    """Accept a session and place its call; needs the control secret.

    Args:
        provider: The carrier.
        body: The call.
        access: What the caller may do.
        services: The edge's services.
    """
    # Each call costs money, so a public key does not suffice.
    if not access.may_join:
        raise UnauthorizedError(
            "Calls are placed by servers, with the control secret.",
            hint="Send Authorization: Bearer SECRET.",
        )
    carrier = services.phone.desk.known_carrier(provider)
    if body.session_id is not None:
        adopt(session_id=check_session_id(body.session_id))
    machine: MachinePolicy = body.machine
    result = await services.phone.outbound.place(
        carrier,
        CallRequest(
            called=body.to,
            caller=body.from_,
            bot=body.bot,
            body=body.body,
            session_id=body.session_id,
            machine=machine,
        ),
    )
    return _result(result)


@router.post("/phone/{provider}/status", status_code=204, summary="Note the state of a call")
async def note_status(request: Request, provider: Provider, services: Services) -> Response:
    """Log the state of a call, and end the session of a call that is over.

    Args:
        request: The request.
        provider: The carrier.
        services: The edge's services.
    """
    carrier = services.phone.desk.open_carrier(provider)
    webhook = await read_webhook(request, services)
    await services.phone.calls.note_status(carrier, webhook, None)
    return Response(status_code=204)


@router.post("/phone/{provider}/{step}/{session_id}/{mac}", summary="Continue a call")
async def continue_call(
    request: Request,
    provider: Provider,
    step: Annotated[str, Path(max_length=16, description="again, answer, status or machine.")],
    session_id: SessionId,
    mac: Mac,
    services: Services,
) -> Response:
    """Return what comes next in a call, or note what a carrier reports about it.

    Args:
        request: The request.
        provider: The carrier.
        step: What the carrier requests or reports.
        session_id: The session.
        mac: The proof that an edge made this URL.
        services: The edge's services.
    """
    carrier = services.phone.desk.open_carrier(provider)
    if step not in STEPS or not services.phone.desk.paths.is_ours(provider, step, session_id, mac):
        raise NotFoundError("There is no such call.")
    webhook = await read_webhook(request, services)
    calls = services.phone.calls
    if step in {"again", "answer"}:
        is_answer = step == "answer"
        return _document(
            await calls.continue_call(carrier, webhook, session_id, is_answer=is_answer)
        )
    ends_on_machine = step == "machine"
    await calls.note_status(carrier, webhook, session_id, ends_on_machine=ends_on_machine)
    return Response(status_code=204)


@router.post("/phone/{provider}", summary="Answer a call")
@router.get("/phone/{provider}", summary="Answer a call")
async def answer_call(request: Request, provider: Provider, services: Services) -> Response:
    """Accept an inbound call; return the carrier's document.

    Args:
        request: The request.
        provider: The carrier.
        services: The edge's services.
    """
    return await _answer(request, provider, None, services)


@router.post("/phone/{provider}/{bot}", summary="Answer a call by a bot")
@router.get("/phone/{provider}/{bot}", summary="Answer a call by a bot")
async def answer_call_by_bot(
    request: Request, provider: Provider, bot: BotName, services: Services
) -> Response:
    """Accept an inbound call for a bot; return the carrier's document.

    Args:
        request: The request.
        provider: The carrier.
        bot: The bot.
        services: The edge's services.
    """
    return await _answer(request, provider, bot, services)


async def read_webhook(request: Request, services: EdgeServices) -> Webhook:
    """Return a carrier's request, with its form.

    Args:
        request: The request.
        services: The edge's services.

    Raises:
        BodyTooLargeError: The body is over ``FORM_MAX_BYTES``.
        InvalidValueError: The body is no form, or has too many fields.
    """
    body = await request.body()
    if len(body) > FORM_MAX_BYTES:
        raise BodyTooLargeError(f"The form is over {FORM_MAX_BYTES} bytes.")
    query = request.scope["query_string"].decode("latin-1")
    # As sent: the carrier signs the path with its percent-encoding.
    path = request.scope["raw_path"].decode("latin-1")
    base = (services.settings.public_url or "").rstrip("/")
    client = request.client
    return Webhook(
        method=request.method,
        url=f"{base}{path}{'?' if query else ''}{query}",
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        form=await _read_form(request, body),
        query=read_pairs(query),
        client=client.host if client else "",
        now=time.time(),
    )


async def _read_form(request: Request, body: bytes) -> list[tuple[str, str]]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body:
        return []
    if media_type == _FORM:
        return read_pairs(body.decode("utf-8", "replace"))
    if media_type == _MULTIPART:
        check_form_charset(request.headers["content-type"])
        form = await request.form(max_files=0, max_fields=FIELDS_MAX)
        return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    raise InvalidValueError(
        f"Expected a form ({_FORM}), got {media_type[:64] or 'no media type'!r}.",
        hint="Set the webhook to POST in the carrier's console.",
    )


async def _answer(
    request: Request, provider: str, bot: str | None, services: EdgeServices
) -> Response:
    carrier = services.phone.desk.open_carrier(provider, request.method)
    if bot is not None and not is_bot_name(bot):
        raise InvalidValueError("Invalid bot name.", hint="Use 1 to 64 of A-Z a-z 0-9 . _ -")
    webhook = await read_webhook(request, services)
    return _document(await services.phone.calls.receive(carrier, webhook, bot))


def _document(document: Document) -> Response:
    return Response(document.content, document.status, media_type=document.media_type)


def _result(result: CallResult) -> JSONResponse:
    content = {
        "sessionId": result.session_id,
        "callId": result.call_id,
        "status": result.status,
    }
    return JSONResponse(content, 201 if result.is_new else 200)
