"""``cordboard completion``: what a shell needs to complete our commands, from the real parsers."""

import argparse
import sys
from collections.abc import Iterator
from typing import Final

_SHELLS: Final = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = """\
examples:
  source <(cordboard completion bash)                                      this bash, now
  cordboard completion bash > ~/.local/share/bash-completion/completions/cordboard
  cordboard completion zsh > ~/.zfunc/_cordboard                           with ~/.zfunc in $fpath
  cordboard completion fish > ~/.config/fish/completions/cordboard.fish
"""
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from cordboard.cli import build_parser

    parser = build_parser()
    for action in _actions(parser):
        if "FILE" in str(action.metavar):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif "DIR" in str(action.metavar):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(parser, args.shell) + "\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every argument of every command."""
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for sub in set(action.choices.values()):
                yield from _actions(sub)
        else:
            yield action
