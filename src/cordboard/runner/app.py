"""The runner's HTTP interface (contract, section 6), and the draining of its sessions."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, model_validator

from cordboard import __version__
from cordboard.context import adopt, bound_context, current
from cordboard.contract.errors import (
    ConflictError,
    CordboardError,
    InvalidValueError,
    NotReadyError,
)
from cordboard.contract.ids import canonical_room, check_session_id, uuid7, with_room_token
from cordboard.contract.launch import (
    MAX_DURATION_DEFAULT_S,
    MAX_DURATION_MAX_S,
    START_FIELDS,
    Launch,
    request_key,
)
from cordboard.emit import get_logger
from cordboard.runner import metrics, overload
from cordboard.runner.bot_session import BotSession
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.registry import Registry
from cordboard.settings import Settings
from cordboard.store import UNLIMITED, JoinLimits, Registration, SessionStore
from cordboard.web import auth, health, problems, protection, settings_check
from cordboard.web.strict_body import StrictBody

LOAD_RETRY_S: Final = 5.0
FINISH_LEAST_S: Final = 2.0  # for the last writes, if the grace period is over

EPOCH_MAX: Final = 2**53  # Lua and JavaScript cannot represent larger integers exactly

log = get_logger("runner")


class StartBody(StrictBody):
    """The body of ``POST /start``."""

    # A field that Launch does not declare fails here.
    model_config = ConfigDict(extra="ignore", alias_generator=request_key)

    room_url: str
    session_id: str | None = None
    epoch: int | None = Field(None, ge=1, le=EPOCH_MAX)
    token: str | None = None
    body: dict[str, Any] = Field(default_factory=dict)
    user_id: str | None = None
    user_name: str | None = None
    user_email: str | None = None
    tenant_id: str | None = None
    bot: str = "default"
    attempt: int = Field(1, ge=1, le=EPOCH_MAX)
    max_duration_s: int = Field(MAX_DURATION_DEFAULT_S, ge=1, le=MAX_DURATION_MAX_S)

    @model_validator(mode="before")
    @classmethod
    def _token_of_room(cls, data: Any) -> Any:
        """Move the token from the room's URL to where readers expect it."""
        return with_room_token(data)

    def launch(self) -> Launch:
        """Return the launch; an empty text counts as absent.

        Raises:
            InvalidValueError: The session id or the room is malformed.
        """
        session_id = self.session_id or uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        values = {name: value for name in START_FIELDS if (value := getattr(self, name))}
        return Launch(
            **{
                **values,
                "session_id": check_session_id(session_id),
                "room_url": canonical_room(self.room_url),
                "epoch": self.epoch or 1,
                "traceparent": current().traceparent,
            }
        )


class CandidateBody(StrictBody):
    """One candidate, in Pipecat's spelling or in that of a browser's ``toJSON()``."""

    candidate: str
    sdp_mid: str | None = None
    sdpMid: str | None = None  # noqa: N815
    sdp_mline_index: int | None = None
    sdpMLineIndex: int | None = None  # noqa: N815


class OfferBody(StrictBody):
    """What ``POST`` and ``PATCH /sessions/{id}/offer`` take; the bot's process looks at the rest."""

    model_config = ConfigDict(extra="allow")

    sdp: str | None = None
    type: str | None = None
    pc_id: str | None = None
    restart_pc: bool | None = None
    candidates: list[CandidateBody] | None = None


