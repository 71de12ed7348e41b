"""What `bot()` gets: Pipecat's classes or Pipecat Cloud's, and the command line of Pipecat's runner."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pipecat.runner.types as pipecat_types
import pipecatcloud.agent as cloud_types
import pytest
from pipecat.runner import run
from starlette.websockets import WebSocket

from cordboard.contract.errors import BotFileError
from cordboard.contract.launch import Launch
from cordboard.runner import session_arguments
from cordboard.runner.bot_arguments import BotConnection, runner_arguments
from cordboard.runner.cli_arguments import PIPECAT_DEFAULTS, cli_arguments


async def nothing(*_args: Any) -> Any:
    """Be the functions of a WebSocket that nobody uses."""


def stream(query: str = "") -> BotConnection:
    """The connection of a bot with a stream, whose peer opened it with a query."""
    scope = {"type": "websocket", "headers": [], "query_string": query.encode()}
    return BotConnection(websocket=WebSocket(scope, nothing, nothing))


ROOMS = {
    "webrtc:demo": ("SmallWebRTC", BotConnection(peer=object())),
    "https://acme.daily.co/demo": ("Daily", BotConnection()),
    "phone:twilio:CA1": ("WebSocket", stream()),
    "ws:demo": ("WebSocket", stream()),
    "https://rooms.example/1": ("Pipecat", BotConnection()),
}
OWN = """
import argparse
{top}
async def bot(args): ...
print(__name__)
if __name__ == "__main__":
    {inner}
    parser = argparse.ArgumentParser()
    parser.add_argument("--voice", default="alto")
    parser.add_argument("--count", type=int{required})
    main(parser)
"""


def arguments_of(room: str, connection: BotConnection) -> pipecat_types.RunnerArguments:
    """The argument of a bot in a room."""
    return runner_arguments(Launch("s-1", room, epoch=3, body={"a": 1}), connection)


def test_body_without_fields_of_the_caller_is_false() -> None:
    """Pipecat's examples take their defaults `if not runner_args.body`; the other fields are there nevertheless."""
    bodies = [
        runner_arguments(Launch("s-1", "webrtc:demo", epoch=3, body=body), connection).body
        for body, connection in [
            ({}, BotConnection(peer=object())),
            ({"a": 1}, BotConnection(peer=object())),
            ({}, BotConnection(peer=object(), request_data={"b": 2})),
        ]
    ]
    assert [bool(body) for body in bodies] == [False, True, True]
    assert json.loads(json.dumps(bodies[0])) == bodies[0]
    assert bodies[0]["session_id"] == "s-1"
    bodies[0]["context"] = []
    assert not bodies[0]


@pytest.mark.parametrize(
    ("room", "query", "transport"),
    [("phone:twilio:CA1", "", None), ("ws:demo", "", "websocket"), ("ws:demo", "detect=1", None)],
)
def test_transport_of_a_stream(room: str, query: str, transport: str | None) -> None:
    """None where Pipecat detects it from the first messages."""
    given = arguments_of(room, stream(query))
    assert isinstance(given, pipecat_types.WebSocketRunnerArguments)
    assert given.transport_type == transport


@pytest.mark.parametrize("room", ROOMS)
def test_argument_is_of_both_families(room: str) -> None:
    """`isinstance` holds for Pipecat's class and for Pipecat Cloud's."""
    kind, connection = ROOMS[room]
    given = arguments_of(room, connection)
    own_name = "RunnerArguments" if kind == "Pipecat" else f"{kind}RunnerArguments"
    assert type(given) is getattr(cloud_types, f"{kind}SessionArguments")
    assert isinstance(given, getattr(pipecat_types, own_name))
    assert isinstance(given, cloud_types.SessionArguments)
    assert given.session_id == "s-1"


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("module", [None, ModuleType("pipecatcloud.agent")])
def test_argument_is_pipecats_without_pipecatcloud(
    monkeypatch: pytest.MonkeyPatch, room: str, module: ModuleType | None
) -> None:
    """Also with a release of it whose classes are not Pipecat's."""
    monkeypatch.setattr(session_arguments, "agent_module", lambda: module)
    kind, connection = ROOMS[room]
    own_name = "RunnerArguments" if kind == "Pipecat" else f"{kind}RunnerArguments"
    assert type(arguments_of(room, connection)) is getattr(pipecat_types, own_name)


