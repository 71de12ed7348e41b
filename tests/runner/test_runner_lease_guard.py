"""The page that supervisor and bot process share, and the wait of a bot that was paused."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from cordboard.contract.lease import Periods
from cordboard.runner.lease_guard import PAUSE_S, LeaseGuard, LeasePage, steady_time


@pytest.fixture
def page() -> Iterator[LeasePage]:
    created = LeasePage.create()
    yield created
    created.release()


def test_page_is_shared_by_its_descriptor(page: LeasePage) -> None:
    """What one process writes, the other reads, in both directions."""
    other = LeasePage(os.dup(page.descriptor))
    page.renewed_at = 12.5
    other.mark_self_killed()
    assert other.renewed_at == 12.5
    assert page.is_self_killed
    other.release()


def test_new_page_counts_as_renewed(page: LeasePage) -> None:
    """A bot process that starts has the whole lease before it."""
    assert 0 <= steady_time() - page.renewed_at < Periods().lease_s
    assert not page.is_self_killed


def test_paused_bot_waits_for_a_renewal(page: LeasePage) -> None:
    """After a pause longer than the lease, the bot goes on once the page shows a renewal, and not before."""
    guard = LeaseGuard(page, Periods(lease_s=0.1))
    time.sleep(PAUSE_S + 0.1)  # as if this process had been frozen
    order: list[str] = []

    def renew() -> None:
        order.append("renewed")
        page.renewed_at = steady_time() + 60  # far ahead, so that a slow machine does not expire it

    timer = threading.Timer(0.1, renew)
    timer.start()
    guard.wait_for_lease()
    order.append("went on")
    timer.join()
    assert order == ["renewed", "went on"]


def test_paused_bot_with_a_valid_lease_goes_on(page: LeasePage) -> None:
    """A pause alone does not stop a bot whose lease cannot have expired."""
    guard = LeaseGuard(page, Periods(lease_s=3600))
    time.sleep(PAUSE_S + 0.1)
    guard.wait_for_lease()  # would block for ever
