"""Arguments that several commands have, and the action of options that take one value."""

import argparse
from collections.abc import Sequence
from typing import Any, Final

from cordboard.contract.errors import UsageError

_PERIOD_MAX_S: Final = 3600  # beyond the grace period of any supervisor


class SingleValue(argparse.Action):
    """Stores the value of an option, and refuses a second value that differs.

    argparse itself would let the last value replace the first. In a query this would answer another
    question than the one that the user meant to ask.
    """

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store ``values``.

        Raises:
            UsageError: The option was given before with another value.
        """
        given = vars(namespace).setdefault("given", {})
        if option_string is not None and given.setdefault(self.dest, values) != values:
            raise UsageError(
                f"{option_string} is given twice: {given[self.dest]} and {values}.",
                hint="Leave one of them out.",
            )
        setattr(namespace, self.dest, values)


def refuse_repeats(parser: argparse.ArgumentParser) -> None:
    """Use `SingleValue` for all options with one value that are added to ``parser`` from now on."""
    # argparse looks the class of an action up by name; options without one have the name None.
    parser.register("action", None, SingleValue)
    parser.register("action", "store", SingleValue)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` to ``parser``."""
    parser.add_argument(
        "--config", metavar="FILE", help="settings file (default: ./cordboard.toml)"
    )


def add_listener(parser: argparse.ArgumentParser, port: int, *, purpose: str = "") -> None:
    """Add ``--host`` and ``--port`` to ``parser``.

    Args:
        parser: The parser of a command that serves HTTP.
        port: The default port.
        purpose: What the port serves, if it is not the command's main purpose.
    """
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=port,
        help=f"port to listen on{purpose}; 0 for any free port (default: %(default)s)",
    )


def add_lame_duck(parser: argparse.ArgumentParser) -> None:
    """Add ``--lame-duck`` to ``parser``."""
    parser.add_argument(
        "--lame-duck",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="go on accepting connections for so long after SIGTERM, until load balancers have noticed; "
        "5 in a cluster (default: 0)",
    )


def _seconds(text: str) -> float:
    """Return a number of seconds, 0 or more.

    Raises:
        argparse.ArgumentTypeError: ``text`` is anything else.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _PERIOD_MAX_S:  # false for a NaN as well
        raise argparse.ArgumentTypeError(
            f"expected seconds from 0 to {_PERIOD_MAX_S}, got {text!r}"
        )
    return seconds


def add_bots(parser: argparse.ArgumentParser, description: str) -> None:
    """Add ``--bot``, which may be repeated, to ``parser``.

    Args:
        parser: The command's parser.
        description: The text of the help.
    """
    parser.add_argument(
        "--bot", action="append", default=[], metavar="[NAME=]FILE", help=description
    )


def add_reload(parser: argparse.ArgumentParser) -> None:
    """Add ``--reload`` to ``parser``."""
    parser.add_argument(
        "--reload",
        action="store_true",
        help="load the bot files again when they, modules beside them or their .env change; calls "
        "that run go on with the earlier version",
    )


def bot_arguments(arguments: Sequence[str] | None, configured: str) -> tuple[str, ...]:
    """Return the arguments of the bot files.

    Args:
        arguments: Those after ``--`` on the command line; None if there is no ``--``.
        configured: The setting ``bot_arguments``.

    Raises:
        UsageError: The setting is not a list of words of a shell.
    """
    import shlex

    if arguments is not None:
        return tuple(arguments)
    try:
        return tuple(shlex.split(configured))
    except ValueError as error:
        raise UsageError(
            f"bot_arguments {configured!r}: {error}.", hint="Close the quotes, as in a shell."
        ) from error


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--output`` to ``parser``."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("pretty", "json"),
        default="pretty",
        help="format of the output (default: %(default)s)",
    )


def add_window(parser: argparse.ArgumentParser) -> None:
    """Add the options of a window of time to ``parser``."""
    group = parser.add_argument_group("window (default: all lines)")
    group.add_argument("-t", "--time", metavar="DURATION", help="the last DURATION")
    group.add_argument("--since", metavar="TIME", help="from TIME on")
    group.add_argument("--until", metavar="TIME", help="up to TIME")
    group.add_argument(
        "--around", metavar="TIME", help="one minute before and after TIME, or -t DURATION"
    )


def check_positive(option: str, number: int | None) -> None:
    """Check the value of an option.

    Args:
        option: The option's name.
        number: Its value; None if it was not given.

    Raises:
        UsageError: The number is below 1.
    """
    if number is not None and number < 1:
        raise UsageError(f"{option} {number}: expected a number above 0.")
