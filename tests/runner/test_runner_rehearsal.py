"""What bot processes would do for the first time is done before they are forked."""

from cordboard.runner.rehearsal import rehearse
from cordboard.runner.shared_state import ProcessState, opened_since


def test_rehearsal_accepts_a_stream_and_leaves_nothing_open() -> None:
    """The server of bot processes accepts a stream; nothing is left that processes must not share."""
    before = ProcessState.now()
    assert rehearse().startswith(b"HTTP/1.1 101 ")
    assert opened_since(before) == []
    assert len(ProcessState.now().files) == len(before.files)
