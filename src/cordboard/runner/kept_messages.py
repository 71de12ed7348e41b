"""The form in which the messages of LLM contexts are kept, their limit, and how a conversation is resumed.

A context is a list of messages: dictionaries in OpenAI's form, or Pipecat's ``LLMSpecificMessage``. Kept messages
are JSON: bytes become ``{"$bytes": BASE64}``, and a message of one service ``{"$llm": SERVICE, "message": ...}``.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

# What is kept of one session. 256 KB are some 40,000 words, four hours of speech; encrypted, 350 KB in Redis.
CONTEXT_MAX_BYTES: Final = 256 * 1024

Message = dict[str, Any]
"""A message as it is kept."""

RESUMED: Final[Message] = {
    "role": "developer",
    "content": "The connection was interrupted for a moment and is back; what was said last may be missing. "
    "Continue the conversation where it stopped. Do not greet or introduce yourself again.",
}
"""The last message of a context with which a bot speaks first after it has been resumed."""

IN_PROGRESS: Final = "IN_PROGRESS"  # Pipecat's result of a tool call that still runs
CANCELLED: Final = "CANCELLED"  # and of one that ended without a result

_INSTRUCTIONS: Final = frozenset({"system", "developer", "user"})
# A picture may be an address, which is short; the data of the smallest picture is not.
_LIGHT_BYTES: Final = 1024
_BYTES, _LLM = "$bytes", "$llm"
# The parts of a message that hold a picture, sound or a file.
_MEDIA: Final = {"image_url", "input_audio", "audio", "file_base64"}

encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Fitted:
    """Contexts that fit the limit.

    Attributes:
        contexts: The messages of each context.
        cut: How many of the oldest messages were removed.
        media: How many pictures, sounds and files were left out.
    """

    contexts: list[list[Message]]
    cut: int = 0
    media: int = 0


def kept_form(message: Any) -> Message:
    """Return a message of a context in the form in which it is kept.

    Raises:
        TypeError: JSON cannot hold a value of the message.
    """
    if isinstance(message, dict):
        if all(type(value) is str for value in message.values()):
            return message  # most are texts, and a long call has thousands
        return _json_form(message)  # type: ignore[no-any-return]  # of a dictionary it is one
    return {_LLM: message.llm, "message": _json_form(message.message)}


def context_form(kept: Message, specific: Callable[..., Any]) -> Any:
    """Return a kept message in the form that a context holds.

    Args:
        kept: The kept message.
        specific: Pipecat's class ``LLMSpecificMessage``.
    """
    if _LLM in kept:
        return specific(llm=kept[_LLM], message=_python_form(kept.get("message")))
    return _python_form(kept)


def fit(contexts: Sequence[Sequence[Message]], limit: int) -> Fitted | None:
    """Return the contexts within a limit; None if the system messages alone exceed it.

    Pictures, sounds and files are left out first, then the oldest messages, but no system message. A tool call
    goes with its results. A large context does not take the share of a small one.

    Args:
        contexts: The kept messages of each context.
        limit: The number of bytes that the messages may take as JSON.
    """
    if len(encode(contexts)) <= limit:
        return Fitted([list(messages) for messages in contexts])
    fitted: list[list[Message]] = [[] for _ in contexts]
    cut = media = 0
    smallest_first = sorted(range(len(contexts)), key=lambda place: len(encode(contexts[place])))
    for done, place in enumerate(smallest_first):
        share = limit // (len(contexts) - done)
        messages, left_out = _without_media(contexts[place], share)
        kept = _newest(messages, share)
        if kept is None:
            return None
        cut, media = cut + len(messages) - len(kept), media + left_out
        fitted[place], limit = kept, limit - _size(kept)
    return Fitted(fitted, cut, media)


def settled(
    messages: Sequence[Message], unfinished: Callable[[Message], str | None] = lambda _message: None
) -> list[Message]:
    """Return messages in which no tool call still runs: calls end with the process that made them.

    Results without a call, and calls without all of their results, are left out: services refuse both.

    Args:
        messages: The kept messages.
        unfinished: Returns the content of the result that ends the asynchronous call of a message, or None.
    """
    found = []
    for message in _paired(messages):
        if message.get("role") == "tool":
            content = CANCELLED if message.get("content") == IN_PROGRESS else unfinished(message)
            found.append(message if content is None else {**message, "content": content})
        elif message != RESUMED:  # of an earlier interruption
            found.append(message)
    return found


def resumed(kept: Sequence[Any], present: Sequence[Any], *, user_spoke: bool) -> list[Any]:
    """Return the messages with which the language model is first asked after a conversation was resumed.

    A bot that greets its users adds the instruction to do so again, and would greet in the middle of a
    conversation: an instruction that the conversation has already is left out.

    Args:
        kept: The messages with which the conversation was resumed; at least one.
        present: The messages of the context now.
        user_spoke: Whether the last message is what the user has just said.
    """
    is_in_front = list(present[: len(kept)]) == list(kept)
    added = list(present[len(kept) :] if is_in_front else present)
    said = added[-1:] if user_spoke else []
    added = added[: len(added) - len(said)]
    new = [message for message in added if not (_is_instruction(message) and message in kept)]
    is_answer_due = bool(said) or (not new and _role(kept[-1]) in {"user", "tool"})
    # After an instruction of the bot that greets in other words, so that this is the last word.
    return [*kept, *new, *said, *([] if is_answer_due else [dict(RESUMED)])]


def _is_instruction(message: Any) -> bool:
    return _role(message) in _INSTRUCTIONS


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _json_form(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {str(name): _json_form(item) for name, item in value.items()}
        case list() | tuple():
            return [_json_form(item) for item in value]
        case bytes() | bytearray():
            return {_BYTES: base64.b64encode(value).decode()}
        case _:
            raise TypeError(f"a message has a {type(value).__name__}, which JSON cannot hold")


def _python_form(value: Any) -> Any:
    match value:
        case {"$bytes": str(text), **rest} if not rest:
            try:
                return base64.b64decode(text)
            except ValueError:  # a message of the bot has this key
                return value
        case dict():
            return {name: _python_form(item) for name, item in value.items()}
        case list():
            return [_python_form(item) for item in value]
        case _:
            return value


def _size(messages: Iterable[Message]) -> int:
    """Return the bytes that messages take in a JSON list, with a comma each."""
    return sum(len(encode(message)) + 1 for message in messages)


def _without_media(messages: Sequence[Message], limit: int) -> tuple[list[Message], int]:
    """Return messages without pictures, sounds and files, from the oldest on, until they fit; and how many."""
    found, left_out = list(messages), 0
    if not any(isinstance(message.get("content"), list) for message in messages):
        return found, 0
    size = _size(messages)
    for place, message in enumerate(found):
        parts = message.get("content")
        if size <= limit:
            break
        if not isinstance(parts, list):
            continue
        light = [_light(part) for part in parts]
        count = sum(one is not other for one, other in zip(light, parts, strict=True))
        if count:
            found[place] = {**message, "content": light}
            size += _size([found[place]]) - _size([message])
            left_out += count
    return found, left_out


def _light(part: Any) -> Any:
    """Return a part of a message, or a text in its place if it holds a picture, sound or file."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in _MEDIA or len(encode(part)) < _LIGHT_BYTES:
        return part
    name = {"image_url": "picture", "file_base64": "file"}.get(kind, "sound")
    return {"type": "text", "text": f"[a {name}, left out]"}


