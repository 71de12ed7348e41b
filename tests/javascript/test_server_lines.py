"""Lines of the npm package's server logger: the format, the limits and the redaction are those of Python's lines."""

import json
import random
from typing import Any

import pytest

from cordboard.contract.record import KEYS, LINE_MAX_BYTES
from cordboard.contract.redaction import is_secret_name, redact
from cordboard.emit.forwarding import schema_error
from javascript.node_support import node

FRAGMENTS = (
    "token", "access_token", "accessToken", "X-Api-Key", "password", "pwd", "max_tokens", "token_count", "t", "sig",
    "monkey", "secretary", "Bearer", "bearer of", "abcdefghij", "=", ":", "': ", '": ', "'", '"', "?", "&", "#", " ", ",",
    "(", ")", "{", "}", "://", "user:pass@host", "@", "8080/", "https://x.y/a", "ü", "[redacted]", "\n", "%20", "eyJ.abc",
)  # fmt: skip


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return node("server_lines.js", POD_NAME="shop-1").splitlines()


@pytest.fixture(scope="module")
def records(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_each_line_is_a_record(lines: list[str], records: list[dict[str, Any]]) -> None:
    """The keys have their order, a line its limit, and no control character acts on a terminal."""
    assert [error for record in records if (error := schema_error(record))] == []
    order = {key: place for place, key in enumerate(KEYS)}
    for line, record in zip(lines, records, strict=True):
        places = [order[key] for key in record]
        assert places == sorted(places)
        assert len(line.encode()) < LINE_MAX_BYTES
        assert not any(0x7F <= ord(sign) <= 0x9F or sign in "\u2028\u2029" for sign in line)
    assert {record["service"] for record in records} == {"shop"}
    assert len({record["boot"] for record in records}) == 1
    assert [record["seq"] for record in records] == [*range(1, len(records) + 1)]
    assert [record["message"][:4] for record in records if record.get("truncated")] == [
        "Long",
        "\0\0\0\0",
    ]


def test_lines_carry_the_session_of_their_code(records: list[dict[str, Any]]) -> None:
    """Also after a pause, nested, and interleaved with another session."""
    first, inside, late, other = records[:4]
    assert (first["sessionId"], first["userId"], first["meta"]) == ("server:shop-1", None, {"n": 1})
    assert inside["event"] == "join.clicked"
    for record in (inside, late):
        assert (record["sessionId"], record["userName"]) == ("call-7", "Ada Łovelace")
        assert (record["room"], record["epoch"]) == ("webrtc:standup", 3)
        assert record["traceId"] == "0af7651916cd43dd8448eb211c80319c"
        assert record["spanId"] == "b7ad6b7169203331"
    assert (other["sessionId"], other["userId"]) == ("call-7", "u-2")
    interleaved = [record for record in records if record["message"] == "Interleaved"]
    assert len(interleaved) == 6
    for record in interleaved:
        assert record["meta"] == {"own": record["sessionId"], "is": record["sessionId"]}
    (headers,) = (r["meta"]["headers"] for r in records if r["message"] == "Headers")
    assert headers["X-Session-Id"] == "call-7"
    assert headers["X-User-Name"] == "Ada%20%C5%81ovelace"


def test_secrets_are_redacted(lines: list[str], records: list[dict[str, Any]]) -> None:
    """By the name of a value at any depth, and within texts."""
    assert "hunter2" not in "".join(lines)
    assert records[1]["meta"]["values"] == {
        "password": "[redacted]",
        "deep": [{"accessToken": "[redacted]"}],
        "url": "https://x/?token=[redacted]",
    }


def test_package_redacts_what_python_redacts() -> None:
    """The same texts, of pieces that matter, and the same names."""
    random_ = random.Random(16)
    texts = ["".join(random_.choices(FRAGMENTS, k=random_.randint(1, 12))) for _ in range(3000)]
    for text, (shown, is_secret) in zip(
        texts, json.loads(node("redact.js", json.dumps(texts))), strict=True
    ):
        assert shown == redact(text), text
        assert is_secret == is_secret_name(text), text
