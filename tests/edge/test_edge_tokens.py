"""The tokens in the URLs of streams."""

import re

from hypothesis import given
from hypothesis import strategies as st

from cordboard.edge.tokens import FIRST_USE_S, StreamTokens

IDS = st.from_regex(r"[A-Za-z0-9._~:@-]{1,128}", fullmatch=True)
CALL_ID = "CA0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000.5


def tokens_of(*secrets: str) -> StreamTokens:
    """Return the tokens of an edge that has `secrets`."""
    return StreamTokens(lambda: secrets)


@given(IDS, IDS, st.integers(0, 2**40))
def test_token_grants_the_session_and_the_room_for_which_it_was_issued(
    session_id: str, name: str, now: int
) -> None:
    """Every edge with the same secret reads the same session and room from a token."""
    token = tokens_of("secret").issue(session_id, f"ws:{name}", now)
    grant = tokens_of("secret").verify(token, now)
    assert grant is not None
    assert (grant.session_id, grant.room_url, grant.issued_at) == (session_id, f"ws:{name}", now)


@given(IDS, st.data())
def test_token_with_any_changed_character_is_refused(session_id: str, data: st.DataObject) -> None:
    """Neither the payload, the separator nor the MAC can change, not even to another text of the same bytes."""
    tokens = tokens_of("secret")
    token = tokens.issue(session_id, f"ws:{session_id}", NOW)
    index = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters().filter(lambda drawn: drawn != token[index]))
    assert tokens.verify(token[:index] + character + token[index + 1 :], NOW) is None


@given(st.text())
def test_text_that_is_no_token_is_refused(text: str) -> None:
    """No text of a stranger raises an error."""
    assert tokens_of("secret").verify(text, NOW) is None


def test_token_without_its_end_or_with_more_is_refused() -> None:
    """A shorter or longer text is another token."""
    tokens = tokens_of("secret")
    token = tokens.issue(CALL_ID, f"phone:twilio:{CALL_ID}", NOW)
    changed = [token[:-1], token + "=", token + "A", f"{token}.", f".{token}", token.split(".")[0]]
    assert [tokens.verify(text, NOW) for text in changed] == [None] * len(changed)


def test_token_of_a_phone_call_is_one_short_segment_of_a_path() -> None:
    """Carriers limit the length of URLs, and take unescaped characters only."""
    token = tokens_of("secret").issue(CALL_ID, f"phone:twilio:{CALL_ID}", NOW)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", token)


def test_token_is_expired_after_the_time_of_the_first_connection() -> None:
    """Whether the session lives is then the gateway's answer."""
    tokens = tokens_of("secret")
    token = tokens.issue(CALL_ID, f"ws:{CALL_ID}", 1000)
    ages = [0, FIRST_USE_S, FIRST_USE_S + 1]
    grants = [tokens.verify(token, 1000 + age) for age in ages]
    assert [grant and grant.is_expired for grant in grants] == [False, False, True]


def test_token_of_the_previous_secret_is_accepted_until_that_secret_is_gone() -> None:
    """A new control secret refuses no stream whose URL is on its way."""
    token = tokens_of("old").issue(CALL_ID, f"ws:{CALL_ID}", NOW)
    assert tokens_of("new", "old").verify(token, NOW) is not None
    assert tokens_of("new").verify(token, NOW) is None


def test_tokens_without_a_secret_are_good_for_one_process() -> None:
    """An edge on loopback needs no secret; its tokens are no other edge's."""
    here, there = tokens_of(), tokens_of()
    token = here.issue(CALL_ID, f"ws:{CALL_ID}", NOW)
    assert here.verify(token, NOW) is not None
    assert there.verify(token, NOW) is None
    assert tokens_of("secret").verify(token, NOW) is None
