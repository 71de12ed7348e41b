"""The numbers of browsers' lines: each is taken once, in whatever order they come."""

import random

from cordboard.interface.browser_log import BOOTS_MAX, NUMBERS_KEPT, TakenNumbers


def test_each_number_is_taken_once_in_any_order() -> None:
    """As far back as a page's queue reaches; a line from before that has come already."""
    taken = TakenNumbers()
    numbers = [*range(1, NUMBERS_KEPT + 1)]
    random.Random(14).shuffle(numbers)
    assert all(taken.take("u-1", "9f31c2aa", seq) for seq in numbers)
    assert not any(taken.take("u-1", "9f31c2aa", seq) for seq in numbers)
    assert taken.take("u-2", "9f31c2aa", 1)
    assert taken.take("u-1", "9f31c2aa", NUMBERS_KEPT + 1)
    assert not taken.take("u-1", "9f31c2aa", 1)
    assert taken.take("u-1", "9f31c2aa", 2**60)
    assert taken.take("u-1", "9f31c2aa", 2**60 - NUMBERS_KEPT + 1)
    assert not taken.take("u-1", "9f31c2aa", 2**60 - NUMBERS_KEPT)


def test_numbers_of_the_oldest_page_are_forgotten() -> None:
    """Else pages would fill the memory."""
    taken = TakenNumbers()
    for boot in range(BOOTS_MAX + 1):
        assert taken.take("u-1", f"{boot:08x}", 7)
    assert taken.take("u-1", f"{0:08x}", 7)
    assert not taken.take("u-1", f"{BOOTS_MAX:08x}", 7)
