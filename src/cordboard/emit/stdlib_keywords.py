"""Keywords that the standard library and structlog give a meaning: they have the same one here.

``exc_info`` becomes ``error``, ``stack_info`` becomes ``meta.stack``, and the members of ``extra``
become members of ``meta``. ``stacklevel`` is dropped: a line does not name the place of the call.
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
_KEYWORDS: Final = frozenset({EXC_INFO, STACK_INFO, _EXTRA, _STACKLEVEL})
# As many frames as of an exception's stack; see ``render``.
_STACK_MAX_FRAMES: Final = 40
# What ``sys.exc_info()`` returns when no exception is being handled.
_NO_EXC_INFO: Final = (None, None, None)
_LOGGING_PACKAGES: Final = ("cordboard.emit", "logging", "loguru", "structlog")

# The fast path of a record (``values.is_plain``) does not treat these keywords: a record that has
# one takes the slow path.
reserved_names.update(_KEYWORDS)


def extract_stdlib_keywords(meta: dict[str, Any], error: object) -> tuple[dict[str, Any], object]:
    """Return `meta` without these keywords, and the error of the record.

    Args:
        meta: All keywords of a call, and what its logger is bound to.
        error: The error that the call names; ``exc_info`` does not replace it.
    """
    if _KEYWORDS.isdisjoint(meta):
        return meta, error
    result = {name: meta[name] for name in meta if name not in _KEYWORDS}
    if EXC_INFO in meta:
        error = _apply_exc_info(meta[EXC_INFO], result, error)
    if STACK_INFO in meta:
        _apply_stack_info(meta[STACK_INFO], result)
    if _EXTRA in meta:
        _apply_extra(meta[_EXTRA], result)
    if _STACKLEVEL in meta and type(meta[_STACKLEVEL]) is not int:
        result[_STACKLEVEL] = meta[_STACKLEVEL]
    return result, error


def _apply_exc_info(value: Any, meta: dict[str, Any], error: object) -> object:
    exception = exception_of(value)
    if exception is None and not _is_empty(value):
        meta[EXC_INFO] = value  # not an exception at all: show what it is
    elif (
        exception is not None and error is not None and exception is not error and value is not True
    ):
        # Two exceptions: ``error=`` wins. The other one is kept if the caller has named it.
        meta[EXC_INFO] = exception
    return exception if error is None else error


def _is_empty(value: object) -> bool:
    return value is None or type(value) in {bool, int} or value == _NO_EXC_INFO


def exception_of(exc_info: Any) -> BaseException | None:
    """Return the exception that a value of the keyword ``exc_info`` stands for.

    Args:
        exc_info: True for the exception that is being handled, an exception, or the triple of
            ``sys.exc_info()``.

    Returns:
        The exception, or None if the value stands for none.
    """
    if type(exc_info) is tuple and len(exc_info) == len(_NO_EXC_INFO):
        exc_info = exc_info[1]
    elif type(exc_info) in {bool, int} and exc_info:
        return sys.exc_info()[1]
    # By its type: an object may lie about its ``__class__``.
    return exc_info if issubclass(type(exc_info), BaseException) else None


def _apply_stack_info(value: object, meta: dict[str, Any]) -> None:
    if type(value) in {bool, int} and value:
        meta.setdefault("stack", _call_stack())
    elif not _is_empty(value):
        meta.setdefault("stack", value)  # rendered already, as structlog's processor does


def _apply_extra(value: Any, meta: dict[str, Any]) -> None:
    if not issubclass(type(value), Mapping):
        meta[_EXTRA] = value
        return
    for name in value:
        meta.setdefault(name, value[name])


def _call_stack() -> str:
    """Return the stack of the caller of the logger, the innermost call last."""
    import traceback

    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_logging_frame(frame):
        frame = frame.f_back
    return "".join(traceback.format_stack(frame, _STACK_MAX_FRAMES)) if frame is not None else ""


def _is_logging_frame(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return any(module == name or module.startswith(f"{name}.") for name in _LOGGING_PACKAGES)
