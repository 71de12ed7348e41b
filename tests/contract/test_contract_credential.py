"""The credentials that are derived from the control secret."""

from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.credential import bot_credential, runner_credential

IDS = st.from_regex(r"[A-Za-z0-9._~:@-]{1,20}", fullmatch=True)


@given(IDS, st.integers(1, 2**53), IDS, st.integers(1, 2**53))
def test_credential_of_a_bot_process_is_that_of_one_session_and_epoch(
    session_id: str, epoch: int, other_id: str, other_epoch: int
) -> None:
    """Two bot processes accept the same credential only if they are the same session in the same epoch."""
    is_same = (session_id, epoch) == (other_id, other_epoch)
    credential = bot_credential("secret", session_id, epoch)
    assert (credential == bot_credential("secret", other_id, other_epoch)) is is_same
    assert credential != bot_credential("other secret", session_id, epoch)


@given(IDS, st.integers(1, 9))
def test_credential_of_a_bot_process_is_no_credential_of_a_runner(text: str, epoch: int) -> None:
    """A runner's address that reads like a session does not make the two credentials equal."""
    assert bot_credential("secret", text, epoch) != runner_credential("secret", f"{text}\n{epoch}")
