"""Which cell a room belongs to."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.cells import cell_of, is_cell_name

NAMES = st.lists(
    st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(NAMES, st.text(max_size=20), st.randoms())
def test_room_has_one_cell_whatever_the_order_of_the_list(
    names: list[str], room: str, random: object
) -> None:
    """Two components with the same cells agree, even if they list them differently."""
    cell = cell_of(room, names)
    assert cell in names
    random.shuffle(names)  # type: ignore[attr-defined]
    assert cell_of(room, names) == cell


@given(NAMES, st.text(max_size=20))
def test_new_cell_takes_rooms_and_moves_no_other(names: list[str], room: str) -> None:
    """A room stays where it is, or belongs to the new cell."""
    assert cell_of(room, [*names, "new-cell"]) in {cell_of(room, names), "new-cell"}


def test_rooms_are_spread_over_the_cells() -> None:
    """Each of four cells gets about a quarter."""
    counted = Counter(cell_of(f"webrtc:{number}", ["a", "b", "c", "d"]) for number in range(4000))
    assert all(800 < count < 1200 for count in counted.values())


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a" * 64, "ä", "a\n"])
def test_malformed_name_is_no_cell(name: str) -> None:
    """The name of a cell is a DNS label."""
    assert not is_cell_name(name)
    assert is_cell_name("eu-1")
