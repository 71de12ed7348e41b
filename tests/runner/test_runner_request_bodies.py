"""The bodies that a runner forwards to a bot process."""

from typing import Any

import pytest

from cordboard.runner.request_bodies import OfferBody


@pytest.mark.parametrize(
    "candidate",
    [
        {"candidate": "candidate:1", "sdp_mid": "0", "sdp_mline_index": 0},
        {"candidate": "candidate:1", "sdpMid": "0", "sdpMLineIndex": 0},
        {"candidate": "", "sdpMid": None},
    ],
)
def test_candidate_is_forwarded_in_the_spelling_of_its_caller(candidate: dict[str, Any]) -> None:
    """Pipecat and browsers spell the fields of a candidate differently; the bot process reads both."""
    body = {"pc_id": "p", "candidates": [candidate], "requestData": {"x": 1}}
    forwarded = OfferBody.model_validate(body).model_dump(exclude_unset=True, by_alias=True)
    assert forwarded == body
