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
    from _collections import _tuplegetter as _getter
    from types import FunctionType

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
            fields = tuple(fields)
            defaults = {field: namespace[field] for field in fields if field in namespace}
            made = {
                "__doc__": f"{name}({', '.join(fields)})",
                **{key: value for key, value in namespace.items() if key != "__annotate_func__"},
                **{
                    field: _getter(at, f"Alias for field number {at}")
                    for at, field in enumerate(fields)
                },
                "__new__": _new(name, fields, tuple(defaults.values())),
                "__slots__": (),
                "__match_args__": fields,
                "_fields": fields,
                "_field_defaults": defaults,
            }
            return type(name, (_Tuple,), made)

    class _Tuple(tuple):
        """What `collections.namedtuple` gives each of its classes, which takes it 80 us to make."""

        __slots__ = ()

        @classmethod
        def _make(cls, values):  # noqa: ANN001, ANN206 - nothing reads types here
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, **changed):  # noqa: ANN003, ANN202
            made = self._make(map(changed.pop, self._fields, self))
            if changed:
                raise TypeError(f"Got unexpected field names: {list(changed)!r}")
            return made

        __replace__ = _replace

        def _asdict(self):  # noqa: ANN202
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            told = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({told})"

        def __getnewargs__(self):  # noqa: ANN204
            return tuple(self)

    _templates = {}  # of `__new__`, by how many fields there are: to compile takes long

    def _new(name, fields, defaults):  # noqa: ANN001, ANN202
        """Return `__new__` with parameters of these names."""
        count = len(fields)
        if count not in _templates:
            names = ", ".join(f"_{n}" for n in range(count))
            words = f"lambda _cls, {names}: _tuple_new(_cls, ({names},))"
            _templates[count] = eval(words, {}).__code__  # noqa: S307 - our own words
        names = {"co_name": "__new__", "co_qualname": f"{name}.__new__"}
        code = _templates[count].replace(co_varnames=("_cls", *fields), **names)
        return FunctionType(code, {"_tuple_new": tuple.__new__}, "__new__", defaults or None)

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
