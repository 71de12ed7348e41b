"""Which blocks count as cut into pieces: their lines are put together one by one."""

import json
from typing import Any

import pytest

from cordboard.logs.blocks import Block

STAMP = "2026-11-23T10:00:01.000000001Z"
OWN: dict[str, Any] = {"msg": "said"}


def a_block(*values: dict[str, Any], spaced: bool = False) -> Block:
    separators = (", ", ": ") if spaced else (",", ":")
    lines = [json.dumps(value, separators=separators).encode() + b"\n" for value in values]
    data = b"".join(lines)
    return Block(data, len(data), 0)


def of_agent(first: str, flag: str, log: str = "said", mark: str = "_p") -> dict[str, Any]:
    return {first: STAMP, "stream": "stdout", mark: flag, "log": log}


def of_docker(log: str) -> dict[str, Any]:
    return {"time": STAMP, "stream": "stdout", "log": log}


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("first", ["date", "time", "log"])
@pytest.mark.parametrize("mark", ["_p", "logtag"])
def test_an_agents_block_is_in_pieces_only_where_its_marks_say_so(
    first: str, mark: str, spaced: bool
) -> None:
    """An agent's lines may begin as Docker's do, and none of them ends with a newline."""
    whole = [of_agent(first, "F", mark=mark) for _ in range(20)]
    if first == "log":
        whole = [{"log": "said", "stream": "stdout", mark: "F"} for _ in range(20)]
    assert not a_block(*whole, spaced=spaced).in_pieces
    quoted = of_agent(first, "F", 'asked for {"P":1}', mark)
    assert not a_block(*whole, quoted, spaced=spaced).in_pieces
    assert a_block(*whole, of_agent(first, "P", mark=mark), spaced=spaced).in_pieces


def test_an_agents_mark_is_found_in_a_text() -> None:
    """The agent's object may be a text in another one."""
    inner = json.dumps(of_agent("time", "P"))
    assert a_block({"message": inner}).in_pieces
    assert not a_block({"message": json.dumps(of_agent("time", "F"))}).in_pieces


@pytest.mark.parametrize("before", [[], [OWN], [{"time": STAMP, **OWN}], [of_agent("time", "F")]])
def test_a_docker_block_is_in_pieces_where_a_newline_is_missing(
    before: list[dict[str, Any]],
) -> None:
    """Lines of others before Docker's change nothing."""
    lines = [*before, *(of_docker("said\n") for _ in range(20))]
    assert a_block(*lines, of_docker("sa"), of_docker("id\n")).in_pieces
    assert not a_block(*lines[len(before) :]).in_pieces
