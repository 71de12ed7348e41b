"""Names of `typing` for modules that do without it."""

import pickle
import typing
from typing import Any

import pytest

from cordboard.contract import typed

BODY = '''
class Made(NamedTuple):
    """Says something."""
    one: int
    two: "str" = "b"
    three: "Any | None" = None
    def both(self):
        return self.one, self.two
    @property
    def first(self):
        return self.one
'''


def made(base: Any) -> Any:
    names = {"NamedTuple": base, "__name__": __name__}
    exec(BODY, names)
    return names["Made"]


def test_named_tuples_are_those_of_typing() -> None:
    """Fields, defaults, words and methods are the same."""
    ours, theirs = made(typed.NamedTuple), made(typing.NamedTuple)
    for kind in (ours, theirs):
        assert kind(1) == (1, "b", None)
        assert kind(1, three=2)._replace(one=5).both() == (5, "b")
        assert kind(7).first == 7
        assert kind(7, "c").two == "c"
        with pytest.raises(TypeError):
            kind()
    for name in ("_fields", "_field_defaults", "__doc__", "__name__", "__qualname__", "__module__"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert repr(ours(1)) == repr(theirs(1))
    assert issubclass(ours, tuple)


class Kept(typed.NamedTuple):
    """At the top of a module, where pickle finds it."""

    value: int


def test_named_tuples_can_be_pickled() -> None:
    """They are found by the name of their module, as those of typing are."""
    assert pickle.loads(pickle.dumps(Kept(3))) == Kept(3)


def test_annotations_may_name_anything() -> None:
    """What stands for a type can be joined and subscripted as types are; `cast` returns its value."""
    for name in ("Any", "AnyStr", "ClassVar", "Final", "IO", "Literal", "NoReturn"):
        stand_in: Any = getattr(typed, name)
        assert stand_in["x"] is stand_in
        assert stand_in | None is stand_in
        assert dict[str, int] | stand_in is stand_in
    anything: Any = object()
    assert typed.cast("str", anything) is anything
