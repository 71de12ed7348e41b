"""Hints for bot files that import a missing module: the command that installs all that is missing."""

import functools
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cordboard.contract.errors import BotFileError
from cordboard.runner.bot_imports import BotImports, MissingModule, find_imports
from cordboard.runner.bot_requirements import find_requirements

DEFAULT_HINT: Final = "Correct the file, or install what it imports."

# The distributions whose modules have other names, as far as bots often import them. A name that is not
# here is most often that of the distribution.
DISTRIBUTIONS: Final = {
    "Crypto": "pycryptodome",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "daily": "daily-python",
    "dateutil": "python-dateutil",
    "deepgram": "deepgram-sdk",
    "discord": "discord.py",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "google.cloud": "google-cloud-speech",
    "google.genai": "google-genai",
    "google.generativeai": "google-generativeai",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "livekit.api": "livekit-api",
    "magic": "python-magic",
    "multipart": "python-multipart",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "speech_recognition": "SpeechRecognition",
    "telegram": "python-telegram-bot",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}

_PIPECAT: Final = "pipecat-ai"
# The requirement of an extra in the metadata of a distribution, such as `openai<3; extra == "openai"`.
_REQUIREMENT_OF_EXTRA: Final = re.compile(
    r"""([A-Za-z0-9._-]+).*;.*extra\s*==\s*["']([^"']+)["']"""
)
_NAME_OF_PIPECAT: Final = re.compile(r"cannot import name '(\w+)' from '(pipecat(?:\.\w+)*)'")


def import_error_hint(error: BaseException, file: Path) -> str:
    """Return what to do about `error`, raised by the import of the bot file `file`.

    Returns:
        The command that installs the missing module, and all others that the file needs.
    """
    absent = next((e for e in _causes(error) if isinstance(e, ModuleNotFoundError)), None)
    if absent is None or not absent.name:
        renamed = _NAME_OF_PIPECAT.match(str(error)) if isinstance(error, ImportError) else None
        return _other_version(f"{renamed[1]} in {renamed[2]}") if renamed else DEFAULT_HINT
    if absent.name.startswith("pipecat."):
        return _other_version(f"module {absent.name}")
    hint = missing_hint(find_imports(file), absent.name)
    return f"{hint}{_file_clause(file)}" if hint else DEFAULT_HINT


def _other_version(lacking: str) -> str:
    return (
        f"{_PIPECAT} {_pipecat_version()} has no {lacking}; the bot file may be for another version of "
        "Pipecat."
    )


def missing_hint(imports: BotImports, name: str = "") -> str:
    """Return the command that installs what `imports` lacks; empty if nothing is missing.

    Args:
        imports: The imports of a bot file.
        name: The module whose import has failed; it is listed even if `imports` does not have it.
    """
    missing = list(imports.missing)
    top = name.partition(".")[0]
    if name and all(item.name.partition(".")[0] != top for item in missing):
        if find_spec(top) is not None:  # only a submodule is missing: the package is installed
            return ""
        missing.append(MissingModule(top))
    if imports.changes_path:  # others may be in a directory that the file adds to the module path
        missing = [item for item in missing if _is_certain(item, name)]
    if not missing:
        return ""
    requirements, unsure = _requirements(missing)
    command = install_command(requirements)
    if not unsure:
        return f"Install what it imports: {command}{_condition_clause(missing)}"
    return (
        f"Install what it imports, e.g.: {command} (the package with the module {', '.join(unsure)} may "
        "have another name)"
    )


def _condition_clause(missing: Sequence[MissingModule]) -> str:
    """Return a clause about what extras of Pipecat do not install for this Python; empty if they install all."""
    conditions = {item.name: _condition(item) for item in missing}
    return "".join(
        f". It installs {name} only if {condition}"
        for name, condition in conditions.items()
        if condition
    )


def _condition(item: MissingModule) -> str:
    """Return the condition under which an extra of Pipecat installs a module, if it is false here."""
    from packaging.markers import Marker
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    extras = _extras_of(item)
    if not extras:
        return ""
    distribution = canonicalize_name(DISTRIBUTIONS.get(item.name, item.name.partition(".")[0]))
    for requirement in map(Requirement, metadata(_PIPECAT).get_all("Requires-Dist") or ()):
        condition, _, extra = str(requirement.marker).partition(" and extra == ")
        is_wanted = canonicalize_name(requirement.name) == distribution
        if is_wanted and extra.strip('"') in extras and not Marker(condition).evaluate():
            return condition
    return ""


