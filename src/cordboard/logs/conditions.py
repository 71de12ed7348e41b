"""Conditions on the fields of a record, in the language of ``--where``.

    condition   any and any, any or any, not any, ( any ); `and` binds tighter than `or`
    any         FIELD OP VALUE, FIELD in (VALUE, ...), or FIELD alone: it is there, and neither
                null nor false
    FIELD       level, message, meta.reused, meta.ttfb_ms."a b", meta.items.0
    OP          =  !=  <  <=  >  >=  and  ~  !~  (a regular expression is, or is not, found)
    VALUE       a number, true, false, null, "a text", 'a text', or a bare word

Levels compare by rank. A number that is not in quotes compares as a number with a field that has a number. For ``=``,
``!=``, ``in``, ``~`` and ``!~`` it is also the text that was written, for a field that has a text
(``boot = 12345678``); ``<``, ``<=``, ``>`` and ``>=`` compare it with numbers alone. A field that is missing, or of
another kind than the value, fulfils nothing but ``!=``, ``!~``, ``= null`` and ``not``.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

from cordboard.contract.errors import UsageError
from cordboard.contract.record import LEVEL, LEVELS
from cordboard.logs.filters import SAFE, Term
from cordboard.logs.patterns import pattern
from cordboard.logs.query import Predicate

_TOKEN: Final = pattern(
    r"""\s*(?:
      (?P<op>!=|!~|<=|>=|==|=|<|>|~)
    | (?P<mark>[(),])
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.:/-]))
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<word>[^\s()=!<>~,"']+(?:"[^"]*"[^\s()=!<>~,"']*)*)
    )""",
    re.VERBOSE,
)
_PART: Final = pattern(r'"([^"]*)"|([^."]+)')
_FIELD: Final = pattern(r'(?:"[^"]*"|[^."]+)(?:\.(?:"[^"]*"|[^."]+))*')
_INDEX: Final = pattern(r"[0-9]{1,18}")
_DEPTH_MAX: Final = 50  # of parentheses and `not`, each of which is a few calls deep
_DIGITS_MAX: Final = 1000  # Python refuses to read longer numbers
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONSTANTS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}


class Number(NamedTuple):
    """A number that is not in quotes, which may be meant as a text.

    Attributes:
        value: The number.
        text: As it was written.
    """

    value: int | float
    text: str


class Condition(NamedTuple):
    """A condition, and bytes that every line of ours that fulfils it must hold.

    Attributes:
        holds: Says whether a record fulfils it.
        terms: One of each must be in a line of our own encoding.
    """

    holds: Predicate
    terms: tuple[Term, ...] = ()


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str) -> Condition:
    """Return the condition that `text` states, in the language of ``--where``.

    Raises:
        UsageError: It states none; the message names the column.
    """
    return _Parser(text).whole()


class _Parser:
    """Reads a condition from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = 0
        self._depth = 0

    def whole(self) -> Condition:
        found = self._any()
        if self._token.kind != "end":
            self._expected("`and` or `or`")
        return found

    def _split(self) -> list[_Token]:
        tokens = []
        at = 0
        while self._text[at:].strip():
            found = _TOKEN.match(self._text, at)
            if found is None or found.lastgroup is None:
                self._fail_at(self._skip_space(at), "unterminated string or unknown operator")
            tokens.append(
                _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))
            )
            at = found.end()
        return [*tokens, _Token("end", "", len(self._text))]

    # --- and, or, not

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._takes_word("or"):
            parts.append(self._all())
        if len(parts) == 1:
            return parts[0]
        tests = [part.holds for part in parts]
        return Condition(lambda record: any(test(record) for test in tests))

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._takes_word("and"):
            parts.append(self._one())
        if len(parts) == 1:
            return parts[0]
        tests = [part.holds for part in parts]
        terms = tuple(term for part in parts for term in part.terms)
        return Condition(lambda record: all(test(record) for test in tests), terms)

    def _one(self) -> Condition:
        if self._depth == _DEPTH_MAX:
            self._fail_at(self._token.at, f"more than {_DEPTH_MAX} nested parentheses and `not`")
        self._depth += 1
        try:
            return self._nested()
        finally:
            self._depth -= 1

    def _nested(self) -> Condition:
        if self._takes_word("not"):
            test = self._one().holds
            return Condition(lambda record: not test(record))
        if self._takes("mark", "("):
            found = self._any()
            if not self._takes("mark", ")"):
                self._expected("a closing parenthesis")
            return found
        return self._comparison()

    # --- one comparison

    def _comparison(self) -> Condition:
        path = self._field()
        if self._takes_word("in"):
            return self._membership(path)
        if self._token.kind != "op":
            return Condition(lambda record: bool(_present(_value_at(record, path))), _has(path))
        op = self._token.text.replace("==", "=")
        self._next += 1
        if op in {"~", "!~"}:
            return self._match(path, op)
        at = self._token.at
        value = self._value()
        if op in _COMPARE:
            return self._order(path, op, value, at)
        terms = _equal_terms(path, value) if op == "=" else ()
        test = _equals(path, value)
        return Condition((lambda record: not test(record)) if op == "!=" else test, terms)

    def _order(self, path: tuple[str, ...], op: str, value: Any, at: int) -> Condition:
        compare = _COMPARE[op]
        if path == (LEVEL,):
            if value not in LEVELS:
                self._expected(f"a level ({', '.join(LEVELS)})", at)
            named = tuple(name for name in LEVELS if compare(LEVELS[name], LEVELS[value]))
            term = tuple(f'"level":"{name}"'.encode() for name in named)
            return Condition(
                lambda record: _value_at(record, path) in named, (term,) if term else ()
            )
        if value is None or isinstance(value, bool):
            self._expected(f"a number or a string after {op}", at)

        def test(record: Mapping[str, Any]) -> bool:
            found = _value_at(record, path)
            if isinstance(value, Number) and isinstance(found, str):
                return False
            wanted = _of_its_kind(found, value)
            return wanted is not None and compare(found, wanted)

        return Condition(test, _has(path))

    def _match(self, path: tuple[str, ...], op: str) -> Condition:
        at = self._token.at
        value = self._value()
        try:
            expression = re.compile(value.text if isinstance(value, Number) else str(value))
        except (re.error, OverflowError, RecursionError) as error:
            self._fail_at(at, f"invalid regular expression: {error}")

        def test(record: Mapping[str, Any]) -> bool:
            found = _value_at(record, path)
            return isinstance(found, str | int | float) and bool(expression.search(str(found)))

        if op == "!~":
            return Condition(lambda record: not test(record))
        return Condition(test, _has(path))

    def _membership(self, path: tuple[str, ...]) -> Condition:
        if not self._takes("mark", "("):
            self._expected("a list in parentheses")
        values = [self._value()]
        while self._takes("mark", ","):
            values.append(self._value())
        if not self._takes("mark", ")"):
            self._expected("a comma or a closing parenthesis")
        tests = [_equals(path, value) for value in values]
        return Condition(lambda record: any(test(record) for test in tests))

    # --- words

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _takes(self, kind: str, text: str) -> bool:
        if self._token.kind == kind and self._token.text == text:
            self._next += 1
            return True
        return False

    def _takes_word(self, word: str) -> bool:
        if self._token.kind == "word" and self._token.text.lower() == word:
            self._next += 1
            return True
        return False

    def _field(self) -> tuple[str, ...]:
        token = self._token
        if token.kind != "word" or token.text.lower() in {"and", "or", "in"}:
            self._expected("a field such as level or meta.reused")
        if not _FIELD.fullmatch(token.text):
            self._fail_at(
                token.at,
                "invalid field; separate its parts with dots, and quote parts that contain dots",
            )
        self._next += 1
        return tuple(quoted or plain for quoted, plain in _PART.findall(token.text))

    def _value(self) -> Any:
        token = self._token
        if token.kind not in {"number", "text", "word"}:
            self._expected("a value")
        self._next += 1
        if token.kind == "number":
            return self._number(token)
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        return _CONSTANTS.get(token.text.lower(), token.text)

    def _number(self, token: _Token) -> Number:
        is_whole = not set(token.text) & set(".eE")
        if is_whole and len(token.text) > _DIGITS_MAX:
            self._fail_at(token.at, f"a number has at most {_DIGITS_MAX} digits; quote a text")
        return Number(int(token.text) if is_whole else float(token.text), token.text)

    def _expected(self, what: str, at: int | None = None) -> NoReturn:
        at = self._token.at if at is None else at
        found = self._text[at:].split(maxsplit=1)
        self._fail_at(at, f"expected {what}, got {found[0] if found else 'the end'}")

    def _skip_space(self, at: int) -> int:
        return len(self._text) - len(self._text[at:].lstrip())

    def _fail_at(self, at: int, why: str) -> NoReturn:
        raise UsageError(
            f"--where, column {at + 1}: {why}.",
            hint=f"{self._text}\n  {' ' * at}^",
        )