def test_missing_pipecatcloud_is_no_error() -> None:
    """The runner does not need it."""
    script = (
        "import sys; sys.modules['pipecatcloud'] = None\n"
        "from cordboard.runner.session_arguments import argument_class\n"
        "from pipecat.runner.types import RunnerArguments\n"
        "assert argument_class(RunnerArguments) is RunnerArguments\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_defaults_are_those_of_pipecat_cloud() -> None:
    """The host handles signals, and an idle pipeline ends after five minutes."""
    given = arguments_of("webrtc:demo", BotConnection())
    assert not given.handle_sigint
    assert not given.handle_sigterm
    assert given.pipeline_idle_timeout_secs == 300
    assert given.body == {
        "a": 1,
        "room_url": "webrtc:demo",
        "session_id": "s-1",
        "epoch": 3,
        "attempt": 1,
    }


def write(directory: Path, **parts: str) -> tuple[ModuleType, Path]:
    """Write a bot file and run it as a runner does; return its module and its path."""
    path = directory / "bot.py"
    values = {"top": "", "inner": "from pipecat.runner.run import main", "required": "", **parts}
    path.write_text(parts.get("text") or OWN.format(**values))
    module = ModuleType("__mp_main__")
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    return module, path


def parse(directory: Path, *arguments: str, **parts: str) -> argparse.Namespace:
    """The namespace for a bot file."""
    return cli_arguments(*write(directory, **parts), arguments)


def test_namespace_has_the_defaults_of_the_installed_pipecat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot file without arguments gets them without the import of Pipecat's runner."""
    for name in ("PIPECAT_UPLOADS_FOLDER", "PIPECAT_WEBSOCKET_AUTH", "PIPECAT_ICE_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    plain = "async def bot(args): ...\nif __name__ == '__main__':\n    main()\n"
    assert vars(parse(tmp_path, text=plain)) == PIPECAT_DEFAULTS
    assert vars(parse(tmp_path, "--verbose", text=plain)) == PIPECAT_DEFAULTS | {"verbose": 1}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"top": "from pipecat.runner.run import main", "inner": "pass"},
        {"inner": "from pipecat.runner import run; main = run.main"},
    ],
)
def test_own_arguments_of_a_bot_file_are_parsed(tmp_path: Path, parts: dict[str, str]) -> None:
    """With their defaults; Pipecat's function is as before afterwards."""
    original = run.main
    assert parse(tmp_path, **parts).voice == "alto"
    namespace = parse(tmp_path, "--voice", "bass", "-t", "daily", "--count", "3", **parts)
    assert (namespace.voice, namespace.count, namespace.transport) == ("bass", 3, "daily")
    assert namespace.port == 7860
    assert run.main is original


@pytest.mark.parametrize(
    ("arguments", "required", "said"),
    [
        (["--nothing"], "", "bot.py: unrecognized arguments: --nothing."),
        (["--count", "x"], "", "bot.py: argument --count: invalid int value: 'x'."),
        ([], ", required=True", "bot.py: the following arguments are required: --count."),
    ],
)
def test_arguments_that_do_not_fit_are_an_error(
    tmp_path: Path, arguments: list[str], required: str, said: str
) -> None:
    """With the words of `argparse`, and with the form of the command."""
    with pytest.raises(BotFileError) as caught:
        parse(tmp_path, *arguments, required=required)
    assert caught.value.message.endswith(said)
    assert "cordboard up --bot FILE -- --NAME VALUE" in caught.value.hint


def test_error_of_the_lines_before_main_is_reported(tmp_path: Path) -> None:
    """The bot could not run without them under Python either."""
    with pytest.raises(BotFileError, match="cannot run: ZeroDivisionError"):
        parse(tmp_path, inner="from pipecat.runner.run import main; 1 / 0")


def test_lines_that_do_not_call_main_with_a_parser_do_not_run(tmp_path: Path) -> None:
    """They may start anything."""
    text: Any = "async def bot(args): ...\nif __name__ == '__main__':\n    1 / 0\n    main()\n"
    assert parse(tmp_path, text=text).port == 7860
