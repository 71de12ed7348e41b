"""The state table: pure, and the same in the store's scripts."""

import re
from importlib.resources import files

from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.state import LIVE, REASONS, TERMINAL, TRANSITIONS, State, next_state

STATES = st.sampled_from(sorted(TRANSITIONS))


@given(st.lists(STATES))
def test_a_terminal_state_is_forever(wanted: list[State]) -> None:
    """Whatever is asked, a session is in one state, and leaves no terminal one."""
    state: State = "queued"
    for step in wanted:
        after = next_state(state, step)
        assert after == state or after in TRANSITIONS[state]
        if state in TERMINAL:
            assert after == state
        state = after


def test_every_state_is_live_or_terminal() -> None:
    """No state is both or neither; every reason leads to a terminal one."""
    assert set(TRANSITIONS) == LIVE | TERMINAL
    assert not LIVE & TERMINAL
    assert set(REASONS.values()) == TERMINAL
    assert all(not TRANSITIONS[state] for state in TERMINAL)
    assert all(TRANSITIONS[state] >= TERMINAL - {"ended"} for state in LIVE)


def test_the_scripts_know_the_same_live_states() -> None:
    """The scripts' table of live states is the contract's."""
    text = files("cordboard.store").joinpath("scripts", "_shared.lua").read_text()
    (table,) = re.findall(r"local LIVE = \{(.*?)\}", text)
    assert set(re.findall(r"(\w+) = true", table)) == LIVE


def test_the_scripts_use_the_contracts_reasons() -> None:
    """Each reason that a script writes is one of the contract's, with its state."""
    scripts = files("cordboard.store").joinpath("scripts")
    for script in scripts.iterdir():
        for state, reason in re.findall(r"finish\(rec, '(\w+)', '(\w+)'", script.read_text()):
            assert REASONS[reason] == state
