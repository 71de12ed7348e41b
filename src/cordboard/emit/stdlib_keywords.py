"""Keywords that the standard library and structlog give a meaning: they mean the same here.

``exc_info`` and ``stack_info`` become ``error`` and ``meta.stack``; the members of ``extra`` become
members of ``meta``; ``stacklevel`` is dropped, since a line does not name the place of the call.
"""

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final

from cordboard.contract.redaction import reserved_names

EXC_INFO: Final = "exc_info"
STACK_INFO: Final = "stack_info"
_EXTRA: Final = "extra"
_STACKLEVEL: Final = "stacklevel"
_NAMES: Final = frozenset({EXC_INFO, STACK_INFO, _EXTRA, _STACKLEVEL})
_STACK_FRAMES: Final = 40  # as many as of an exception
_LOGGERS: Final = ("cordboard.emit", "logging", "loguru", "structlog")
# The quick way of a record does not look for these names: it gives way to the slow one.
reserved_names.update(_NAMES)


def extract_stdlib_keywords(meta: dict[str, Any], error: object) -> tuple[dict[str, Any], object]:
    """Return ``meta`` without these keywords, and the error of the record.

    Args:
        meta: All keywords of a call, and what its logger is bound to.
        error: The error that the call names; ``exc_info`` does not replace it.
    """
    if _NAMES.isdisjoint(meta):
        return meta, error
    kept = {name: meta[name] for name in meta if name not in _NAMES}
    if EXC_INFO in meta:
        error = _take_exc_info(meta[EXC_INFO], kept, error)
    if STACK_INFO in meta:
        _take_stack_info(meta[STACK_INFO], kept)
    if _EXTRA in meta:
        _take_extra(meta[_EXTRA], kept)
    if _STACKLEVEL in meta and type(meta[_STACKLEVEL]) is not int:
        kept[_STACKLEVEL] = meta[_STACKLEVEL]
    return kept, error


def _take_exc_info(value: Any, kept: dict[str, Any], error: object) -> object:
    found = exception_of(value)
    if found is None and not _says_nothing(value):
        kept[EXC_INFO] = value
    elif found is not None and error is not None and found is not error and value is not True:
        kept[EXC_INFO] = found
    return found if error is None else error


def _says_nothing(value: object) -> bool:
    return value is None or type(value) in {bool, int} or value == (None, None, None)


def exception_of(exc_info: Any) -> BaseException | None:
    """Return the exception that a value of ``exc_info`` stands for; None where it is none."""
    if type(exc_info) is tuple and len(exc_info) == 3:  # noqa: PLR2004 - type, value, traceback
        exc_info = exc_info[1]
    elif type(exc_info) in {bool, int} and exc_info:
        return sys.exc_info()[1]
    # By its type: what an object says of its class may be a lie.
    return exc_info if issubclass(type(exc_info), BaseException) else None


def _take_stack_info(value: object, kept: dict[str, Any]) -> None:
    if type(value) in {bool, int} and value:
        kept.setdefault("stack", _call_stack())
    elif not _says_nothing(value):
        kept.setdefault("stack", value)  # rendered already


def _take_extra(value: Any, kept: dict[str, Any]) -> None:
    if not issubclass(type(value), Mapping):
        kept[_EXTRA] = value
        return
    for name in value:
        kept.setdefault(name, value[name])


def _call_stack() -> str:
    """Return the stack of whoever calls a logger, the innermost call last."""
    import traceback

    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_logger(frame):
        frame = frame.f_back
    return "".join(traceback.format_stack(frame, _STACK_FRAMES)) if frame is not None else ""


def _is_logger(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return any(module == name or module.startswith(f"{name}.") for name in _LOGGERS)
