"""One protocol for both stores, and arguments that Python and Lua agree upon."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cordboard import store
from cordboard.store import RedisStore, SessionStore, open_store
from cordboard.store.rooms import accept_arguments
from cordboard.store.scripts import SCRIPTS
from cordboard.store.sharding.store import ShardedStore

SOURCE = Path(store.__file__).parent
LUA = SOURCE / "scripts"
FIELDS = {"url", "periods"}  # set by the constructor
ACCEPT = {"session_id", "room", "launch", "deadline_s", "queue_max", "token", "runner_id",
          "runner_url", "counts", "record"}  # fmt: skip


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


@pytest.mark.parametrize("cls", [RedisStore, ShardedStore])
def test_both_stores_have_each_method_of_the_protocol(cls: type) -> None:
    """The parameters have the same names, kinds and defaults."""
    for name in public(SessionStore) - FIELDS:
        expected, method = getattr(SessionStore, name), vars(cls)[name]
        if isinstance(expected, property):
            assert isinstance(method, property)
            continue
        assert inspect.signature(method) == inspect.signature(expected), name
    assert public(SessionStore) >= FIELDS


def test_sharded_store_has_no_further_method() -> None:
    """Its users need no method that the protocol lacks."""
    assert public(ShardedStore) == public(SessionStore) - FIELDS


async def test_open_store_returns_the_store_for_the_number_of_shards() -> None:
    stores: list[SessionStore] = [open_store("redis://127.0.0.1:1", shards=n) for n in (1, 2)]
    assert [type(opened) for opened in stores] == [RedisStore, ShardedStore]
    assert [len(opened.shards) for opened in stores] == [1, 2]


def test_plain_store_loads_no_code_of_sharding() -> None:
    """Only the factory knows it, and imports it when there are several shards."""
    for path in SOURCE.glob("*.py"):
        imported = re.findall(r"^(?:from|import) (\S*sharding\S*)", path.read_text(), re.MULTILINE)
        assert imported == [], path.name


# --- Arguments of the scripts


def lua_text(name: str) -> str:
    return (LUA / f"{name}.lua").read_text()


def documented(name: str) -> set[str]:
    """Return the arguments that the head of a script lists."""
    head = lua_text(name).split("\n\n")[0].partition("-- ARGV[1]")[2].partition("-- Returns")[0]
    lists = re.findall(r"^--   (\w+(?:, \w+)*)(?=  |$)", head, re.MULTILINE)
    return {word for words in lists for word in words.split(", ")}


def read_by_lua(name: str) -> set[str]:
    return set(re.findall(r"\bargs\.(\w+)", lua_text(name)))


def dict_keys(node: ast.expr) -> set[str]:
    """Return the keys of a dictionary, with those of dictionaries that are merged into it."""
    assert isinstance(node, ast.Dict)
    keys: set[str] = set()
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant):
            keys.add(str(key.value))
        else:
            assert isinstance(value, ast.Name)
            keys |= ACCEPT if value.id == "arguments" else {"claim", "claim_is_new", "epoch_above"}
    return keys


def calls() -> Iterator[tuple[str, set[str]]]:
    """Yield the script and the arguments of each call in the source."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr == "run" and isinstance(node.args[0], ast.Constant):
                argument = node.args[2]
                named = ACCEPT if isinstance(argument, ast.Name) else dict_keys(argument)
                yield str(node.args[0].value), named
            elif node.func.attr == "run_many":
                assert isinstance(node.args[0], ast.Constant)
                yield str(node.args[0].value), renewal_keys(path)


def renewal_keys(path: Path) -> set[str]:
    """Return the arguments that `renew` gets, from the dictionary in its list of calls."""
    (function,) = [node for node in ast.walk(ast.parse(path.read_text()))
                   if isinstance(node, ast.AsyncFunctionDef) and node.name == "renew"]  # fmt: skip
    (argument,) = [node for node in ast.walk(function) if isinstance(node, ast.Dict)]
    return dict_keys(argument)


def test_each_script_gets_the_arguments_that_it_reads() -> None:
    """A name that one side alone knows would be nil, which is silent."""
    sent: dict[str, set[str]] = {name: set() for name in SCRIPTS}
    for name, named in calls():
        sent[name] |= named
    assert sent == {name: read_by_lua(name) for name in SCRIPTS}


@pytest.mark.parametrize("name", SCRIPTS)
def test_head_of_script_lists_its_arguments(name: str) -> None:
    assert documented(name) == read_by_lua(name)
    assert "KEYS[1]" in lua_text(name).split("\n\n")[0]


def test_each_file_is_a_script() -> None:
    assert {path.stem for path in LUA.glob("*.lua")} == {*SCRIPTS, "_shared"}


def test_accept_arguments_has_the_names_that_are_compared() -> None:
    from cordboard.contract.launch import Launch

    launch = Launch("a", "webrtc:a", epoch=1)
    assert set(accept_arguments(launch, "token", queue_max=1, limit_sets=[])) == ACCEPT
