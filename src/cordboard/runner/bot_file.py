"""Loading a bot file: a Python file with ``async def bot(runner_args)``, Pipecat's convention."""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from cordboard.contract.errors import BotFileError, UsageError
from cordboard.contract.ids import is_bot_name
from cordboard.runner.install_hints import way_out

Bot = Callable[[Any], Awaitable[Any]]

LOAD_TIMEOUT_S: Final = 120.0
"""How long a runner waits for its bot files to be imported; models are loaded there."""
PARROT: Final = str(files("cordboard.bots").joinpath("parrot.py"))


def load_bot(name: str, file: str) -> Bot:
    """Import a bot file and return its ``bot``.

    Args:
        name: The bot's name; its module is ``cordboard_bot_NAME``.
        file: The file. Its folder comes first on the module path, as when Python runs it.

    Raises:
        BotFileError: There is no such file, it is a directory, it raises when imported, or it has no ``bot``.
    """
    path = Path(file).resolve()
    check_file(file)
    bot = getattr(_imported(name, path), "bot", None)
    if not inspect.iscoroutinefunction(bot):
        raise BotFileError(
            f"Bot file {file} has no `async def bot(runner_args)`.",
            hint="Add one; it is the convention of Pipecat's runner.",
        )
    return bot


def check_file(file: str) -> None:
    """See that a bot's file is there and is Python, before anything takes time.

    Raises:
        BotFileError: There is no such file, it is a directory, or has errors of syntax.
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
        raise _not_imported(path, error) from error


def _imported(name: str, path: Path) -> Any:
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module_name = f"cordboard_bot_{name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BotFileError(f"Bot file {path} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with _as_main(path):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _not_imported(path, error) from error
    return module


@contextlib.contextmanager
def _as_main(path: Path) -> Iterator[None]:
    """Set the file of ``__main__`` to the bot's file during its import, as when Python runs it.

    `load_dotenv` looks for ``.env`` beside the file of its caller only in such a process. Not for
    longer: what the bot starts by `multiprocessing` would import it again.
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


def _not_imported(path: Path, error: BaseException) -> BotFileError:
    return BotFileError(
        f"Bot file {path}{_line(error, path)} cannot be imported: {type(error).__name__}: {error}.",
        hint=way_out(error),
    )


def _line(error: BaseException, path: Path) -> str:
    """Say the last line of the file that the error came through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno},"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return f", line {lines[-1]}," if lines else ""


def named_bots(words: Sequence[str], configured: Mapping[str, str]) -> dict[str, str]:
    """Return the bots by name: as configured, ``--bot [NAME=]FILE`` over them, else the parrot.

    Raises:
        UsageError: A name is empty, given twice, or not valid.
    """
    bots = dict(configured)
    seen: set[str] = set()
    for word in words:
        name, equals, file = word.partition("=")
        if not equals:
            name, file = "default", word
        if not name or not file or name in seen:
            raise UsageError(f"--bot {word}: [NAME=]FILE is wanted, each NAME once.")
        if not is_bot_name(name):
            raise UsageError(
                f"--bot {word}: not a valid name of a bot: {name!r}.",
                hint="Expected 1 to 64 of A-Z a-z 0-9 . _ - before the `=`.",
            )
        seen.add(name)
        bots[name] = file
    bots.setdefault("default", PARROT) if not bots else None
    return {name: str(Path(file).resolve()) for name, file in bots.items()}
