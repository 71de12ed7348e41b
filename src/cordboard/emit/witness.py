"""What the conformance kit looks at: a line, and the place in the program that said it.

Apart from the kit itself, since processes that a test starts need this and no pytest.
"""

import sys
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
from cordboard.emit.foreign import why_invalid
from cordboard.emit.pipeline import pipeline

_FOREIGN: Final = "site-packages"
_LOGGERS: Final = (
    "cordboard.emit",
    "cordboard.context",
    "logging",
    "loguru",
    "structlog",
    "warnings",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the program a line was said."""

    module: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


NOWHERE: Final = Place("?", "?", 0)


def caller() -> Place:
    """Return the first frame that is no logger's."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the standard library's own way
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not any(module == name or module.startswith(f"{name}.") for name in _LOGGERS):
            file = frame.f_code.co_filename
            return Place(module_of(file) or module, file, frame.f_lineno)
        frame = frame.f_back
    return NOWHERE


@lru_cache(maxsize=1024)
def module_of(file: str) -> str:
    """Return a module's name by where it lies: a bot's file may be loaded under another one."""
    path = Path(file)
    if path.suffix != ".py":
        return ""
    names = [] if path.stem == "__init__" else [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").exists():
            break
        names.insert(0, folder.name)
    return ".".join(names)


def faults(line: bytes) -> Iterator[str]:
    """Return what is wrong with a line by itself."""
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        yield f"it is no JSON: {error}"
        return
    why = why_invalid(record)
    if why is not None:
        yield why
        return
    if len(line) > LINE_MAX_BYTES:
        yield f"it has {len(line)} bytes"
    if not is_session_id(record["sessionId"]):
        yield f"sessionId {record['sessionId']!r} is no session id"
    if record.get("event", "turn.ended") not in EVENTS:
        yield f"event {record['event']!r} is none of the contract"
    if "[" in record[TAG] or "]" in record[TAG]:
        yield f"tag {record[TAG]!r} has brackets"


def is_ours(file: str, root: str) -> bool:
    """Say whether a file is of the project, and neither a dependency nor a test."""
    name = Path(file).name
    test = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return file.startswith(f"{root}/") and _FOREIGN not in file and not test


@contextmanager
def watching(watcher: Callable[[bytes], None]) -> Iterator[None]:
    """Show every line to ``watcher`` for the length of a block."""
    pipeline.watchers.append(watcher)
    pipeline.redirect()
    try:
        yield
    finally:
        pipeline.watchers[:] = [other for other in pipeline.watchers if other is not watcher]
        pipeline.redirect()