def _file_clause(file: Path) -> str:
    """Return a clause about the requirements beside a bot file that are not met; empty without any."""
    try:
        requirements = find_requirements(file)
    except BotFileError:  # `cordboard up` reports it
        return ""
    if requirements is None or not requirements.unmet:
        return ""
    command = install_command(requirements.install_arguments)
    return f". Or install all that {requirements.file} lists: {command}"


def install_command(arguments: Sequence[str]) -> str:
    """Return the command by which a user installs packages for this Python.

    Args:
        arguments: The arguments of ``pip install``.
    """
    return f"{_pip()} install {shlex.join(arguments)}"


def pip_command() -> tuple[str, ...]:
    """Return the command that installs packages for this Python, with the means that are installed."""
    uv = shutil.which("uv")
    if find_spec("pip") is None and uv is not None:  # uv makes environments without pip
        return (uv, "pip", "install", "--python", sys.executable)
    return (sys.executable, "-m", "pip", "install")


def _pip() -> str:
    """Return ``pip`` if the shell finds that of this Python, else a longer form that is right as well."""
    if find_spec("pip") is None and shutil.which("uv"):
        return "uv pip"
    pip = shutil.which("pip")
    if pip is not None and Path(pip).parent == Path(sys.executable).parent:
        return "pip"
    return f"{shlex.quote(sys.executable)} -m pip"


def _is_certain(item: MissingModule, name: str) -> bool:
    top = item.name.partition(".")[0]
    return bool(item.importer) or item.name in DISTRIBUTIONS or top == name.partition(".")[0]


def _requirements(missing: Sequence[MissingModule]) -> tuple[list[str], list[str]]:
    """Return the requirements that install modules, and the modules whose distribution is a guess."""
    extras = {extra for item in missing for extra in _extras_of(item)}
    covered = {item.name for item in missing if _extras_of(item)}
    plain = [item.name for item in missing if item.name not in covered and not _extras_of(item)]
    requirements = [f"{_PIPECAT}[{','.join(sorted(extras))}]"] if extras else []
    unsure = []
    for name in plain:
        top = name.partition(".")[0]
        known = DISTRIBUTIONS.get(name) or DISTRIBUTIONS.get(top)
        requirements.append(known or top)
        if known is None:
            unsure.append(top)
    return list(dict.fromkeys(requirements)), unsure


def _extras_of(item: MissingModule) -> tuple[str, ...]:
    """Return the extras of ``pipecat-ai`` that install a module which Pipecat imports."""
    if not item.importer:
        return ()
    known = _pipecat_extras()
    named = tuple(extra for extra in item.extra.split(",") if extra in known)
    if named:
        return named
    parts = reversed(item.importer.split("."))
    by_path = next((part for part in parts if part in known), None)
    by_package = _extra_by_distribution().get(item.name.partition(".")[0].replace("_", "-"))
    extra = by_package or by_path
    return (extra,) if extra else ()


@functools.cache
def _pipecat_extras() -> frozenset[str]:
    try:
        return frozenset(metadata(_PIPECAT).get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        return frozenset()


@functools.cache
def _extra_by_distribution() -> dict[str, str]:
    """Return the extra of ``pipecat-ai`` that installs each distribution that only one extra installs."""
    extras: dict[str, set[str]] = {}
    try:
        lines = metadata(_PIPECAT).get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return {}
    for line in lines:
        match = _REQUIREMENT_OF_EXTRA.match(line)
        if match:
            extras.setdefault(match.group(1).lower(), set()).add(match.group(2))
    return {name: names.pop() for name, names in extras.items() if len(names) == 1}


def _pipecat_version() -> str:
    try:
        return version(_PIPECAT)
    except PackageNotFoundError:
        return "(not installed)"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes: Pipecat raises its own error for a missing module."""
    seen: set[int] = set()  # an error can be among its own causes
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
