"""Checks of a single line, and the place in the program that wrote it.

This module imports neither pytest nor ``cordboard.emit.logger``: the processes that a test starts
load it while that module is being imported.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from cordboard.contract.ids import is_session_id
from cordboard.contract.record import EVENTS, LINE_MAX_BYTES, TAG
from cordboard.emit.forwarding import schema_error
from cordboard.emit.pipeline import pipeline

_INSTALLED: Final = "site-packages"
# Frames of these packages are between the caller and the observer of the line.
_LOGGING_PACKAGES: Final = (
    "cordboard.emit",
    "cordboard.context",
    "cordboard.pytest_plugin",
    "logging",
    "loguru",
    "structlog",
    "warnings",
)
# More source files than a project has that log; one more costs a look at the disk per line.
_MODULES_CACHED: Final = 1024


@dataclass(frozen=True, slots=True)
class CallSite:
    """The place in the program that wrote a line.

    Attributes:
        module: The module's dotted name.
        file: The path of its source.
        line: The line number in that file.
    """

    module: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


LineCounts = Counter[tuple[str, str, bool]]
"""Numbers of lines by module, service, and whether they carry a session."""

UNKNOWN_SITE: Final = CallSite("?", "?", 0)


def call_site() -> CallSite:
    """Return the innermost frame that belongs to no logging package."""
    # Frame by frame: inspect.stack() would read the source of every frame.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not any(module == name or module.startswith(f"{name}.") for name in _LOGGING_PACKAGES):
            file = frame.f_code.co_filename
            return CallSite(module_of(file) or module, file, frame.f_lineno)
        frame = frame.f_back
    return UNKNOWN_SITE


@lru_cache(maxsize=_MODULES_CACHED)
def module_of(file: str) -> str:
    """Return the dotted name of the module in `file`, from the folders with ``__init__.py``.

    ``__name__`` would not do: a bot file is loaded under a name that differs from its file's.
    """
    path = Path(file)
    if path.suffix != ".py":
        return ""
    names = [] if path.stem == "__init__" else [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").exists():
            break
        names.insert(0, folder.name)
    return ".".join(names)


def schema_violations(line: bytes) -> Iterator[str]:
    """Yield each way in which `line` violates the schema of a log line.

    This is stricter than what readers accept (``schema_error``): events and session ids must be
    valid, too.
    """
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        yield f"not JSON: {error}"
        return
    error_text = schema_error(record)
    if error_text is not None:
        yield error_text
        return
    if len(line) > LINE_MAX_BYTES:
        yield f"{len(line)} bytes, more than {LINE_MAX_BYTES}"
    if not is_session_id(record["sessionId"]):
        yield f"invalid sessionId {record['sessionId']!r}"
    # A line without an event is valid, so the default is any valid one.
    if record.get("event", "turn.ended") not in EVENTS:
        yield f"unknown event {record['event']!r}"
    if "[" in record[TAG] or "]" in record[TAG]:
        yield f"tag {record[TAG]!r} contains brackets"


def is_project_file(file: str, root: str) -> bool:
    """Return whether `file` is a source file of the project in `root`.

    Installed packages and tests are not.
    """
    name = Path(file).name
    is_test = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return file.startswith(f"{root}/") and _INSTALLED not in file and not is_test


@contextmanager
def observed_lines(observer: Callable[[bytes], None]) -> Iterator[None]:
    """Call `observer` with each line that is written within the block."""
    pipeline.add_observer(observer)
    try:
        yield
    finally:
        pipeline.remove_observer(observer)
