"""The requirements beside a bot file, in ``requirements.txt`` or ``pyproject.toml``, and which are not met."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cordboard.contract.errors import BotFileError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

REQUIREMENTS_FILE: Final = "requirements.txt"
PROJECT_FILE: Final = "pyproject.toml"

# The grammar of https://pip.pypa.io/en/stable/reference/requirements-file-format/
_COMMENT: Final = re.compile(r"(^|\s+)#.*$")
_OTHER_FILE: Final = re.compile(r"(?:-r|--requirement)[\s=]*(\S+)$")
_OPTION_OF_LINE: Final = re.compile(r"\s+--?[A-Za-z].*$")
_LOCATION: Final = re.compile(
    r"[A-Za-z+]+://|[./]"
)  # without a name, so unknown until it is installed

# The distribution whose own requirements the bot's must not break.
_OWN: Final = "cordboard"


@dataclass(frozen=True, slots=True)
class UnmetRequirement:
    """A requirement of a bot that this Python does not meet.

    Attributes:
        text: The requirement as written.
        installed: The version that is installed and does not fit; empty if none is.
    """

    text: str
    installed: str = ""

    def __str__(self) -> str:
        """Return the requirement, with the version that is installed."""
        return f"{self.text} (installed: {self.installed})" if self.installed else self.text


@dataclass(frozen=True, slots=True)
class BotRequirements:
    """The requirements beside a bot file.

    Attributes:
        file: The file that lists them.
        unmet: Those that are not met.
        install_arguments: The arguments with which ``pip install`` installs all of them.
    """

    file: Path
    unmet: tuple[UnmetRequirement, ...]
    install_arguments: tuple[str, ...]


def find_requirements(bot_file: Path) -> BotRequirements | None:
    """Return the requirements beside a bot file; None if no file lists any.

    Args:
        bot_file: The bot file.

    Raises:
        BotFileError: The file is malformed.
    """
    file = bot_file.parent / REQUIREMENTS_FILE
    if file.is_file():
        requirements = dict(_requirements_of(file, frozenset()))
        return BotRequirements(file, _unmet(requirements), ("-r", str(file)))
    file = bot_file.parent / PROJECT_FILE
    if not file.is_file():
        return None
    requirements = _dependencies_of(file)
    return BotRequirements(file, _unmet(requirements), tuple(requirements))


def own_constraints() -> list[str]:
    """Return what this installation of Cordboard requires, as the lines of a constraints file.

    Otherwise a bot's requirements could replace packages by versions with which Cordboard does not work.
    """
    from packaging.requirements import Requirement

    lines = []
    for text in distribution(_OWN).requires or []:
        requirement = Requirement(text)
        if requirement.specifier and requirement.name != _OWN:
            lines.append(f"{requirement.name}{requirement.specifier}")
    return lines


def _requirements_of(file: Path, parents: frozenset[Path]) -> Iterator[tuple[str, "Requirement"]]:
    """Yield the requirements in a file, and in those that it includes, with their texts."""
    from packaging.requirements import InvalidRequirement, Requirement

    for number, line in _logical_lines(file):
        other = _OTHER_FILE.match(line)
        if other is not None:
            included = (file.parent / other.group(1)).resolve()
            if not included.is_file():
                raise BotFileError(f"{file}, line {number}: there is no file {included}.")
            if included not in parents:
                yield from _requirements_of(included, parents | {file.resolve()})
            continue
        if line.startswith("-") or _LOCATION.match(line) or (file.parent / line).exists():
            continue
        text = _OPTION_OF_LINE.sub("", line)
        try:
            yield text, Requirement(text)
        except InvalidRequirement as error:
            raise BotFileError(
                f"{file}, line {number}: expected a requirement such as openai>=1.0, got {text!r}.",
                hint=str(error).splitlines()[0],
            ) from error


def _logical_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers, without comments; a backslash joins two lines."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BotFileError(f"{file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BotFileError(
            f"{file}: byte {error.start} is not UTF-8.", hint="Save the file as UTF-8."
        ) from error
    joined, start = "", 1
    for number, line in enumerate(lines, 1):
        start = start if joined else number
        if line.endswith("\\"):
            joined += line.removesuffix("\\")
            continue
        text = _COMMENT.sub("", joined + line).strip()
        joined = ""
        if text:
            yield start, text


def _dependencies_of(file: Path) -> dict[str, "Requirement"]:
    """Return ``project.dependencies`` of a ``pyproject.toml``."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        dependencies = project.get("dependencies", [])
        return {text: Requirement(text) for text in dependencies}
    except OSError as error:
        raise BotFileError(f"{file}: {error.strerror}.") from error
    except (AttributeError, InvalidRequirement, TypeError, ValueError) as error:
        raise BotFileError(
            f"{file}: {error}.", hint="Expected TOML, with a list in project.dependencies."
        ) from error


def _unmet(requirements: Mapping[str, "Requirement"]) -> tuple[UnmetRequirement, ...]:
    items = []
    for text, requirement in requirements.items():
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        if (requirement.name.lower(), frozenset(requirement.extras)) == (_OWN, frozenset()):
            continue
        present = _distribution_or_none(requirement.name)
        if present is None or not _has_extras(present, frozenset(requirement.extras)):
            items.append(UnmetRequirement(text))
        elif not requirement.specifier.contains(present.version, prereleases=True):
            items.append(UnmetRequirement(text, present.version))
    return tuple(items)


def _has_extras(installed: Distribution, extras: frozenset[str]) -> bool:
    """Return whether what some extras of a distribution require is installed."""
    from packaging.requirements import Requirement

    for text in installed.requires or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            continue
        if not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        present = _distribution_or_none(requirement.name)
        if present is None or not _has_extras(present, frozenset(requirement.extras)):
            return False
    return True


def _distribution_or_none(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
