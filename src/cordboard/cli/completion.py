"""``cordboard completion``: print a shell's completion script, built from the commands' parsers."""

import argparse
import sys
from collections.abc import Iterator
from typing import Final

_SHELLS: Final = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  source <(cordboard completion bash)                                      for the current shell
  cordboard completion bash > ~/.local/share/bash-completion/completions/cordboard
  cordboard completion zsh > ~/.zfunc/_cordboard                           with ~/.zfunc in $fpath
  cordboard completion fish > ~/.config/fish/completions/cordboard.fish
"""
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Print the script for the shell in ``args``; return the exit status."""
    import shtab

    from cordboard.cli import build_parser

    parser = build_parser()
    for action in _actions(parser):
        if "FILE" in str(action.metavar):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads this attribute
        elif "DIR" in str(action.metavar):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(parser, args.shell) + "\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every argument of every command.

    argparse has no public way to list them; shtab itself reads the same attribute, which Python 3.11 to
    3.14 have (``test_options_for_files_complete_files``).
    """
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action.choices, dict):
            for subparser in action.choices.values():
                yield from _actions(subparser)
        else:
            yield action
