"""``runner_args.cli_args``: the command line of Pipecat's runner for development, and of the bot file itself.

A bot file that has its own arguments passes an ``argparse`` parser to ``pipecat.runner.run.main`` below
``if __name__ == "__main__"``. Only in such a file these lines run, up to that call.
"""

import argparse
import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NoReturn

from cordboard.contract.errors import BotFileError

# What `pipecat.runner.run` has for a command line without arguments; a test compares both. Importing that
# module takes 0.2 s and reads a `.env`, so it is left to bot files that need its parser.
PIPECAT_DEFAULTS: Final[dict[str, Any]] = {
    "host": "localhost",
    "port": 7860,
    "transport": None,
    "proxy": None,
    "direct": False,
    "downloads_folder": None,
    "uploads_folder": None,
    "uploads_folder_max_files": 10,
    "runner_body": None,
    "verbose": 0,
    "dialin": True,
    "esp32": False,
    "whatsapp": False,
    "ws_auth": "none",
    "ice_servers": None,
    "allowed_origins": [],
    "moq_connect": None,
    "moq_bind": None,
    "moq_serve": None,
    "moq_namespace": None,
    "moq_bot_id": "response",
    "moq_client_id": "request",
    "moq_tls_cert": None,
    "moq_tls_key": None,
    "moq_tls_insecure": False,
    "moq_tls_generate": None,
}


class _ParsedError(BaseException):
    """Leaves Pipecat's ``main`` once it has parsed the command line; no ``except Exception`` catches it.

    Attributes:
        namespace: The result.
    """

    def __init__(self, namespace: argparse.Namespace) -> None:
        super().__init__()
        self.namespace = namespace


class _UsageError(BaseException):
    """The command line does not fit the parser; ``argparse`` itself would end the process."""


class _GuardLoader(SourceFileLoader):
    """Runs lines of a bot file in its module.

    Args:
        guard: The lines.
        path: The bot file.
    """

    def __init__(self, guard: ast.Module, path: Path) -> None:
        super().__init__("", str(path))
        self._guard = guard

    def get_code(self, _fullname: str) -> CodeType:
        """Return the code of the lines."""
        code: CodeType = compile(self._guard, self.path, "exec", dont_inherit=True)
        return code


def cli_arguments(
    module: ModuleType, path: Path, arguments: Sequence[str] = ()
) -> argparse.Namespace:
    """Return the namespace that ``main`` of Pipecat would make for a bot file.

    Args:
        module: The module of the bot file.
        path: The bot file.
        arguments: The arguments of the bot file.

    Raises:
        BotFileError: The arguments do not fit the bot file, or its lines before ``main`` raise.
    """
    guard = _guard_with_parser(path)
    if guard is None and not arguments:
        return argparse.Namespace(**PIPECAT_DEFAULTS)
    from pipecat.runner import run

    original = run.main
    main = _parsing_main(original, path, arguments)
    try:
        if guard is not None:
            with _replaced(run, original, main), _replaced(module, original, main):
                _GuardLoader(guard, path).exec_module(module)
        main()  # these lines did not call it
    except _ParsedError as parsed:
        return parsed.namespace
    except _UsageError as error:
        raise BotFileError(
            f"Bot file {path}: {error}.",
            hint="Arguments of the bot file follow two dashes: cordboard up --bot FILE -- --NAME VALUE",
        ) from None
    except (Exception, SystemExit) as error:
        raise BotFileError(
            f'Bot file {path}: the lines below `if __name__ == "__main__"` cannot run: '
            f"{type(error).__name__}: {error}.",
            hint="They run because they pass a parser to Pipecat's main().",
        ) from error


def _guard_with_parser(path: Path) -> ast.Module | None:
    """Return the lines below ``if __name__ == "__main__"`` if they call ``main`` with a parser."""
    for node in ast.parse(path.read_bytes()).body:
        if not isinstance(node, ast.If) or not _is_main_guard(node.test):
            continue
        calls = [item for item in ast.walk(node) if isinstance(item, ast.Call)]
        if any(_is_main(call.func) and (call.args or call.keywords) for call in calls):
            return ast.Module(node.body, type_ignores=[])
    return None


def _is_main_guard(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _is_main(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else None
    return (function.id if isinstance(function, ast.Name) else name) == "main"


def _parsing_main(
    original: Callable[..., Any], path: Path, arguments: Sequence[str]
) -> Callable[..., NoReturn]:
    """Return a function that adds Pipecat's arguments to a parser as `original` does, and only parses."""

    def main(parser: argparse.ArgumentParser | None = None) -> NoReturn:
        parser = parser or argparse.ArgumentParser(prog=path.name)
        parse = parser.parse_args

        def parse_args(*_: object) -> NoReturn:
            raise _ParsedError(parse([*arguments]))

        def refuse(message: str) -> NoReturn:
            raise _UsageError(message)

        vars(parser).update(parse_args=parse_args, error=refuse)
        original(parser)
        raise _UsageError("Pipecat's main() did not parse the command line")

    return main


@contextmanager
def _replaced(
    module: ModuleType, function: Callable[..., Any], other: Callable[..., Any]
) -> Iterator[None]:
    """Replace a function by another in the names of a module inside the block."""
    names = [name for name, value in vars(module).items() if value is function]
    vars(module).update(dict.fromkeys(names, other))
    try:
        yield
    finally:
        vars(module).update(dict.fromkeys(names, function))
