"""The documentation of all settings, from the strings below their fields."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from cordboard.settings.loading import FIELDS, variable
from cordboard.settings.model import SECTIONS


class SettingDoc(NamedTuple):
    """One row of the table of settings.

    Attributes:
        name: The name in ``cordboard.toml``.
        variable: The environment variable.
        default: The default value.
        meaning: The unit, the effect, and the reason for the default, on one line.
    """

    name: str
    variable: str
    default: object
    meaning: str


def setting_docs() -> Iterator[SettingDoc]:
    """Yield the documentation of each setting.

    Python does not keep the string below a field, so this reads the source.
    """
    for section in SECTIONS:
        tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
        statements = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
        for field, doc in pairwise(statements):
            match field, doc:
                # A field, and the string below it.
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    yield SettingDoc(
                        name, variable(name), FIELDS[name].default, " ".join(text.split())
                    )
