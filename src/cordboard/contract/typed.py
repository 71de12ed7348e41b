"""`typing` for the modules that a query of logs loads: its names, without the 4 ms that it takes to load.

Whatever `cordboard logs` imports takes them from here (a test holds it). Type checkers read the first
branch. At run time what annotations name stands for nothing, so that `get_type_hints` has no use here,
and a `NamedTuple` is the standard library's named tuple.
"""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import (
        IO,
        Any,
        AnyStr,
        ClassVar,
        Final,
        Literal,
        NamedTuple,
        NoReturn,
        Protocol,
        TypeVar,
        cast,
    )
else:
    from collections import namedtuple

    class _Name:
        """Stands for whatever an annotation names: it can be subscripted and joined by ``|``."""

        def __getitem__(self, _: object) -> "_Name":
            return self

        def __or__(self, _: object) -> "_Name":
            return self

        __ror__ = __or__

    class _MakeNamedTuple(type):
        """Makes a named tuple of a class body's annotations, defaults and methods."""

        def __new__(cls, name, _, namespace):  # noqa: ANN001, ANN204 - nothing reads types here
            fields = namespace.get("__annotations__")
            if fields is None:  # from Python 3.14 on they are made when they are asked for
                fields = type(name, (), dict(namespace)).__annotations__
            defaults = [namespace[field] for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])  # noqa: PYI024
            for key, value in namespace.items():
                if key not in fields and key not in {"__module__", "__annotate_func__"}:
                    setattr(made, key, value)
            return made

    class Protocol:
        """A class that only says what others offer."""

    NamedTuple = type.__new__(_MakeNamedTuple, "NamedTuple", (), {})
    Any = AnyStr = ClassVar = Final = IO = Literal = NoReturn = _Name()

    def TypeVar(name: str) -> _Name:  # noqa: ARG001, N802 - as in typing
        """Stand for any type."""
        return Any

    def cast(_: object, value: object) -> object:
        """Return the value."""
        return value


__all__ = [
    "IO",
    "TYPE_CHECKING",
    "Any",
    "AnyStr",
    "ClassVar",
    "Final",
    "Literal",
    "NamedTuple",
    "NoReturn",
    "Protocol",
    "TypeVar",
    "cast",
]
