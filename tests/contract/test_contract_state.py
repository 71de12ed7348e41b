"""The states and reasons: consistent, and the same in the store's scripts."""

import re
from importlib.resources import files

from cordboard.contract.state import LIVE, REASONS, TERMINAL, TRANSITIONS


def test_every_state_is_live_or_final() -> None:
    """No state is both or neither, every reason has a final state, and no final state is left."""
    assert set(TRANSITIONS) == LIVE | TERMINAL
    assert not LIVE & TERMINAL
    assert set(REASONS.values()) == TERMINAL
    assert all(not TRANSITIONS[state] for state in TERMINAL)
    assert all(TRANSITIONS[state] >= TERMINAL - {"ended"} for state in LIVE)


def test_scripts_have_the_same_live_states() -> None:
    """The scripts' table of live states is the contract's."""
    text = files("cordboard.store").joinpath("scripts", "_shared.lua").read_text()
    (table,) = re.findall(r"local LIVE = \{(.*?)\}", text)
    assert set(re.findall(r"(\w+) = true", table)) == LIVE


def test_scripts_use_reasons_of_the_contract() -> None:
    """Each reason that a script writes is one of the contract's, with its state."""
    scripts = files("cordboard.store").joinpath("scripts")
    for script in scripts.iterdir():
        for state, reason in re.findall(r"finish\(rec, '(\w+)', '(\w+)'", script.read_text()):
            assert REASONS[reason] == state
