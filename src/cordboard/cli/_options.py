"""Options that take one value: a second, different value is an error and replaces nothing."""

import argparse
from typing import Any

from cordboard.contract.errors import UsageError


class SingleValue(argparse.Action):
    """Stores a value, and refuses a second one that differs."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Take the value.

        Raises:
            UsageError: It was given before with another value.
        """
        given = vars(namespace).setdefault("given", {})
        if option_string is not None and given.setdefault(self.dest, values) != values:
            raise UsageError(
                f"{option_string} is given twice: {given[self.dest]} and {values}.",
                hint="Leave one of them out.",
            )
        setattr(namespace, self.dest, values)


def reject_repeats(parser: argparse.ArgumentParser) -> None:
    """Let all options of a parser that take one value and are declared from now on do so."""
    parser.register("action", None, SingleValue)
    parser.register("action", "store", SingleValue)