# --- values


def _value_at(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value under a path; None where there is none."""
    found: Any = record
    for part in path:
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and _INDEX.fullmatch(part) and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def _present(value: Any) -> bool:
    return value is not None and value is not False


def _equals(path: tuple[str, ...], value: Any) -> Predicate:
    if isinstance(value, bool) or value is None:
        return lambda record: _value_at(record, path) is value

    def test(record: Mapping[str, Any]) -> bool:
        found = _value_at(record, path)
        wanted = _of_its_kind(found, value)
        return wanted is not None and bool(found == wanted)

    return test


def _of_its_kind(found: Any, value: Any) -> Any:
    """Return what `value` means beside the field's value `found`; None where they do not compare."""
    if isinstance(found, str):
        text = value.text if isinstance(value, Number) else value
        return text if isinstance(text, str) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return value.value if isinstance(value, Number) else None


# --- bytes


def _has(path: tuple[str, ...]) -> tuple[Term, ...]:
    """Return the bytes of a field's name, where our encoding leaves it as it is."""
    names = [part for part in path if not part.isdigit()]
    if not names or not SAFE.fullmatch(names[-1]):
        return ()
    return ((f'"{names[-1]}":'.encode(),),)


def _equal_terms(path: tuple[str, ...], value: Any) -> tuple[Term, ...]:
    if value is None:
        return ()
    found = _has(path)
    if not found or path[-1].isdigit():
        return found
    name = found[0][0]
    if isinstance(value, bool):
        return ((name + (b"true" if value else b"false"),),)
    if isinstance(value, str) and SAFE.fullmatch(value):
        return ((name + f'"{value}"'.encode(),),)
    return found
