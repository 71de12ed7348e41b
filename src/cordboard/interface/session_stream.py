"""The event stream of a session's page: its state, and for operators its lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request

from cordboard.contract.errors import CordboardError, GatewayError, StoreUnavailableError
from cordboard.contract.state import LIVE, TERMINAL
from cordboard.emit import get_logger
from cordboard.interface import plain_words, session_page
from cordboard.interface.access import SeenRecord, SignedIn, seen_members
from cordboard.interface.page_events import page_event, session_stream
from cordboard.interface.people import Person
from cordboard.interface.services import InterfaceServices, Services
from cordboard.interface.session_owners import creation_time
from cordboard.logs.timespec import timestamp
from cordboard.web.event_stream import EventStream

PING_S: Final = 15.0
RECONNECT_MS: Final = 3000
LATE_LINES_S: Final = 2.0
"""How long after the end of a session its last lines may take until they are in the log."""
_BEFORE: Final = timedelta(
    minutes=1
)  # a page's clock may be off, and its lines come before the join
_AGAIN_S: Final = 2.0
_CHUNKS_MAX: Final = 64

log = get_logger("interface")
router = APIRouter(prefix="/api")


@router.get("/sessions/{session_id}/live")
async def live(
    _id: Annotated[str, Path(alias="session_id")],
    request: Request,
    services: Services,
    person: SignedIn,
    record: SeenRecord,
) -> EventStream:
    """Follow a session for its page, as server-sent events; operators also get its log lines.

    Args:
        request: The request.
        services: The interface's services.
        person: The person.
        record: The session's record.
    """
    feed = SessionFeed(request, services, person, record)
    return session_stream(feed.events, request, services, person, record)


class SessionFeed:
    """What happens in a session, for one page.

    Args:
        request: The request of the page.
        services: The interface's services.
        person: The person: operators get the lines, too.
        record: The session's record, as far as the person may see it.
    """

    def __init__(
        self,
        request: Request,
        services: InterfaceServices,
        person: Person,
        record: dict[str, Any],
    ) -> None:
        self._request = request
        self._services = services
        self._record = record
        self._session_id: str = record["sessionId"]
        self._person = person
        self._with_lines = person.is_operator and bool(services.log_readings.environment.name)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS_MAX)

    async def events(self, over: asyncio.Event) -> AsyncIterator[bytes]:
        """Yield the events until all is told, or until `over` is set."""
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        telling = asyncio.create_task(self._tell(), name="session page")
        stopping = asyncio.create_task(self._stop(telling, over), name="stop of a session page")
        try:
            while True:
                try:
                    async with asyncio.timeout(PING_S):
                        chunk = await self._queue.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if chunk is None:
                    return
                yield chunk
        finally:
            # Not awaited: the server interrupts each await of a stream whose page has been closed.
            stopping.cancel()
            telling.cancel()

    async def _stop(self, telling: "asyncio.Task[None]", over: asyncio.Event) -> None:
        """End the stream when `over` is set, or when all is told."""
        stop = asyncio.create_task(over.wait())
        try:
            await asyncio.wait({telling, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if telling.done() and (error := telling.exception()) is not None:
            log.warning("The page of a session is told no more", error=error)
        await self._queue.put(None)

    async def _tell(self) -> None:
        await self._put_facts()
        if self._record["status"] in LIVE:
            follow_from = self._follow_from()
            lines = asyncio.create_task(self._relay_lines(follow_from), name="lines of a session")
            try:
                await self._follow_state()
                await asyncio.sleep(LATE_LINES_S)
            finally:
                lines.cancel()
                await asyncio.gather(lines, return_exceptions=True)
            await self._queue.put(page_event("restart"))
        await self._relay_lines(None)
        await self._queue.put(page_event("end"))

    async def _put_facts(self) -> None:
        await self._queue.put(
            page_event(
                "facts",
                html=session_page.facts(self._request, self._record),
                state=self._record["status"],
                words=plain_words.state_words(self._record),
            )
        )

    # --- the state, from the gateway

    async def _follow_state(self) -> None:
        """Tell each state of the session, until the final one."""
        while self._record["status"] in LIVE:
            # Without the gateway, or without Redis, the page keeps what it shows, and goes on later.
            with suppress(GatewayError, StoreUnavailableError):
                async for state in self._states():
                    await self._read_record()
                    if state in TERMINAL:
                        return
                await asyncio.sleep(_AGAIN_S)
                await self._read_record()
                continue
            await asyncio.sleep(_AGAIN_S)

    async def _read_record(self) -> None:
        record = await self._services.gateway.record(self._session_id)
        self._record = seen_members(self._person, record)
        await self._put_facts()

    async def _states(self) -> AsyncIterator[str]:
        rest = b""
        gateway = self._services.gateway
        async for chunk in gateway.relayed_events(self._session_id, self._services.stopping):
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                data = block.partition(b"data: ")[2]
                if data:
                    yield str(msgspec.json.decode(data)["status"])

    # --- the lines, from the logs

    def _follow_from(self) -> str:
        """Return the time before the first line of the session: its page was opened before its join."""
        accepted = plain_words.parse_time(self._record["createdAt"])
        made = creation_time(self._session_id)
        began = accepted if made is None else min(accepted, datetime.fromtimestamp(made, UTC))
        return timestamp(began - _BEFORE)

    async def _relay_lines(self, follow_from: str | None) -> None:
        if not self._with_lines:
            return
        try:
            async with self._services.log_readings.lines(
                self._session_id, follow_from=follow_from
            ) as events:
                while chunk := await events.read(65_536):
                    await self._queue.put(chunk)
        except CordboardError as error:
            await self._queue.put(page_event("problem", text=f"{error.message} {error.hint}"))
        except OSError as error:
            log.error("The reader of logs could not be started", error=error)
            await self._queue.put(page_event("problem", text="The logs cannot be read now."))
