"""The command line: parse the arguments, check them, load the settings, run the command.

Each command is a module of this package whose name has no underscore. It is imported only when it runs
(``_startup.py`` says what that gains).
"""

import argparse
import errno
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, cast

from cordboard import __version__
from cordboard.cli import _startup
from cordboard.contract import extras
from cordboard.contract.errors import CordboardError

COMMANDS: Final[dict[str, str]] = {
    "up": "run everything on this machine: Valkey, gateway, operator, a runner, interface, edge",
    "call": "make a call from the terminal, without a browser",
    "logs": "print all lines of a session, or of a window, in time order",
    "why": "tell why a call broke, with the lines that prove it",
    "sessions": "list sessions, or show one session and its stages",
    "doctor": "check configuration, Redis, the cluster and the bot file, and suggest fixes",
    "gateway": "run a gateway, which accepts joins over HTTP",
    "operator": "run an operator, which hands accepted joins to runners",
    "runner": "run a runner, which hosts sessions, each in its own bot process",
    "interface": "run the interface, the web application for people",
    "edge": "run an edge, the public ways in: carriers, WebSockets, Pipecat's clients",
    "completion": "print the completion script for a shell",
}
"""Each command with its summary, in the order of --help and of docs/cli.md."""

EXTRAS: Final[dict[str, str]] = {
    "up": "local",
    "call": "bots",
    "gateway": "serve",
    "operator": "serve",
    "runner": "bots",
    "interface": "serve",
    "edge": "serve",
}
"""The extra of the package that a command needs; the others need none."""

EXIT_INTERRUPTED: Final = 130  # as shells report SIGINT: 128 + 2
EXIT_OUTPUT_CLOSED: Final = 1

_STDOUT: Final = 1
# Commands that end soon, need no garbage collection, and register nothing with atexit.
_SHORT: Final = ("logs", "why", "completion")
# Commands that pass what follows `--` to bot files.
_BOT_COMMANDS: Final = ("up", "runner")
# A full disk, quota or file size limit, or a broken disk: the user can fix it, so no traceback.
_WRITE_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

_PARSER_OPTIONS: Final[dict[str, Any]] = {
    "formatter_class": _startup.help_formatter,
    "allow_abbrev": False,
}

_EPILOG: Final = """\
examples:
  cordboard up                                  then open the address that it prints
  cordboard up --bot my_bot.py                  the same with your own Pipecat bot
  cordboard logs --local --session ID           all lines of one call
  cordboard why ID                              why this call broke
  cordboard call webrtc:demo                    a call without a browser

`cordboard COMMAND --help` has more examples.
"""


class CommandModule(Protocol):
    """The interface of a command's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments to ``parser``, and set its epilog."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command with the parsed ``args``; return the exit status."""


def console() -> int:
    """Run the command line as a process of its own; return its exit status."""
    _startup.prepare()
    status = main()
    is_short = bool(sys.argv[1:]) and sys.argv[1] in _SHORT
    return _startup.finish(status, has_exit_handlers=not is_short)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status.

    Args:
        argv: The arguments without the program's name; by default those of this process.
    """
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except CordboardError as error:
        return report(error)
    except BrokenPipeError:
        # The reader of stdout ended. A message would be noise: `cordboard logs | head` is common.
        sys.stderr.close()
        return EXIT_OUTPUT_CLOSED
    except OSError as error:
        if error.errno not in _WRITE_ERRORS:
            raise
        # Discard the rest, or the interpreter would try to write it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
        target = error.filename or "the output"
        return report(CordboardError(f"Cannot write {target}: {error.strerror}."))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def report(error: CordboardError) -> int:
    """Print ``error`` and its hint on stderr; return its exit status."""
    sys.stderr.write(f"cordboard: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"  {error.hint}\n")
    return error.exit_code


def build_parser() -> argparse.ArgumentParser:
    """Return a parser with the arguments of all commands, for documentation and completion."""
    parser = _root_parser()
    for name, subparser in _add_commands(parser):
        load(name).add_arguments(subparser)
    return parser


def load(name: str) -> CommandModule:
    """Import and return the module of the command ``name``."""
    return cast("CommandModule", import_module(f"cordboard.cli.{name}"))


def _root_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cordboard",
        description="Run voice bots in rooms, and read all lines of any call with one command.",
        epilog=_EPILOG,
        **_PARSER_OPTIONS,
    )
    parser.add_argument("--version", action="version", version=f"cordboard {__version__}")
    return parser


def _add_commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Add each command to ``parser``; yield its name and its parser, which has no arguments yet."""
    commands = parser.add_subparsers(
        prog="cordboard", dest="command", metavar="COMMAND", title="commands"
    )
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=summary, description=as_sentence(summary), **_PARSER_OPTIONS
        )
        yield name, subparser


def as_sentence(summary: str) -> str:
    """Return a command's ``summary`` with a capital letter and a full stop."""
    return summary[0].upper() + summary[1:] + "."


def _dispatch(arguments: list[str]) -> int:
    if arguments and arguments[0] in COMMANDS:
        return _run(arguments[0], arguments[1:])
    # --help, --version, or an unknown command.
    parser = _root_parser()
    for _ in _add_commands(parser):
        pass
    parser.parse_args(arguments)
    parser.print_help()
    return 0


def _run(name: str, arguments: list[str]) -> int:
    """Run one command, with a parser of its own: it needs no other command's arguments."""
    parser = argparse.ArgumentParser(
        prog=f"cordboard {name}", description=as_sentence(COMMANDS[name]), **_PARSER_OPTIONS
    )
    command = load(name)
    command.add_arguments(parser)
    bot_arguments = None
    if name in _BOT_COMMANDS and "--" in arguments:
        end = arguments.index("--")
        arguments, bot_arguments = arguments[:end], arguments[end + 1 :]
    args = parser.parse_args(arguments, argparse.Namespace(bot_arguments=bot_arguments))
    if name not in _SHORT:
        _protect_secrets()
        gc.enable()
    if name in EXTRAS:
        extras.require(EXTRAS[name], f"cordboard {name}")
    try:
        status = command.run(args)
    except ModuleNotFoundError as error:
        missing = extras.missing_extra(error, EXTRAS.get(name, ""), f"cordboard {name}")
        if missing is None:
            raise
        raise missing from error
    sys.stdout.flush()  # here, so that main() reports an error
    return status


def _protect_secrets() -> None:
    """Hide this process's memory and environment from other processes of this user."""
    from cordboard.environment import is_inspection_allowed
    from cordboard.processes import disable_inspection

    if not is_inspection_allowed():
        disable_inspection()