@dataclass(slots=True)
class Runner:
    """A runner's parts, and what they do together.

    Attributes:
        limits: The limits of a session that is started here without a gateway.
    """

    store: SessionStore
    registry: Registry
    heartbeat: Heartbeat
    grace_s: float
    limits: JoinLimits = UNLIMITED

    async def start(self, body: StartBody) -> BotSession:
        """Start the session that was asked for."""
        launch = body.launch()
        _adopt(launch)
        known = body.session_id is not None and body.epoch is not None
        if launch.bot not in self.registry.host.fork_server.bots:
            raise InvalidValueError(f"This runner has no bot {launch.bot!r}.")
        if not known:
            self.registry.check_room()
            launch = await self._claim(launch)
            _adopt(launch)
        session = BotSession(launch, self.registry.host)
        with bound_context(session.context):
            if body.session_id is None:
                log.warning("The start had no sessionId; made one")
            log.info("Start received", event="start.received", bot=launch.bot)
            try:
                return await self.registry.start(launch)
            except CordboardError as error:
                if not known:  # nobody else would ever end it
                    await self.store.finish(
                        launch.session_id,
                        launch.epoch,
                        "launch_failed",
                        error.message,
                        room=launch.room_url,
                    )
                raise

    async def _claim(self, launch: Launch) -> Launch:
        """Take the room for a start that no gateway has accepted, as someone asked us directly."""
        host = self.registry.host
        info = Registration(host.runner_id, host.url, self.registry.capacity)
        accepted = await self.store.accept(
            launch, queue_max=1_000_000, runner=info, limits=self.limits
        )
        if accepted.reused:
            raise ConflictError(
                "The room has a bot already.",
                extra={"sessionId": accepted.session_id, "status": accepted.status},
            )
        return replace(launch, epoch=accepted.epoch)

    async def keep_loaded(self) -> None:
        """Whenever the fork server ends, start another one, and take no sessions until it has loaded.

        Its sessions are lost: an operator hands them to other runners.
        """
        fork_server = self.registry.host.fork_server
        while True:
            await fork_server.ended()
            self.registry.loading = True
            log.error("The fork server has ended, and all bots with it; starting another one")
            await self.tell()
            await self._load_again()
            self.registry.loading = False
            log.info("The bots are loaded again")
            await self.tell()

    async def _load_again(self) -> None:
        while True:
            try:
                return await self.registry.host.fork_server.begin_again()
            except Exception as error:  # noqa: BLE001 - a full disk, no memory: it may pass
                log.error("The bots cannot be loaded again; trying later", error=error)
                await asyncio.sleep(LOAD_RETRY_S)

    async def tell(self) -> None:
        """Register at once what this runner accepts; if Redis is unreachable, a later heartbeat does it."""
        with contextlib.suppress(Exception):
            await self.heartbeat.beat()

    async def drain(self) -> None:
        """Take no more; let what runs end, within the grace; then stop it."""
        self.registry.draining = True
        live = self.registry.live
        log.info("Draining", sessions=len(live), grace_s=self.grace_s)
        await self.tell()
        deadline = time.monotonic() + self.grace_s
        waits = [session.gone.wait() for session in live]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waits), max(deadline - time.monotonic(), 0))
        await asyncio.gather(*(_stop(session) for session in self.registry.live))
        late = [session for session in self.registry.all if not session.finished.is_set()]
        with contextlib.suppress(TimeoutError):
            # An end that is not written when the runner exits looks like its death: the session runs again.
            async with asyncio.timeout(max(deadline - time.monotonic(), FINISH_LEAST_S)):
                await asyncio.gather(*(session.finished.wait() for session in late))


async def _stop(session: BotSession) -> None:
    with bound_context(session.context):
        session.detail = "the runner was stopped"
        await session.stop("runner_lost")


def create_app(settings: Settings, runner: Runner, *, local: bool = True) -> FastAPI:
    """Return the runner's application; the heartbeat beats as long as it lives."""
    _measure(runner.registry)
    agreed = settings_check.shared_settings_of(runner.store, "runner")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.runner = runner
        async with runner.store, agreed:
            tasks = [asyncio.create_task(runner.heartbeat.run(), name="heartbeat")]
            if runner.registry.host.type == "warm":  # a cold one ends with its session
                tasks.append(asyncio.create_task(runner.keep_loaded(), name="fork server"))
            watching = overload.watch(runner.registry, settings.overload_lag_ms, runner.tell)
            tasks.append(asyncio.create_task(watching, name="load"))
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):  # Redis may be gone before us
                await runner.store.unregister(runner.registry.host.runner_id)

    async def ready() -> None:
        runner.registry.check_open()
        if not runner.heartbeat.registered.is_set():
            raise NotReadyError("This runner has not reached Redis yet.")
        agreed.check()

    app = FastAPI(
        title="Cordboard runner",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would repeat whatever Host was sent
        docs_url=None,  # FastAPI's pages load their scripts from another site
        redoc_url=None,
    )
    _add_routes(app)
    health.add_health_routes(app, ready)
    problems.add_problem_handlers(app)
    url = runner.registry.host.url
    protection.add_protection(
        app,
        settings,
        local=local,
        secrets=lambda: auth.runner_secrets(settings.control_secrets, url),
        hosts=[urlsplit(url).hostname or "localhost"],
        body_max_bytes=1024 * 1024,
    )
    return app


