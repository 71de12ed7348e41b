"""The page of one session: its state, and for operators its log, live or ended."""

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from cordboard.contract.state import LIVE
from cordboard.interface import rendering
from cordboard.interface.access import OperatorOnly, SeenRecord, Visitor
from cordboard.interface.gateway_reads import complete
from cordboard.interface.leaving import end_session
from cordboard.interface.log_readings import LINES_MAX, ReportForm, WrittenReport
from cordboard.interface.services import Services

_MEDIA_TYPES: Final[Mapping[ReportForm, str]] = {
    "report.html": "text/html; charset=utf-8",
    "report.txt": "text/plain; charset=utf-8",
    "bundle.zip": "application/zip",
}

router = APIRouter()


def facts(request: Request, record: Mapping[str, Any]) -> str:
    """Return the part of the page that changes with the state of the session, as HTML.

    Args:
        request: The request.
        record: The session's record, as far as the person may see it.
    """
    return rendering.render(
        request, "session_facts.html", record=complete(record), is_live=_is_live(record)
    )


@router.get("/sessions/{session_id}")
async def session_page(
    request: Request, session_id: str, services: Services, person: Visitor, record: SeenRecord
) -> Response:
    """Show a session: its stages; for operators also its lines.

    Args:
        request: The request.
        session_id: The session.
        services: The interface's services.
        person: The person.
        record: The session's record.
    """
    environment = services.log_readings.environment
    return rendering.render_page(
        request,
        "session.html",
        record=record,
        is_live=_is_live(record),
        facts=facts(request, record),
        has_lines=person.is_operator and bool(environment.name),
        command=environment.command(session_id),
        lines_max=LINES_MAX,
    )


@router.post("/sessions/{session_id}/leave")
async def leave_page(
    request: Request, session_id: str, services: Services, person: Visitor, record: SeenRecord
) -> Response:
    """End a session, and show its page.

    Args:
        request: The request.
        session_id: The session.
        services: The interface's services.
        person: The person: its user, or an operator.
        record: The session's record.
    """
    await end_session(services, session_id, person, record)
    return rendering.redirect(request, rendering.session_path(session_id))


@router.get("/sessions/{session_id}/report.html")
@router.get("/sessions/{session_id}/report.txt")
@router.get("/sessions/{session_id}/bundle.zip")
async def report_page(
    request: Request,
    session_id: str,
    services: Services,
    _visitor: Visitor,
    _record: SeenRecord,
    _operator: OperatorOnly,
) -> Response:
    """Return the report of a session, or a bundle of its lines, to be saved.

    Args:
        request: The request.
        session_id: The session.
        services: The interface's services.
    """
    form = cast("ReportForm", request.scope["path"].rpartition("/")[2])  # one of the three above
    written = await services.log_readings.report(session_id, form)
    # To be saved, not shown: its own script and style do not meet the policy of this site.
    return _ReportResponse(written, form, f"{quote(session_id, safe='')}-{form}")


class _ReportResponse(FileResponse):
    """Sends a report, and removes it whatever becomes of the request.

    Args:
        written: The report.
        form: Its form.
        name: The name under which a browser saves it.
    """

    def __init__(self, written: WrittenReport, form: ReportForm, name: str) -> None:
        super().__init__(written.path, media_type=_MEDIA_TYPES[form], filename=name)
        self._written = written

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole file: each request writes it anew, so a range would be one of another file."""
        headers = [pair for pair in scope["headers"] if pair[0] != b"range"]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        finally:
            self._written.remove()


def _is_live(record: Mapping[str, Any]) -> bool:
    return record.get("status") in LIVE