def _newest(messages: Sequence[Message], limit: int) -> list[Message] | None:
    """Return the newest messages that fit, with all system messages; None if those alone do not fit."""
    first = len(messages)
    systems = [message for message in messages if message.get("role") == "system"]
    room = limit - _size(systems)
    if room < 0:
        return None
    # From the newest on, so that the time depends on the limit and not on the length of the call.
    while first and room >= 0:
        first -= 1
        if messages[first].get("role") != "system":
            room -= len(encode(messages[first])) + 1
    if room < 0:
        first += 1  # this one did not fit
    front = [message for message in messages[:first] if message.get("role") == "system"]
    return [*front, *_paired(messages[first:])]


def _paired(messages: Sequence[Message]) -> list[Message]:
    """Return messages without tools' results without a call, and without calls without all of their results."""
    if not any(message.get("role") == "tool" or "tool_calls" in message for message in messages):
        return list(messages)
    places = {place for group in _groups(messages) for place in group}
    return [message for place, message in enumerate(messages) if place in places]


def _groups(messages: Sequence[Message]) -> list[list[int]]:
    """Return the places of the messages, each tool call in one group with all of its results."""
    groups: list[list[int]] = []
    owners: dict[str, list[int]] = {}
    open_calls: dict[int, set[str]] = {}
    for place, message in enumerate(messages):
        if message.get("role") == "tool":
            owner = owners.get(str(message.get("tool_call_id")))
            if owner is not None:
                owner.append(place)
                open_calls[owner[0]].discard(str(message.get("tool_call_id")))
            continue
        group = [place]
        groups.append(group)
        ids = {str(call.get("id")) for call in message.get("tool_calls") or ()}
        if ids:
            open_calls[place] = ids
            owners.update(dict.fromkeys(ids, group))
    return [group for group in groups if not open_calls.get(group[0])]
