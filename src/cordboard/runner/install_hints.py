"""Hints for bot files that import a missing module."""

import shlex
import sys
import traceback
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import PurePath
from typing import Final

DEFAULT_HINT: Final = "Correct the file, or install what it imports."


def import_error_hint(error: BaseException) -> str:
    """Return what to do about `error`, raised by an import: the command that installs what is missing."""
    missing = next((e for e in _causes(error) if isinstance(e, ModuleNotFoundError)), None)
    if missing is None or not missing.name:
        return DEFAULT_HINT
    extra = _pipecat_extra(error)
    if extra is not None:
        return f"Install it: {_pip()} install {shlex.quote(f'pipecat-ai[{extra}]')}"
    package = missing.name.partition(".")[0]
    if find_spec(package) is not None:  # only a submodule is missing: the package is installed
        return DEFAULT_HINT
    return (
        f"Install the package that has the module {package}, with this Python, e.g.: "
        f"{_pip()} install {shlex.quote(package)}"
    )


def _pip() -> str:
    return f"{shlex.quote(sys.executable)} -m pip"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes: Pipecat raises its own error for a missing module."""
    seen: set[int] = set()  # an error can be among its own causes
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _pipecat_extra(error: BaseException) -> str | None:
    """Return the extra of ``pipecat-ai`` that installs the missing module, if Pipecat imported it.

    The extras are named after Pipecat's modules, so the innermost path that names an extra is the one.
    """
    try:
        extras = set(metadata("pipecat-ai").get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        return None
    frames = [frame for e in _causes(error) for frame in traceback.extract_tb(e.__traceback__)]
    for frame in reversed(frames):
        _, is_pipecat, inner_path = frame.filename.rpartition("/pipecat/")
        if is_pipecat:
            parts = PurePath(inner_path).with_suffix("").parts
            return next((part for part in reversed(parts) if part in extras), None)
    return None
