"""The file ``.env`` beside a bot file, whose variables the bot gets as from ``load_dotenv()``."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cordboard.contract.errors import BotFileError
from cordboard.emit import get_logger
from cordboard.environment import BOT_VARIABLES, INTERNAL, SECRET_VARIABLES

ENV_FILE: Final = ".env"

# A bot never gets these, wherever they are set: who has the control secret controls all calls. All other
# variables in the file are the bot's own, also those that Cordboard reads elsewhere, such as REDIS_URL.
_WITHHELD: Final = frozenset({*SECRET_VARIABLES, *INTERNAL} - {*BOT_VARIABLES})

# Pipecat's runner for development sets ENV to this, and official bots import Krisp where it has another
# value: Krisp is part of Pipecat Cloud.
_ENV_NAME: Final = "ENV"
_ENV_LOCAL: Final = "local"
_KRISP_MODULE: Final = "krisp_audio"

log = get_logger("runner")


def environment_file(bot_file: Path) -> Path | None:
    """Return the file ``.env`` in the directory of `bot_file`; None if there is none."""
    path = bot_file.parent / ENV_FILE
    return path if path.is_file() else None


def read_environment_file(path: Path) -> dict[str, str]:
    """Return the variables in a file, with ``${NAME}`` replaced as ``load_dotenv()`` does.

    Args:
        path: The file.

    Raises:
        BotFileError: The file cannot be read, is not UTF-8, or has a line that is no assignment.
    """
    # Here and not above: only machines that run bots have this package.
    from dotenv.main import DotEnv
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8") as stream:
            invalid = next((item for item in parse_stream(stream) if item.error), None)
    except OSError as error:
        raise BotFileError(f"Environment file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BotFileError(
            f"Environment file {path}: byte {error.start} is not UTF-8.",
            hint="Save the file as UTF-8.",
        ) from error
    if invalid is not None:
        # Without the text of the line, which may be a secret.
        raise BotFileError(
            f"Environment file {path}, line {_line_of(*invalid.original)}: expected NAME=VALUE.",
            hint="Close quotes on the same line, and begin comments with #.",
        )
    values = DotEnv(path, encoding="utf-8", override=False).dict()
    return {name: value for name, value in values.items() if value is not None}


def check_environment_file(bot_file: Path) -> None:
    """Check the file ``.env`` beside a bot file, if there is one.

    Args:
        bot_file: The bot file.

    Raises:
        BotFileError: As for ``read_environment_file``.
    """
    path = environment_file(bot_file)
    if path is not None:
        read_environment_file(path)


def report_environment_file(bot_file: Path) -> None:
    """Check the file ``.env`` beside a bot file, if there is one, and log how many variables it sets.

    Args:
        bot_file: The bot file.

    Raises:
        BotFileError: As for ``read_environment_file``.
    """
    path = environment_file(bot_file)
    if path is None:
        return
    variables = read_environment_file(path)
    log.info("Environment file read for the bot", file=str(path), variables=len(variables))
    withheld = sorted(_WITHHELD & variables.keys())
    if withheld:
        log.warning(
            "Variables in the bot's environment file are not for bots and are left out",
            file=str(path),
            names=withheld,
        )


def set_environment(bot_file: Path) -> None:
    """Set the variables of a bot in this process, before its file is imported.

    Variables that are set already keep their values.

    Args:
        bot_file: The bot file.

    Raises:
        BotFileError: As for ``read_environment_file``.
    """
    path = environment_file(bot_file)
    if path is not None:
        _set_missing(read_environment_file(path))
    if find_spec(_KRISP_MODULE) is None:
        os.environ.setdefault(_ENV_NAME, _ENV_LOCAL)


def _set_missing(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if name not in _WITHHELD:
            os.environ.setdefault(name, value)


def _line_of(statement: str, line: int) -> int:
    """Return the number of the line on which a statement stands, after the empty lines before it.

    Args:
        statement: Its text, with the empty lines.
        line: The number of its first line.
    """
    return line + len(statement) - len(statement.lstrip("\n"))
