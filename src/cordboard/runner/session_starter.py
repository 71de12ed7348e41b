"""Start the session of a request."""

from dataclasses import dataclass, replace
from typing import Final

from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.errors import ConflictError, CordboardError, InvalidValueError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.runner.bot_session import BotSession
from cordboard.runner.registry import Registry
from cordboard.runner.request_bodies import StartBody
from cordboard.runner.request_context import adopt_launch
from cordboard.store import UNLIMITED, JoinLimits, Registration, SessionStore

# A direct start never waits in the launch queue, so the queue's length must not refuse it.
QUEUE_MAX: Final = 1_000_000

log = get_logger("runner")


@dataclass(frozen=True, slots=True)
class SessionStarter:
    """Starts sessions, accepted by a gateway or requested directly from this runner.

    Attributes:
        store: The session store.
        registry: The sessions of this runner.
        limits: The limits for sessions that no gateway has accepted.
    """

    store: SessionStore
    registry: Registry
    limits: JoinLimits = UNLIMITED

    async def start(self, body: StartBody) -> BotSession:
        """Start the session of `body`, and return it once its bot runs.

        Raises:
            InvalidValueError: This runner does not have the bot.
            ConflictError: The room has a bot already.
            BusyError: No slot is free.
        """
        launch = body.launch()
        adopt_launch(launch)
        # A gateway or operator names the grant; the store knows the session then.
        is_granted = body.session_id is not None and body.epoch is not None
        bots = self.registry.host.fork_server.bots
        if launch.bot not in bots:
            raise InvalidValueError(
                f"This runner has no bot {launch.bot!r}; its bots are: {', '.join(bots)}."
            )
        if not is_granted:
            self.registry.check_free_slot()
            launch = await self._claim_room(launch)
            adopt_launch(launch)
        with bound_context(context_of(launch)):
            if body.session_id is None:
                log.warning("The start had no sessionId; generated one")
            log.info("Start received", event="start.received", bot=launch.bot)
            try:
                return await self.registry.start(launch)
            except CordboardError as error:
                if not is_granted:  # no operator knows of the session and would end it
                    await self.store.finish(
                        launch.session_id,
                        launch.epoch,
                        "launch_failed",
                        error.message,
                        room=launch.room_url,
                    )
                raise

    async def _claim_room(self, launch: Launch) -> Launch:
        """Return `launch` with the epoch of a grant to this runner."""
        host = self.registry.host
        info = Registration(host.runner_id, host.url, self.registry.capacity)
        accepted = await self.store.accept(
            launch, queue_max=QUEUE_MAX, runner=info, limits=self.limits
        )
        if accepted.reused:
            raise ConflictError(
                "The room has a bot already.",
                extra={"sessionId": accepted.session_id, "status": accepted.status},
            )
        return replace(launch, epoch=accepted.epoch)
