"""`--where`: what it means, and what it says when it means nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import UsageError
from cordboard.logs.conditions import parse
from logs.logs_support import encoded, record

LINE = record(
    1,
    level="warn",
    message="Join refused",
    boot="12345678",
    meta={
        "reused": True,
        "status": 503,
        "ms": 1.5,
        "a.b": {"c": "x y"},
        "items": [1, 2],
        "none": None,
        "build": "123e4567",
        "zeros": "0123",
        "absent": "n/a",
        "thousand": "1000",
    },
    error={"type": "ValueError", "message": "bad", "stack": ""},
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("meta.reused = true and level >= warn", True),
        ("level > warn", False),
        ("level != info", True),
        ("meta.status >= 500", True),
        ("meta.status >= 500 and not service = gateway", False),
        ("meta.status in (404, 503)", True),
        ("meta.status = '503'", False),
        ("meta.ms < 2 or nothing", True),
        ("meta.reused", True),
        ("meta.none", False),
        ("meta.none = null", True),
        ("meta.missing = null", True),
        ("meta.missing != 3", True),
        ("meta.missing > 3", False),
        ("message ~ '^Join (refused|accepted)$'", True),
        ('message !~ "ref"', False),
        ('meta."a.b".c = "x y"', True),
        ("meta.items.1 = 2", True),
        ("meta.items.7 = 2", False),
        ("error.type = ValueError", True),
        ("level = warn or level = error and service = runner", True),
        ("(level = warn or level = error) and service = runner", False),
        ("NOT (meta.reused AND level = debug)", True),
        ("timestamp >= 2026-11-23T10:00:00", True),
        ("meta.reused = 1", False),
        ("sessionId ~ ^server:", True),
        ("boot = 12345678 and seq = 1", True),
        ("boot = 123e4567", False),
        ("boot in (1, 12345678)", True),
        ("boot != 12345678", False),
        ("boot = '12345678'", True),
        ("boot = 12345678.0", False),
        ("boot >= 1234567", False),
        ("boot >= '1234567'", True),
        ("meta.absent > 500", False),
        ("meta.absent < 500", False),
        ("meta.thousand > 500", False),
        ("meta.thousand < 500", False),
        ("meta.thousand in (500, 1000)", True),
        ("meta.build = 123e4567", True),
        ("meta.build = 0123", False),
        ("meta.zeros = 0123", True),
        ("meta.zeros ~ 012", True),
        ("meta.zeros = 123", False),
        ("meta.status = 503.0", True),
        ("meta.status = 5.03e2", True),
        ("seq = '1'", False),
        ("boot", True),
    ],
)
def test_meaning(text: str, holds: bool) -> None:
    """Each form of the grammar."""
    assert parse(text).holds(LINE) is holds


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("meta.reused =", 14, "expected a value, got the end"),
        ("", 1, "expected a field such as level or meta.reused, got the end"),
        ("a = 1 b = 2", 7, "expected `and` or `or`, got b"),
        ("a = 1 and", 10, "expected a field"),
        ("(a = 1", 7, "expected a closing parenthesis"),
        ("a in 1", 6, "expected a list in parentheses"),
        ("a in (1 2)", 9, "expected a comma or a closing parenthesis"),
        ("level >= loud", 10, "expected a level (debug, info, warn, error), got loud"),
        ("a < true", 5, "expected a number or a string after <, got true"),
        ("a ~ '('", 5, "invalid regular expression"),
        ("a = 'x", 5, "unterminated string"),
        ("a..b = 1", 1, "invalid field"),
        ("= 1", 1, "expected a field"),
    ],
)
def test_errors_point_at_the_column(text: str, column: int, words: str) -> None:
    """An error says what was wanted, and where."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.message.startswith(f"--where, column {column}: {words}")
    assert caught.value.hint == f"{text}\n  {' ' * (column - 1)}^"


@given(st.text(alphabet="abclevel.=<>~!()'\" 01,andornotin-", max_size=25))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """Nothing but a condition or a usage error ever comes of a text."""
    try:
        condition = parse(text)
    except UsageError as error:
        assert "column" in error.message  # noqa: PT017
    else:
        assert condition.holds(LINE) in {True, False}


fields = st.sampled_from(
    ["level", "message", "service", "meta.n", "meta.flag", "meta.text", 'meta."x y"', "meta.list.0", "meta.no"]
)  # fmt: skip
values = st.sampled_from(
    ["1", "2.5", "0123", "1e3", "true", "false", "null", "warn", '"a b"', "gateway", "'ü'"]
)
comparisons = st.builds(
    "{} {} {}".format, fields, st.sampled_from(["=", "!=", "<", ">=", "~", "!~"]), values
) | fields.map(str)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | inner.map("not ({})".format)
    ),
    max_leaves=4,
)
metas = st.fixed_dictionaries(
    {},
    optional={
        "n": st.sampled_from([1, 2.5, "1", "2.5", "0123"]),
        "flag": st.booleans(),
        "text": st.sampled_from(["a b", "ü", 'q"', "warn"]),
        "x y": st.integers(0, 2),
        "list": st.lists(st.integers(0, 2), max_size=2),
    },
)


@given(conditions, metas, st.sampled_from(["debug", "warn", "error"]))
def test_terms_are_sound(text: str, meta: dict[str, Any], level: str) -> None:
    """A line that fulfils a condition holds the bytes that it is searched by."""
    try:
        condition = parse(text)
    except UsageError:  # `level < true` and the like
        return
    line = record(1, level=level, meta=meta)
    if condition.holds(line):
        assert all(any(part in encoded(line) for part in term) for term in condition.terms)