def _measure(registry: Registry) -> None:
    metrics.sessions_live.set_function(lambda: len(registry.live))
    metrics.free_slots.set_function(lambda: registry.free)
    metrics.bot_lag.set_function(
        lambda: max((session.loop_lag_ms for session in registry.live), default=0.0) / 1000
    )


def _runner(request: Request) -> Runner:
    found: Runner = request.app.state.runner
    return found


Deps = Annotated[Any, Depends(_runner)]


def _add_routes(app: FastAPI) -> None:
    @app.post("/start", summary="Start a session's bot")
    async def start(body: StartBody, runner: Deps) -> dict[str, Any]:
        """Fork the bot's process; answers when the session runs."""
        session = await runner.start(body)
        return _answer(session)

    @app.get("/sessions", summary="Sessions of this runner")
    async def sessions(runner: Deps) -> dict[str, Any]:
        """Return what this runner holds, and what ended here a while ago."""
        registry = runner.registry
        return {
            "capacity": registry.capacity,
            "free": registry.free,
            "draining": registry.draining,
            "overloaded": registry.overloaded,
            "sessions": [_answer(session) for session in registry.all],
        }

    @app.get("/sessions/{session_id}", summary="One session")
    async def session(session_id: str, runner: Deps) -> dict[str, Any]:
        """Return one session; its status is that of the process here."""
        return _answer(runner.registry.get(session_id))

    @app.post("/sessions/{session_id}/leave", summary="Stop a bot")
    async def leave(session_id: str, runner: Deps) -> dict[str, Any]:
        """Stop the bot: cancel, SIGTERM, SIGKILL; answers when it is gone."""
        found = runner.registry.get(session_id)
        _adopt(found.launch)
        with bound_context(found.context):
            await found.stop("left")
            await found.finished.wait()
        return _answer(found)

    @app.post("/sessions/{session_id}/offer", summary="A WebRTC offer", operation_id="offer")
    @app.patch("/sessions/{session_id}/offer", summary="Candidates", operation_id="candidates")
    async def offer(
        session_id: str, body: OfferBody, request: Request, runner: Deps
    ) -> JSONResponse:
        """Hand an offer or candidates to the bot's process; return its answer."""
        found = runner.registry.get(session_id)
        _adopt(found.launch)
        with bound_context(found.context):
            status, answer = await found.ask(request.method, body.model_dump(exclude_unset=True))
        media = "application/json" if status < 400 else problems.MEDIA_TYPE  # noqa: PLR2004
        return JSONResponse(answer, status, media_type=media)


def _adopt(launch: Launch) -> None:
    """Attribute the request's lines, including its access line, to the session that it is about.

    Reading a session is not part of it, and adopts nothing.
    """
    adopt(
        session_id=launch.session_id,
        user_id=launch.user_id,
        user_name=launch.user_name,
        room=launch.room_url,
        epoch=launch.epoch,
    )


def _answer(session: BotSession) -> dict[str, Any]:
    values = {
        "sessionId": session.launch.session_id,
        "epoch": session.launch.epoch,
        "room_url": session.launch.room_url,
        "botPid": session.pid or None,
        "runner": session.host.runner_id,
        "status": session.status,
        "reason": session.reason,
        "detail": session.detail,
    }
    return {name: value for name, value in values.items() if value is not None}
