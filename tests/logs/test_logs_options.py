"""No text of any option of `cordboard logs` gives a traceback: it is taken, or refused with exit status 2."""

import argparse
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard.cli import main
from cordboard.cli._logs_query import build_query, parse_limit
from cordboard.contract.errors import UsageError
from cordboard.logs.query import wants
from logs.logs_support import encoded, record, write_lines

NONE = argparse.Namespace(
    **dict.fromkeys(
        (
            *("time", "since", "until", "around", "where", "session", "user", "room", "service"),
            *("level", "grep", "env", "dir", "report", "collect", "bundle", "coverage"),
        )
    ),
    **dict.fromkeys(("follow", "exact", "mentions", "fix_skew"), False),
)
MANY = 5000
TEXTS = {
    "since": ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "9" * MANY],
    "until": ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z"],
    "around": ["0001-01-01T00:00:10Z", "9999-12-31T23:59:50Z", "0001-01-01T00:00:00+14:00"],
    "time": ["9" * MANY, "36500d", "99999999d", "0s", "\u0661m"],
    "where": [
        *(f"seq = {'9' * MANY}", f"seq = {'9' * MANY}.5", f"seq = 1e{'9' * MANY}", "seq = 1e999"),
        *("(" * MANY, "(" * MANY + "seq" + ")" * MANY, "not " * MANY + "seq", "not(" * MANY),
        *("seq and " * MANY + "seq", "seq or " * MANY + "seq", f"seq in ({'1,' * MANY}1)"),
        *("a." * MANY + "b", f"meta.list.{'9' * MANY}", f"meta.list.{'9' * MANY} = 1"),
        *(
            f"message ~ '{'(' * MANY}'",
            f"message ~ '{'(' * MANY}{')' * MANY}'",
            "a ~ 'x{99999999999}'",
        ),
    ],
    "grep": ["(" * MANY + ")" * MANY, "x{99999999999}", "(", "[", "(?P<a>", "\\"],
    "limit": ["9" * MANY, "0", "\u0661", "-1", "1" * 18],
}
RECORD = record(1, meta={"list": [1, 2], "n": 2.5})
TIMES = st.from_regex(
    r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.,]{4,12}([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?\Z"
)
LENGTHS = st.from_regex(r"\A([0-9]{1,12}[dhms]?){1,3}\Z")
WORDS = st.lists(
    st.sampled_from(
        [
            *"()=<>~!,.'\"\\",
            "not ",
            "and ",
            "or ",
            "in ",
            "seq",
            "meta.list.1",
            "level",
            "1e9",
            "0x",
            "007",
        ]
    ),
    max_size=12,
).map("".join)


def asked(option: str, text: str) -> None:
    """Take or refuse an option as the command does, and look at a line with the query that it gives."""
    with suppress(UsageError):  # which is exit status 2
        if option == "limit":
            parse_limit(text)
        else:
            wants(build_query(argparse.Namespace(**{**vars(NONE), option: text})), RECORD)


@pytest.mark.parametrize("option", TEXTS)
@given(st.data())
def test_any_text_of_an_option_is_taken_or_refused(option: str, data: st.DataObject) -> None:
    """Times beyond those that there are, numbers without end, and nests of any depth, too."""
    forms = st.one_of(st.sampled_from(TEXTS[option]), st.text(max_size=30), TIMES, LENGTHS, WORDS)
    asked(option, data.draw(forms))


@pytest.mark.parametrize(
    ("option", "text"), [(option, text) for option, texts in TEXTS.items() for text in texts]
)
def test_text_at_the_bounds_is_taken_or_refused(option: str, text: str) -> None:
    """Each of those that once ended in a traceback, and their like."""
    asked(option, text)


@given(st.sampled_from(TEXTS["since"] + TEXTS["around"]), LENGTHS)
def test_length_and_time_together_are_taken_or_refused(time: str, length: str) -> None:
    """A window that reaches beyond the years 1 to 9999 is refused."""
    for moment in ("around", "until", "since"):
        with suppress(UsageError):
            build_query(argparse.Namespace(**{**vars(NONE), moment: time, "time": length}))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([(o, t) for o, texts in TEXTS.items() for t in texts]))
def test_command_ends_with_a_message(tmp_path: Path, example: tuple[str, str]) -> None:
    """The command itself prints it, whatever is in the text."""
    option, text = example
    write_lines(tmp_path / "a.jsonl", [bytes(encoded(RECORD))])
    name = {"time": "-t"}.get(option, f"--{option}")
    words = [f"{name}={text}"] if name.startswith("--") else [f"{name}{text}"]
    assert main(["logs", "--dir", str(tmp_path), "-o", "raw", *words]) in {0, 2, 3}
