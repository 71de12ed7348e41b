"""``--install`` and ``--no-install``: install what the file beside a bot file requires."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cordboard.contract.errors import CordboardError
from cordboard.contract.terminal import escape_to_one_line

if TYPE_CHECKING:
    from cordboard.runner.bot_requirements import BotRequirements


class InstallError(CordboardError):
    """What a bot file requires could not be installed."""

    code = "not_installed"
    title = "A package is not installed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--install`` and ``--no-install`` to ``parser``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--install",
        action="store_true",
        default=None,
        help="install what requirements.txt or pyproject.toml beside the bot file lists and is missing "
        "(default: at a terminal, ask)",
    )
    group.add_argument(
        "--no-install", action="store_false", dest="install", help="neither install nor ask"
    )


def offer(bot_files: Iterable[str], *, install: bool | None) -> None:
    """Install what is missing of the requirements beside bot files, with the consent of the user.

    Args:
        bot_files: The bot files.
        install: The answer of the user; None to ask at a terminal, and to install nothing elsewhere.

    Raises:
        BotFileError: A file with requirements is malformed.
        InstallError: pip failed.
    """
    from cordboard.runner.bot_requirements import find_requirements

    directories = dict.fromkeys(Path(file).parent for file in bot_files)
    for directory in directories:
        requirements = find_requirements(directory / "bot.py")
        if requirements is not None and requirements.unmet:
            _offer(requirements, install=install)


def _offer(requirements: "BotRequirements", *, install: bool | None) -> None:
    from cordboard.runner.install_hints import install_command

    names = escape_to_one_line(", ".join(map(str, requirements.unmet)))
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    sys.stderr.write(
        f"cordboard: {requirements.file} lists packages that are not installed: {names}\n"
    )
    if install is None and is_terminal:
        install = _ask(f"  Install it with pip into {sys.prefix}? [y/N] ")
    if install:
        _install(requirements)
        return
    command = install_command(requirements.install_arguments)
    sys.stderr.write(f"  Not installed. To install it: {command}, or cordboard up --install\n")


def _ask(question: str) -> bool:
    """Ask the user a question; return whether the answer is yes."""
    sys.stderr.write(question)
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # the end of the input, which moves to no new line
        sys.stderr.write("\n")
    return answer.strip().lower() in {"y", "yes"}


def _install(requirements: "BotRequirements") -> None:
    """Run pip, which shows its progress on stderr."""
    from cordboard.runner.bot_requirements import own_constraints
    from cordboard.runner.install_hints import pip_command

    with tempfile.NamedTemporaryFile("w", prefix="cordboard-", suffix=".txt") as constraints:
        constraints.write("\n".join(own_constraints()))
        constraints.flush()
        arguments = ["-c", constraints.name, *requirements.install_arguments]
        # Our stdout is for lines of the log.
        completed = subprocess.run([*pip_command(), *arguments], stdout=sys.stderr, check=False)
    if completed.returncode:
        raise InstallError(
            f"pip could not install what {requirements.file} requires (exit status "
            f"{completed.returncode}). Its messages are above.",
            hint="Correct the file, or start without it: cordboard up --no-install",
        )
