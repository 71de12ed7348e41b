"""The bodies of requests to a runner; `docs/contract/http.md` describes them."""

import os
import time
from typing import Any, Final

from pydantic import ConfigDict, Field, model_validator

from cordboard.context import current
from cordboard.contract.ids import canonical_room, check_session_id, uuid7, with_room_token
from cordboard.contract.launch import (
    MAX_DURATION_DEFAULT_S,
    MAX_DURATION_MAX_S,
    START_FIELDS,
    Launch,
    request_key,
)
from cordboard.web.strict_body import StrictBody

# Lua and JavaScript, which read these numbers as well, cannot represent larger integers exactly.
INTEGER_MAX: Final = 2**53


class StartBody(StrictBody):
    """The body of ``POST /start``; the fields are those of ``Launch``."""

    # A field that Launch does not declare fails here.
    model_config = ConfigDict(extra="ignore", alias_generator=request_key)

    room_url: str
    session_id: str | None = None
    epoch: int | None = Field(None, ge=1, le=INTEGER_MAX)
    token: str | None = None
    body: dict[str, Any] = Field(default_factory=dict)
    user_id: str | None = None
    user_name: str | None = None
    user_email: str | None = None
    tenant_id: str | None = None
    bot: str = "default"
    attempt: int = Field(1, ge=1, le=INTEGER_MAX)
    max_duration_s: int = Field(MAX_DURATION_DEFAULT_S, ge=1, le=MAX_DURATION_MAX_S)

    @model_validator(mode="before")
    @classmethod
    def _move_room_token(cls, data: Any) -> Any:
        """Move the token from the room's URL to the field ``token``."""
        return with_room_token(data)

    def launch(self) -> Launch:
        """Return the launch; an empty text counts as absent.

        Raises:
            InvalidValueError: The session id or the room is malformed.
        """
        session_id = self.session_id or uuid7(time.time_ns() // 1_000_000, os.urandom(10))
        values = {name: value for name in START_FIELDS if (value := getattr(self, name))}
        return Launch(
            **{
                **values,
                "session_id": check_session_id(session_id),
                "room_url": canonical_room(self.room_url),
                "epoch": self.epoch or 1,
                "traceparent": current().traceparent,
            }
        )


class CandidateBody(StrictBody):
    """One ICE candidate, in the spelling of Pipecat or of a browser's ``RTCIceCandidate.toJSON()``."""

    candidate: str
    sdp_mid: str | None = None
    browser_sdp_mid: str | None = Field(None, alias="sdpMid")
    sdp_mline_index: int | None = None
    browser_sdp_mline_index: int | None = Field(None, alias="sdpMLineIndex")


class OfferBody(StrictBody):
    """The body of ``POST`` and ``PATCH /sessions/{id}/offer``; the bot process checks further fields."""

    model_config = ConfigDict(extra="allow")

    sdp: str | None = None
    type: str | None = None
    pc_id: str | None = None
    restart_pc: bool | None = None
    candidates: list[CandidateBody] | None = None
