"""Accepting a join: within the caller's limits, and after the room's last bot has left."""

import asyncio
import contextlib
import math
from typing import Final

from cordboard.context import bound, current
from cordboard.contract.errors import CordboardError, QueueFullError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.gateway import metrics
from cordboard.gateway.hub import told
from cordboard.gateway.schemas import JoinBody
from cordboard.gateway.services import GatewayServices
from cordboard.store import AcceptedJoin, JoinLimits

LEAVE_CONFIRM_S: Final = 10.0
RETRY_MAX_S: Final = 60

log = get_logger("gateway")


async def accept(
    services: GatewayServices, body: JoinBody, session_id: str, address: str | None
) -> AcceptedJoin:
    """Accept a join, and log it.

    Args:
        services: The services of the routes.
        body: The join.
        session_id: The id that it asked for, or that was made for it.
        address: The address of a public entrance's client; None for a trusted caller.
    """
    launch = body.launch(session_id, current().traceparent)
    try:
        with metrics.accepts.time():
            accepted = await _accept_after_leave(services, launch, address)
    except CordboardError as error:
        error.extra.setdefault("sessionId", session_id)
        metrics.joins.labels(error.code).inc()
        log.warning("Join refused", event="join.refused", reason=error.code)
        raise
    if accepted.reused:
        metrics.joins.labels("reused").inc()
        log.info(
            "Join answered with a live session",
            event="join.reused",
            holder=accepted.session_id,
            status=accepted.status,
        )
    else:
        metrics.joins.labels("accepted").inc()
        with bound(epoch=accepted.epoch):
            log.info("Join accepted", event="join.accepted", reused=False, bot=body.bot)
    return accepted


async def _accept_after_leave(
    services: GatewayServices, launch: Launch, address: str | None
) -> AcceptedJoin:
    """Accept; if the room's bot is about to leave, wait for that: the caller wants a new one."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + LEAVE_CONFIRM_S
    services.agreement.check()
    limits = await services.session_limits.of(address)
    accepted = await _accept_or_say_when(services, launch, limits)
    while accepted.stopping and loop.time() < give_up_at:
        with services.hub.waiting(accepted.session_id) as waiter:
            await told(waiter, 0.5)
        accepted = await _accept_or_say_when(services, launch, limits)
    return accepted


async def _accept_or_say_when(
    services: GatewayServices, launch: Launch, limits: JoinLimits
) -> AcceptedJoin:
    """Accept; if the queue is full, say when about half of it will have been handed over.

    The oldest entry's wait is the queue's depth over the rate at which it is handed over.
    """
    try:
        services.agreement.check()
        accepted: AcceptedJoin = await services.store.accept(
            launch, queue_max=services.settings.queue_max, limits=limits
        )
    except QueueFullError as error:
        with contextlib.suppress(StoreUnavailableError):
            half_s = await services.store.oldest_wait_s() / 2
            error.retry_after_s = min(max(math.ceil(half_s), 1), RETRY_MAX_S)
        raise
    return accepted
