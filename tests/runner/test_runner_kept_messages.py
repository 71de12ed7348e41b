"""The form and the limit of kept messages, and the messages with which a bot goes on."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordboard.runner.kept_messages import (
    CANCELLED,
    IN_PROGRESS,
    RESUMED,
    Message,
    context_form,
    encode,
    fit,
    kept_form,
    resumed,
    settled,
)

SYSTEM = {"role": "system", "content": "Be kind."}
GREET = {"role": "developer", "content": "Greet the user."}
HELLO = {"role": "assistant", "content": "Hello!"}
QUESTION = {"role": "user", "content": "What is the capital of Germany?"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2000}}


@dataclass
class Specific:
    llm: str
    message: Any


def call(number: int, name: str = "find") -> Message:
    function = {"name": name, "arguments": "{}"}
    return {
        "role": "assistant",
        "tool_calls": [{"id": f"c{number}", "function": function, "type": "function"}],
    }


def result(number: int, content: str = "42") -> Message:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": content}


texts = st.text(max_size=30)
few = settings(max_examples=50, deadline=None)
spoken = st.builds(
    lambda role, content: [{"role": role, "content": content}],
    st.sampled_from(["user", "assistant", "developer"]),
    texts,
)
called = st.builds(
    lambda number, content: [call(number), result(number, content)], st.integers(0, 99), texts
)
prompts = st.builds(lambda content: [{"role": "system", "content": content}], texts)
seen = st.builds(
    lambda text: [{"role": "user", "content": [{"type": "text", "text": text}, PICTURE]}], texts
)
conversations = st.lists(st.one_of(spoken, called, prompts, seen), max_size=12).map(
    lambda groups: [message for group in groups for message in group]
)


def is_paired(messages: list[Message]) -> bool:
    """Return whether each result follows its call, and each call has its result."""
    open_calls: Counter[str] = Counter()
    for message in messages:
        for one in message.get("tool_calls", ()):
            open_calls[one["id"]] += 1
        if message["role"] == "tool":
            open_calls[message["tool_call_id"]] -= 1
            if open_calls[message["tool_call_id"]] < 0:
                return False
    return not any(open_calls.values())


@few
@given(contexts=st.lists(conversations, max_size=3), limit=st.integers(0, 3_000))
def test_contexts_fit_with_all_system_messages_and_no_half_of_a_tool_call(
    contexts: list[list[Message]], limit: int
) -> None:
    """What is left is the newest, in order; the rest is counted."""
    fitted = fit(contexts, limit)
    prompts = [[one for one in context if one["role"] == "system"] for context in contexts]
    if fitted is None:
        assert len(encode(prompts)) > limit // max(len(contexts), 1)
        return
    assert sum(len(encode(context)) - 2 for context in fitted.contexts) <= limit
    for context, before, system in zip(fitted.contexts, contexts, prompts, strict=True):
        assert [one for one in context if one["role"] == "system"] == system
        assert is_paired(context)
        spoken = [one for one in context if one["role"] != "system"]
        others = [one for one in before if one["role"] != "system"]
        newest = others[len(others) - len(spoken) :]
        assert [one for one in spoken if not isinstance(one.get("content"), list)] == [
            one for one in newest if not isinstance(one.get("content"), list)
        ]
    assert fitted.cut == sum(map(len, contexts)) - sum(map(len, fitted.contexts))


@few
@given(contexts=st.lists(conversations, max_size=3))
def test_contexts_within_the_limit_stay_as_they_are(contexts: list[list[Message]]) -> None:
    fitted = fit(contexts, 3 * 1024 * 1024)
    assert fitted is not None
    assert (fitted.contexts, fitted.cut, fitted.media) == (contexts, 0, 0)


def test_pictures_go_before_words() -> None:
    """A picture takes the place of hours of speech; the oldest one goes first."""
    look = {"role": "user", "content": [{"type": "text", "text": "Look!"}, PICTURE]}
    fitted = fit([[SYSTEM, look, HELLO, look]], 3_000)
    assert fitted is not None
    assert (fitted.cut, fitted.media) == (0, 1)
    assert fitted.contexts[0][1]["content"][1] == {"type": "text", "text": "[a picture, left out]"}
    assert fitted.contexts[0][3] == look


def test_small_context_is_not_cut_for_a_large_one() -> None:
    large = [{"role": "user", "content": "x" * 100}] * 50
    fitted = fit([large, [SYSTEM, HELLO]], 1_000)
    assert fitted is not None
    assert fitted.contexts[1] == [SYSTEM, HELLO]
    assert 0 < len(fitted.contexts[0]) < 50


def test_results_without_a_call_and_calls_without_all_results_are_left_out() -> None:
    """Services refuse both, and a bot that sends them would be silent."""
    both = {"role": "assistant", "tool_calls": [*call(1)["tool_calls"], *call(2)["tool_calls"]]}
    messages = [result(9), both, result(1), call(3), result(3), HELLO]
    assert settled(messages) == [call(3), result(3), HELLO]


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts, st.binary(max_size=50)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=9), inner)),
    max_leaves=8,
)


@few
@given(message=st.dictionaries(st.sampled_from(["role", "content", "name"]), values, min_size=1))
def test_message_returns_from_its_kept_form(message: dict[str, Any]) -> None:
    """With bytes, such as signatures of thoughts, and messages of one service."""
    for one in (message, Specific("google", message)):
        assert context_form(kept_form(one), Specific) == one


def test_key_of_the_kept_form_in_a_message_is_no_error() -> None:
    odd = {"role": "user", "content": {"$bytes": "a"}}
    assert context_form(kept_form(odd), Specific) == odd


def test_value_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        kept_form({"role": "user", "content": object()})


def test_no_tool_call_runs_on() -> None:
    """Calls end with their process; the model may then say so, or call again."""
    kept = [call(1), result(1, IN_PROGRESS), RESUMED, call(2), result(2, "started")]
    assert settled(kept, lambda one: "over" if one["content"] == "started" else None) == [
        call(1), result(1, CANCELLED), call(2), result(2, "over"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "added", "user_spoke", "expected"),
    [
        ([GREET, HELLO], [GREET], False, [GREET, HELLO, RESUMED]),
        ([GREET, HELLO], [SYSTEM], False, [GREET, HELLO, SYSTEM, RESUMED]),
        ([GREET, HELLO], [], False, [GREET, HELLO, RESUMED]),
        ([GREET, HELLO, QUESTION], [GREET], False, [GREET, HELLO, QUESTION]),
        ([GREET, HELLO, QUESTION], [QUESTION], True, [GREET, HELLO, QUESTION, QUESTION]),
        ([GREET, HELLO], [GREET, QUESTION], True, [GREET, HELLO, QUESTION]),
        ([GREET, HELLO], [HELLO], False, [GREET, HELLO, HELLO, RESUMED]),
        ([Specific("x", {}), HELLO], [], False, [Specific("x", {}), HELLO, RESUMED]),
    ],
    ids=["greets", "greets otherwise", "speaks", "owes an answer", "waits", "both", "spoke", "specific"],
)  # fmt: skip
def test_bot_that_greets_goes_on(
    kept: list[Any], added: list[Any], user_spoke: bool, expected: list[Any]
) -> None:
    """A known instruction is dropped, the user's words never; the bot's own start is told to go on."""
    assert resumed(kept, [*kept, *added], user_spoke=user_spoke) == expected
    # A bot that replaces the messages of its context loses none.
    assert resumed(kept, added, user_spoke=user_spoke) == expected
