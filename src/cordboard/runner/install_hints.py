"""What to install for a bot file that imports a missing module."""

import shlex
import sys
import traceback
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import PurePath
from typing import Final

OTHERWISE: Final = "Correct the file, or install what it imports."


def way_out(error: BaseException) -> str:
    """Return what to do about an error of an import: the command that installs what is missing."""
    missing = next((one for one in _chain(error) if isinstance(one, ModuleNotFoundError)), None)
    if missing is None or not missing.name:
        return OTHERWISE
    extra = _extra_of_pipecat(error)
    if extra is not None:
        return f"Install it: {_pip()} install {shlex.quote(f'pipecat-ai[{extra}]')}"
    module = missing.name.partition(".")[0]
    if find_spec(module) is not None:  # a part of it is missing, and not the package
        return OTHERWISE
    return (
        f"Install the package that has the module {module}, with this Python, e.g.: "
        f"{_pip()} install {shlex.quote(module)}"
    )


def _pip() -> str:
    return f"{shlex.quote(sys.executable)} -m pip"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from: Pipecat raises its own for a missing module."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _extra_of_pipecat(error: BaseException) -> str | None:
    """Return the extra of the part of Pipecat that missed a module: it bears the part's name."""
    try:
        extras = set(metadata("pipecat-ai").get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        return None
    frames = [frame for one in _chain(error) for frame in traceback.extract_tb(one.__traceback__)]
    for frame in reversed(frames):
        _, is_pipecat, within = frame.filename.rpartition("/pipecat/")
        if is_pipecat:
            parts = PurePath(within).with_suffix("").parts
            return next((part for part in reversed(parts) if part in extras), None)
    return None
