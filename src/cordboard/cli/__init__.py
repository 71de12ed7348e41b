"""The command line: parse, validate, settings, run.

Each command is one file of this package, imported only when it is the one asked for, so that
``cordboard logs --help`` costs a Python start and little more.
"""

import argparse
import errno
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from cordboard import __version__
from cordboard.contract import extras
from cordboard.contract.errors import CordboardError

if TYPE_CHECKING:
    import io

COMMANDS: Final[dict[str, str]] = {
    "up": "run everything on this machine: Valkey, gateway, operator, a runner, the interface",
    "call": "make a call from the terminal, without a browser",
    "logs": "print all lines of a session, or of a window, in time order",
    "sessions": "list sessions, or show one with its stages",
    "doctor": "check configuration, Redis, the cluster and the bot file, and say what to do",
    "gateway": "run a gateway: accepts joins over HTTP",
    "operator": "run an operator: hands accepted joins to runners",
    "runner": "run a runner: hosts sessions, each in a process of its own",
    "interface": "run the web application in front of a person",
    "completion": "print the completion script of a shell",
}
# The extra that a command needs.
EXTRAS: Final[dict[str, str]] = {
    "up": "local",
    "call": "bots",
    "gateway": "serve",
    "operator": "serve",
    "runner": "bots",
    "interface": "serve",
}
# Commands that make no garbage and leave nothing to be done at the end (atexit).
_SHORT: Final = ("logs", "completion")
_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
EXIT_INTERRUPTED: Final = 130  # what shells give for SIGINT: 128 + 2

_EPILOG: Final = """\
examples:
  cordboard up                                  then open the address that it prints
  cordboard up --bot my_bot.py                  the same with your own Pipecat bot
  cordboard logs --local --session ID           all lines of one call
  cordboard call webrtc:demo                    a call without a browser

`cordboard COMMAND --help` has more examples.
"""


# argparse's words stay English, as ours are, in all of this process: to look for others takes 1 ms.
vars(argparse)["_"] = lambda words: words
_Formatter: Final = argparse.RawDescriptionHelpFormatter


class Command(Protocol):
    """What each file of this package offers."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit status."""


class _Parser(argparse.ArgumentParser):
    """Looks at the terminal's width when it prints, not while it is built: that costs a start 2 ms."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options, formatter_class=partial(_Formatter, width=80), allow_abbrev=False
        )

    def format_usage(self) -> str:
        self.formatter_class = _Formatter
        return super().format_usage()

    def format_help(self) -> str:
        self.formatter_class = _Formatter
        return super().format_help()


def console() -> int:
    """Run the command line in a process of its own; return its exit status.

    What is loaded lives as long as the process: the collector of cycles need not look at it, neither
    now nor at the end, and nothing need be taken apart then. That is a tenth of a short query's time.
    """
    gc.disable()
    _fill_closed_streams()
    # The output may contain the name of a file that is not UTF-8.
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="surrogateescape")
    status = main()
    gc.freeze()
    if sys.argv[1:2] and sys.argv[1] in _SHORT:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return status  # what is wrong with them is told as ever
        os._exit(status)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except CordboardError as error:
        return report(error)
    except BrokenPipeError:
        # The reader of our output has gone: nobody is left to tell.
        sys.stderr.close()
        return 1
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        # What is left of it is not tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        what = error.filename or "The output"
        return report(CordboardError(f"{what} could not be written: {error.strerror}."))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fill_closed_streams() -> None:
    """Let what a shell has closed (``>&-``) lead nowhere, else the next file takes its number."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr's number
        os.set_inheritable(opened, True)
    os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - to the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above


def report(error: CordboardError) -> int:
    """Print an error as what, where and the way out; return its exit status."""
    sys.stderr.write(f"cordboard: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"  {error.hint}\n")
    return error.exit_code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with the arguments of all commands."""
    parser = _bare_parser()
    for name, sub in _add_commands(parser):
        load(name).add_arguments(sub)
    return parser


def _bare_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cordboard",
        description="Runs voice bots in rooms, and answers for every call with one command.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"cordboard {__version__}")
    return parser


def _add_commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Add each command, and yield its parser, which has no arguments yet."""
    commands = parser.add_subparsers(
        prog="cordboard", dest="command", metavar="COMMAND", title="commands"
    )
    for name, summary in COMMANDS.items():
        yield name, commands.add_parser(name, help=summary, description=_sentence(summary))


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def load(name: str) -> Command:
    """Import the file of one command."""
    return cast("Command", import_module(f"cordboard.cli.{name}"))


def _dispatch(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        return _run(words[0], words[1:])
    parser = _bare_parser()  # for --help, --version, and what is no command
    for _ in _add_commands(parser):
        pass
    parser.parse_args(words)
    parser.print_help()
    return 0


def _run(name: str, words: list[str]) -> int:
    """Run one command; the parsers of all others need not be built."""
    parser = _Parser(prog=f"cordboard {name}", description=_sentence(COMMANDS[name]))
    command = load(name)
    command.add_arguments(parser)
    args = parser.parse_args(words)
    if name not in _SHORT:
        _refuse_inspection()
        gc.enable()
    if name in EXTRAS:
        extras.require(EXTRAS[name], f"cordboard {name}")
    try:
        status = command.run(args)
    except ModuleNotFoundError as error:
        explained = extras.missing_extra(error, EXTRAS.get(name, ""), f"cordboard {name}")
        if explained is None:
            raise
        raise explained from error
    sys.stdout.flush()  # here an error of it is told in words
    return status


def _refuse_inspection() -> None:
    """Hide the secrets in this process's memory and environment from other processes of this user."""
    from cordboard.environment import is_inspection_allowed
    from cordboard.processes import disable_inspection

    if not is_inspection_allowed():
        disable_inspection()
