"""Load a bot file: a Python file with ``async def bot(runner_args)``, the convention of Pipecat."""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from cordboard.contract.errors import BotFileError, UsageError
from cordboard.contract.ids import is_bot_name
from cordboard.runner.install_hints import import_error_hint
from cordboard.runner.pipecatcloud_system import provide_system_module

Bot = Callable[[Any], Awaitable[Any]]

# How long a runner waits until its bot files are imported. Bot files load models at import, which takes
# tens of seconds from a cold disk; one that takes longer is more likely to hang.
LOAD_TIMEOUT_S: Final = 120.0

BUILT_IN_BOT: Final = str(files("cordboard.bots").joinpath("parrot.py"))


def load_bot(name: str, file: str) -> Bot:
    """Import a bot file and return its ``bot``.

    Args:
        name: The bot's name; the module is ``cordboard_bot_NAME``.
        file: The bot file. Its directory becomes the first entry of the module path, as when Python runs
            the file.

    Raises:
        BotFileError: The file does not exist, is a directory, raises when it is imported, or has no ``bot``.
    """
    check_bot_file(file)
    provide_system_module()
    bot = getattr(_import(name, Path(file).resolve()), "bot", None)
    if not inspect.iscoroutinefunction(bot):
        raise BotFileError(
            f"Bot file {file} has no `async def bot(runner_args)`.",
            hint="Add one; it is the convention of Pipecat's runner.",
        )
    return bot


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
        The built-in bot as ``default`` if neither names a bot.

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
    return {name: str(Path(file).resolve()) for name, file in bots.items()}


def _import(name: str, path: Path) -> ModuleType:
    directory = str(path.parent)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    module_name = f"cordboard_bot_{name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BotFileError(f"Bot file {path} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with _as_main_file(path):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _import_error(path, error) from error
    return module


@contextlib.contextmanager
def _as_main_file(path: Path) -> Iterator[None]:
    """Set ``__main__.__file__`` to the bot file during its import, as when Python runs the file.

    ``load_dotenv`` looks for ``.env`` beside the file of its caller only in such a process. After the
    import the attribute goes again: processes that the bot starts with ``multiprocessing`` would import
    the bot file a second time because of it.
    """
    main = sys.modules["__main__"]
    if hasattr(main, "__file__"):
        yield
        return
    main.__file__ = str(path)
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError):
            del main.__file__


def _import_error(path: Path, error: BaseException) -> BotFileError:
    return BotFileError(
        f"Bot file {path}{_line_clause(error, path)} cannot be imported: "
        f"{type(error).__name__}: {error}.",
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
