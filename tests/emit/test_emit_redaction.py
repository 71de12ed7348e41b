"""No secret is written, whatever its name and depth."""

from collections.abc import Callable
from typing import Any

import pytest

from cordboard import emit
from cordboard.contract import redaction

Lines = Callable[[], list[dict[str, Any]]]
log = emit.get_logger("test")


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "userPassword", "passwd", "pwd", "token",
        "access_token", "accessToken", "X-Auth-Token", "secret", "client-secret", "Authorization",
        "cookie", "Set-Cookie", "api_key", "apiKey", "APIKey", "x-api-key", "apikey", "privateKey",
        "secret_key", "credentials", "passphrase", "signature", "BOT_CONTROL_SHARED_SECRET",
    ],
)  # fmt: skip
def test_value_of_a_secret_name_is_redacted(lines: Lines, name: str) -> None:
    """At any depth, and whatever the value is."""
    meta: dict[str, Any] = {name: "hunter2"}
    log.info("Asked", **meta, list=[{name: {"x": "hunter2"}}], deep={name: 7})
    (record,) = lines()
    assert "hunter2" not in str(record)
    assert record["meta"] == {
        name: "[redacted]",
        "list": [{name: "[redacted]"}],
        "deep": {name: "[redacted]"},
    }


@pytest.mark.parametrize(
    "name",
    [
        "tokens",
        "token_count",
        "max_tokens",
        "tokenUsage",
        "monkey",
        "author",
        "keyboard",
        "secretary",
    ],
)
def test_value_of_a_similar_name_is_shown(lines: Lines, name: str) -> None:
    """Numbers about secrets, and words that merely resemble a secret name, are shown."""
    meta: dict[str, Any] = {name: 7}
    log.info("Counted", **meta)
    assert lines()[0]["meta"] == meta


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://x.y/a?token=abc&b=1", "https://x.y/a?token=[redacted]&b=1"),
        ("https://x.y/a?b=1&access_token=abc#f", "https://x.y/a?b=1&access_token=[redacted]#f"),
        ("wss://x/?t=eyJ.abc&x=1", "wss://x/?t=[redacted]&x=1"),
        ("redis://user:pass@host:6379/0", "redis://user:[redacted]@host:6379/0"),
        ("redis://:pass@host", "redis://:[redacted]@host"),
        ("Authorization: Bearer abcdefghij", "Authorization: Bearer [redacted]"),
        ("Client(url='u', api_key='abc def', n=1)", "Client(url='u', api_key=[redacted], n=1)"),
        ("a=1&b=2", "a=1&b=2"),
        ("password=hunter2", "password=[redacted]"),
        ("scope={'query_string': b'token=abc'}", "scope={'query_string': b'token=[redacted]'}"),
        ("?token='never closed", "?token=[redacted]"),
        ("url=https://x?token=abc", "url=https://x?token=[redacted]"),
        ("?token=a&token=b", "?token=[redacted]&token=[redacted]"),
        ("got {'password': 'hunter2', 'n': 1}", "got {'password': [redacted], 'n': 1}"),
        ('got {"api_key":"k", "n": 1}', 'got {"api_key":[redacted], "n": 1}'),
        ("Settings(max_tokens=100, token_count=3)", "Settings(max_tokens=100, token_count=3)"),
        ("mail@example.com", "mail@example.com"),
        ("bearer of news", "bearer of news"),
    ],
)
def test_secret_in_a_text_is_redacted(lines: Lines, text: str, shown: str) -> None:
    """Tokens in URLs, credentials and bearer tokens are redacted in every text."""
    log.info(text, url=text, rows=[text], error=ValueError(text))
    (record,) = lines()
    assert record["message"] == shown
    assert record["meta"] == {"url": shown, "rows": [shown]}
    assert record["error"]["message"] == shown


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    ["?" + "token" * 60_000 + " =", "?" + "pwd_" * 80_000 + " =", "?token='" * 10_000, "&" * 90_000,
     "://:" * 20_000 + "@", "Bearer" + " " * 90_000 + "earer "],
    ids=["token", "pwd", "quotes", "ands", "colons", "spaces"],
)  # fmt: skip
def test_redaction_takes_linear_time(text: str) -> None:
    """Quadratic time would not end within the timeout of the tests."""
    assert len(redaction.redact(text)) < 2 * len(text)


def test_secret_below_the_maximum_depth_is_redacted(lines: Lines) -> None:
    """The repr of a structure that is too deep contains no secret either."""
    deep: Any = {"password": "hunter2"}
    for _ in range(33):
        deep = [deep]
    log.info("Deep", deep=deep)
    assert "hunter2" not in str(lines())


def test_token_in_the_room_url_is_redacted(lines: Lines) -> None:
    """The URL of a room comes from outside as well."""
    with emit.session_context(session_id="s", room="https://acme.daily.co/r?token=abc"):
        log.info("Here")
    assert lines()[0]["room"] == "https://acme.daily.co/r?token=[redacted]"


def test_raw_line_is_redacted(lines: Lines) -> None:
    """The output of a process may contain secrets."""
    emit.raw("GET https://x/?token=abc", service="bot")
    assert lines()[0]["message"] == "GET https://x/?token=[redacted]"


def test_names_of_the_program_are_redacted(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program can add names, in any spelling."""
    monkeypatch.setattr(redaction, "_extra_words", set())
    log.info("Before", social_security="1")
    redaction.add_secret_names(("socialSecurity",))
    log.info("After", social_security="1", nested={"SOCIAL-SECURITY": 2})
    first, second = lines()
    redaction.add_secret_names(())
    assert first["meta"] == {"social_security": "1"}
    assert second["meta"] == {
        "social_security": "[redacted]",
        "nested": {"SOCIAL-SECURITY": "[redacted]"},
    }
