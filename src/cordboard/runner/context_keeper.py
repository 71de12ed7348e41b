"""In the bot process: take the messages of the bot's LLM contexts at the end of each turn, and put them back.

``pipeline_observers.py`` passes each pipeline to ``KEEPER`` before it starts. A snapshot takes 0.02 ms after 30 turns and
1.5 ms at the limit, once a turn, in the bot's event loop; the runner encrypts (0.04 and 1.4 ms) and writes it.
"""

import asyncio
import copy
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from cordboard.emit import get_logger
from cordboard.runner.kept_messages import (
    CONTEXT_MAX_BYTES,
    Message,
    context_form,
    encode,
    fit,
    kept_form,
    resumed,
    settled,
)

_AGGREGATORS: Final = "pipecat.processors.aggregators.llm_response_universal"
_PUSH: Final = "on_before_push_frame"

log = get_logger("context")

KEEPER: "ContextKeeper | None" = None
"""The keeper of this process; None if the bot's entry does not have ``keep_context``."""

Contexts = dict[str, list[list[Message]]]
"""The kept messages of each context of each pipeline worker, by the worker's name."""


class _Snapshot(msgspec.Struct):
    """What is kept: docs/contract/redis.md."""

    workers: Contexts
    v: Literal[1] = 1


class ContextKeeper:
    """Keeps the contexts of one bot.

    Args:
        kept: What an earlier process of the session has kept; None if there is none.
        send: Sends a snapshot, a JSON object, to the runner.
    """

    def __init__(self, kept: Any, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._kept = _restored(kept)
        self._send = send
        self._body: dict[str, Any] = {}
        self._contexts: dict[str, list[Any]] = {}
        self._last = b""
        self._has_warned = False

    def add_to(self, body: dict[str, Any]) -> None:
        """Add ``context`` to the body of the bot's arguments: the messages of its first context.

        A bot that removes the key resumes the conversation itself.
        """
        first = next((contexts[0] for contexts in self._kept.values() if contexts), [])
        body["context"] = _Said(copy.deepcopy(first))
        self._body = body

    def attach(self, worker: Any) -> None:
        """Put the kept messages into the contexts of a pipeline that starts, and watch its turns."""
        # A bot without a language model has not imported them.
        module = sys.modules.get(_AGGREGATORS)
        if module is None:
            return
        aggregators = list(_processors(worker.pipeline, module.LLMContextAggregator))
        known = [context for contexts in self._contexts.values() for context in contexts]
        own: list[Any] = []
        for aggregator in aggregators:
            if not any(aggregator.context is context for context in (*known, *own)):
                own.append(aggregator.context)
            if isinstance(aggregator, module.LLMAssistantAggregator):
                aggregator.add_event_handler("on_assistant_turn_stopped", self._on_turn_stopped)
        if own:
            self._contexts[worker.name] = own
            self._resume(worker.name, own, aggregators)

    async def take(self) -> None:
        """Send a snapshot to the runner, unless nothing has changed since the last one."""
        data = self._snapshot()
        if data is not None and data != self._last:
            self._last = data
            await self._send(data)

    async def _on_turn_stopped(self, aggregator: Any, _message: Any) -> None:
        """Take a snapshot, unless the turn goes on after a tool call that still runs."""
        if not aggregator.has_synchronous_function_calls_in_progress:
            await self.take()

    def _resume(self, name: str, contexts: list[Any], aggregators: list[Any]) -> None:
        kept = self._kept.get(name, [])
        if not any(kept) or "context" not in self._body:
            return
        if len(kept) != len(contexts):
            log.warning(
                "The bot has other contexts than before; it continues without what was said",
                pipeline=name,
                kept=len(kept),
                present=len(contexts),
            )
            return
        for restored, context in zip(kept, contexts, strict=True):
            if context.messages[: len(restored)] == restored:
                continue  # there are none, or the bot has read them from its body
            context.set_messages(list(restored))
            own = [aggregator for aggregator in aggregators if aggregator.context is context]
            _FirstRun(context, restored, own).watch()
            log.info("Conversation resumed", messages=len(restored))

    def _snapshot(self) -> bytes | None:
        """Return the kept form of all contexts as JSON; None if the system messages alone are too long."""
        places = [
            (name, place) for name, own in self._contexts.items() for place in range(len(own))
        ]
        left_out = 0
        found: list[list[Message]] = []
        for name, place in places:
            messages, unknown = _kept_forms(self._contexts[name][place].messages)
            found.append(messages)
            left_out += unknown
        workers: Contexts = {name: [[] for _ in own] for name, own in self._contexts.items()}
        envelope = len(encode(_Snapshot(workers)))
        fitted = fit(found, CONTEXT_MAX_BYTES - envelope)
        if fitted is None:
            self._warn("The system messages exceed what can be kept; what was said is not kept")
            return None
        if fitted.cut or fitted.media or left_out:
            self._warn(
                "Not all of the conversation can be kept",
                oldest_messages=fitted.cut,
                media=fitted.media,
                not_json=left_out,
            )
        for (name, place), messages in zip(places, fitted.contexts, strict=True):
            workers[name][place] = messages
        return encode(_Snapshot(workers))

    def _warn(self, message: str, **meta: Any) -> None:
        if not self._has_warned:  # once: each later turn would repeat it
            self._has_warned = True
            log.warning(message, limit_bytes=CONTEXT_MAX_BYTES, **meta)


class _Said(list[Any]):
    """Messages that a bot does not log by accident, with its body or its arguments."""

    def __repr__(self) -> str:
        return f"<{len(self)} messages>"


@dataclass(slots=True)
class _FirstRun:
    """Waits until the language model is first asked after a conversation was resumed.

    Attributes:
        context: The context.
        restored: The messages with which it was resumed.
        aggregators: The aggregators of the context.
    """

    context: Any
    restored: list[Any]
    aggregators: list[Any]
    _user_spoke: bool = field(default=False)
    _is_over: bool = field(default=False)

    def watch(self) -> None:
        """Look at each frame that the aggregators push, until the model is asked."""
        for aggregator in self.aggregators:
            aggregator.add_event_handler(_PUSH, self._on_push)

    def _unwatch(self) -> None:
        for aggregator in self.aggregators:
            aggregator.remove_event_handler(_PUSH, self._on_push)

    def _on_push(self, _aggregator: Any, frame: Any) -> None:
        """Replace what the bot has added to the context for a new user, before the model gets it."""
        # 50 frames of audio a second pass here.
        kind = type(frame).__name__
        if self._is_over or not kind.startswith("LLMContext"):
            return
        if kind == "LLMContextUserTurnFrame":
            self._user_spoke = True
        elif kind == "LLMContextFrame" and frame.context is self.context:
            self._is_over = True
            # Later: Pipecat is in the middle of its list of handlers.
            asyncio.get_running_loop().call_soon(self._unwatch)
            self.context.set_messages(
                resumed(self.restored, self.context.messages, user_spoke=self._user_spoke)
            )


def _restored(kept: Any) -> dict[str, list[list[Any]]]:
    """Return the messages of a snapshot, as contexts hold them; none of a snapshot that is not understood."""
    if not kept:
        return {}
    try:
        workers = msgspec.convert(kept, _Snapshot).workers
        return {name: list(map(_as_messages, contexts)) for name, contexts in workers.items()}
    except (AttributeError, TypeError, ValueError) as error:
        # Another version of Cordboard wrote it, or the bot: it may write anything to the control channel.
        log.warning("What was kept is not valid; the bot starts without it", error=error)
        return {}


def _kept_forms(messages: list[Any]) -> tuple[list[Message], int]:
    """Return the kept forms of messages, and how many have none."""
    found = []
    for message in messages:
        try:
            found.append(kept_form(message))
        except (AttributeError, TypeError):
            continue
    return found, len(messages) - len(found)


def _as_messages(kept: list[Message]) -> list[Any]:
    """Return kept messages as a context holds them, with no tool call that still runs."""
    # Here and not above: a bot without a language model must not wait for the import.
    from pipecat.processors.aggregators.async_tool_messages import (
        build_cancelled_message,
        parse_message,
    )
    from pipecat.processors.aggregators.llm_context import LLMSpecificMessage

    ended = {
        payload.tool_call_id
        for message in kept
        if (payload := parse_message(message)) is not None and payload.kind == "final"
    }

    def unfinished(message: Message) -> str | None:
        payload = parse_message(message)
        if payload is None or payload.kind != "started" or payload.tool_call_id in ended:
            return None
        return str(build_cancelled_message(payload.tool_call_id)["content"])

    return [context_form(message, LLMSpecificMessage) for message in settled(kept, unfinished)]


def _processors(processor: Any, kind: type) -> Iterator[Any]:
    """Yield the processors of a kind in a pipeline, with those of the pipelines inside, in order."""
    if isinstance(processor, kind):
        yield processor
    for inner in processor.processors:
        yield from _processors(inner, kind)
