"""Load a bot file: a Python file with ``async def bot(runner_args)``, the convention of Pipecat."""

import ast
import functools
import inspect
import os
import traceback
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from cordboard.contract.errors import BotFileError, UsageError
from cordboard.contract.ids import is_bot_name
from cordboard.runner.bot_environment import set_environment
from cordboard.runner.cli_arguments import cli_arguments
from cordboard.runner.install_hints import import_error_hint
from cordboard.runner.main_module import run_as_main
from cordboard.runner.pipecatcloud_system import provide_system_module

Bot = Callable[[Any], Awaitable[Any]]

# How long a runner waits until its bot files are imported. Bot files load models at import, which takes
# tens of seconds from a cold disk; one that takes longer is more likely to hang.
LOAD_TIMEOUT_S: Final = 120.0

# A virtual environment beside the bot file has its packages in such a folder.
_PACKAGE_FOLDERS: Final = frozenset({"dist-packages", "site-packages"})

BUILT_IN_BOT: Final = str(files("cordboard.bots").joinpath("parrot.py"))


def load_bot(file: str, arguments: Sequence[str] = ()) -> Bot:
    """Run a bot file as this process's main module, and return its ``bot``.

    Args:
        file: The bot file.
        arguments: The arguments of the bot file.

    Raises:
        BotFileError: The file does not exist, is a directory, raises when it is imported, or has no ``bot``
            that returns an awaitable.
    """
    check_bot_file(file)
    path = Path(_absolute(file))
    set_environment(path)
    provide_system_module()
    try:
        module = run_as_main(path)
    except (Exception, SystemExit) as error:
        raise _import_error(path, error) from error
    bot = getattr(module, "bot", None)
    if not callable(bot) or _lacks_async(bot, path):
        raise BotFileError(
            f"Bot file {file} has no `async def bot(runner_args)`.",
            hint="Add one; it is the convention of Pipecat's runner.",
        )
    return functools.partial(_call, bot, cli_arguments(module, path, arguments))


async def _call(bot: Callable[[Any], Any], cli_args: Namespace, runner_args: Any) -> Any:
    """Call `bot`, which may be no coroutine function, for example a decorated one; await its result."""
    runner_args.cli_args = cli_args
    result = bot(runner_args)
    if not inspect.isawaitable(result):
        raise TypeError(
            f"bot() returned {type(result).__name__}, expected an awaitable: "
            "write `async def bot(runner_args)`"
        )
    return await result


def _lacks_async(bot: Callable[..., Any], path: Path) -> bool:
    """Return whether `bot` is a plain function of the file at `path` that returns no value."""
    if not isinstance(bot, FunctionType):
        return False
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name == "bot"
        and node.lineno == bot.__code__.co_firstlineno  # else it has been replaced since
        and not any(isinstance(inner, ast.Return) and inner.value for inner in ast.walk(node))
        for node in ast.parse(path.read_bytes()).body
    )


def check_bot_file(file: str) -> None:
    """Check that the bot file `file` exists and is Python, without importing it.

    Raises:
        BotFileError: The file does not exist, is a directory, or has a syntax error.
    """
    path = Path(file)
    if path.is_dir():
        raise BotFileError(
            f"Bot file {file}: this is a directory.",
            hint=f"Name the Python file in it: --bot {path / 'bot.py'}",
        )
    if not path.is_file():
        raise BotFileError(
            f"Bot file {file}: there is no such file.", hint="Check the path given to --bot."
        )
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise _import_error(path, error) from error


def parse_bot_options(options: Sequence[str], configured: Mapping[str, str]) -> dict[str, str]:
    """Return the bot files of a runner, by the bots' names.

    Args:
        options: The values of ``--bot``, ``[NAME=]FILE``; they take precedence over `configured`.
        configured: The table ``[bots]`` of the settings.

    Returns:
        The built-in bot as ``default`` if neither names a bot. The paths are absolute; links in them are not
        resolved, because what they lead to may be replaced, as in a Kubernetes ConfigMap.

    Raises:
        UsageError: A name is empty, invalid or given twice.
    """
    bots = dict(configured)
    names: set[str] = set()
    for option in options:
        name, equals, file = option.partition("=")
        if not equals:
            name, file = "default", option
        if not name or not file or name in names:
            raise UsageError(f"--bot {option}: expected [NAME=]FILE, and each NAME once.")
        if not is_bot_name(name):
            raise UsageError(
                f"--bot {option}: invalid bot name {name!r}.",
                hint="Expected 1 to 64 of A-Z a-z 0-9 . _ - before the `=`.",
            )
        names.add(name)
        bots[name] = file
    if not bots:
        bots = {"default": BUILT_IN_BOT}
    return {name: _absolute(file) for name, file in bots.items()}


def _absolute(file: str) -> str:
    return os.path.normpath(Path(file).absolute())


def _import_error(path: Path, error: BaseException) -> BotFileError:
    return BotFileError(
        f"Bot file {path}{_line_clause(error, path)} cannot be imported: "
        f"{type(error).__name__}: {error}{_place_clause(error, path)}.",
        hint=import_error_hint(error, path),
    )


def _line_clause(error: BaseException, path: Path) -> str:
    """Return a clause with the last line of the bot file that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno},"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return f", line {lines[-1]}," if lines else ""


def _place_clause(error: BaseException, path: Path) -> str:
    """Return a clause with the module beside the bot file in which the error was raised; else empty."""
    frames = [
        (Path(frame.filename), frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(path.parent)
        and not _PACKAGE_FOLDERS.intersection(Path(frame.filename).parts)
    ]
    if not frames or frames[-1][0] == path:
        return ""
    file, line = frames[-1]
    return f" ({file.relative_to(path.parent)}, line {line})"
