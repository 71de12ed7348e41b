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
from cordboard.gateway.cells import check_cell
from cordboard.gateway.hub import wait_for_change
from cordboard.gateway.schemas import JoinBody
from cordboard.gateway.services import GatewayServices
from cordboard.store import AcceptedJoin, JoinLimits

# A join is worth nothing after its deadline, 60 s by default.
RETRY_MAX_S: Final = 60
# How often a join that waits for a leave looks again, if no state change arrives.
_LEAVE_POLL_S: Final = 0.5

log = get_logger("gateway")


async def accept(
    services: GatewayServices,
    body: JoinBody,
    session_id: str,
    address: str | None,
    cell: str | None = None,
) -> AcceptedJoin:
    """Accept a join, and log the result.

    Args:
        services: The gateway's services.
        body: The join.
        session_id: The id that the caller or the gateway chose.
        address: The address of a public entrance's client; None for a trusted caller.
        cell: The cell in which the caller has placed the room; None if its name decides.

    Raises:
        CordboardError: The join is refused.
    """
    launch = body.launch(session_id, current().traceparent)
    try:
        check_cell(services.settings, launch.room_url, cell)
        with metrics.accepts.time():
            accepted = await _accept_after_leave(services, launch, address)
    except CordboardError as error:
        # The caller may have left the id to the gateway, and needs it to find the lines of its join.
        error.extra.setdefault("sessionId", session_id)
        metrics.joins.labels(error.code).inc()
        log.warning("Join refused", event="join.refused", reason=error.code)
        raise
    except Exception:
        metrics.joins.labels(CordboardError.code).inc()  # the server logs it
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
    """Accept a join; if the room's bot is leaving, wait for that, as the caller wants a new bot."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + services.leave_timeout_s
    # Checked before the slots are counted, as well as before each attempt: with another number of shards
    # they would be counted in the wrong places.
    services.shared_settings.check()
    limits = await services.session_limits.of(address)
    accepted = await _accept_or_set_retry(services, launch, limits)
    while accepted.stopping and loop.time() < deadline:
        with services.hub.subscribed(accepted.session_id) as waiter:
            await wait_for_change(waiter, _LEAVE_POLL_S)
        accepted = await _accept_or_set_retry(services, launch, limits)
    return accepted


async def _accept_or_set_retry(
    services: GatewayServices, launch: Launch, limits: JoinLimits
) -> AcceptedJoin:
    """Accept a join; if the queue is full, tell the caller when about half of it will be gone.

    The wait of the oldest launch is the queue's length divided by the rate at which it is worked off.
    """
    try:
        services.shared_settings.check()
        return await services.store.accept(
            launch, queue_max=services.settings.queue_max, limits=limits
        )
    except QueueFullError as error:
        with contextlib.suppress(StoreUnavailableError):
            half_s = await services.store.oldest_wait_s() / 2
            error.retry_after_s = min(max(math.ceil(half_s), 1), RETRY_MAX_S)
        raise
