"""The cell of this process, and the table ``[cells]``: the addresses of all cells."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from cordboard.contract.cells import Cell, is_cell_name
from cordboard.contract.errors import SettingsError
from cordboard.contract.urls import check_http_url
from cordboard.settings.suggestions import nearest

_KEYS: Final = tuple(item.name for item in fields(Cell))
_NAME_HINT: Final = "Use 1 to 63 of a-z 0-9 -, with a letter or digit at both ends."


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CellSettings:
    """To which cell a process belongs."""

    cell: str | None = None
    """The name of the cell (one Redis, one cluster, one region) that this component belongs to. It
    is written in each log line and in the answers about sessions. Required with the table [cells]."""


def cells_of(table: Mapping[str, object], path: Path | None) -> dict[str, Cell]:
    """Return the cells of the table ``[cells]`` by their names.

    Args:
        table: The table.
        path: The file that it comes from, for messages.

    Raises:
        SettingsError: A name, a key or a URL is invalid.
    """
    return {name: _cell(name, entry, path) for name, entry in table.items()}


def check_cell(cell: str | None, cells: Mapping[str, Cell]) -> None:
    """Check that the cell of this process is valid, and one of the known ones.

    Args:
        cell: The setting ``cell``.
        cells: The cells of the table ``[cells]``.

    Raises:
        SettingsError: It is not.
    """
    if cell is not None and not is_cell_name(cell):
        raise SettingsError(f"cell: invalid name {cell!r}.", hint=_NAME_HINT)
    if not cells or cell in cells:
        return
    known = ", ".join(cells)
    if cell is None:
        raise SettingsError(
            f"There is a table [cells], but no cell is set; the cells are: {known}.",
            hint="Set CORDBOARD_CELL to the cell that this process belongs to.",
        )
    raise SettingsError(f"cell: {cell!r} is not in [cells]; the cells are: {known}.")


def _cell(name: str, entry: object, path: Path | None) -> Cell:
    where = f"{path}: [cells] {name}"
    if not is_cell_name(name):
        raise SettingsError(f"{where}: invalid name of a cell.", hint=_NAME_HINT)
    values = {"gateway": entry} if isinstance(entry, str) else entry
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where}: expected the URL of its gateway, or a table, got {entry!r}.")
    for key in values:
        if key not in _KEYS:
            raise SettingsError(f"{where} {key}: unknown key.{nearest(key, _KEYS)}")
    if "gateway" not in values:
        raise SettingsError(f"{where}: expected the key gateway, the URL of its gateways.")
    texts: dict[str, str] = {}
    for key, value in values.items():
        if not isinstance(value, str):
            raise SettingsError(f"{where} {key}: expected a URL, got {value!r}.")
        texts[key] = check_http_url(f"{where} {key}", value).rstrip("/")
    return Cell(**texts)
