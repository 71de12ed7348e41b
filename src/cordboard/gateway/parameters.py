"""The types of the gateway's query parameters and headers."""

from typing import Annotated, Final

from fastapi import Header, Query

from cordboard.gateway.session_limits import ADDRESS_HEADER

# A minute: load balancers close connections that are idle for longer.
WAIT_MAX_S: Final = 60

WaitSeconds = Annotated[
    float,
    Query(
        ge=0,
        le=WAIT_MAX_S,
        allow_inf_nan=False,
        description="Seconds to wait until the session runs.",
    ),
]
ClientAddress = Annotated[
    str | None,
    Header(
        alias=ADDRESS_HEADER,
        max_length=256,
        description="The address of the client of a public entrance, which alone sends this header. The "
        "limits on users and addresses then apply.",
    ),
]
WithRunner = Annotated[
    bool, Query(description="Whether the response contains the address of the session's runner.")
]

CellName = Annotated[
    str | None,
    Query(
        max_length=63,
        description="The cell in which the caller has placed the room; else its name decides.",
    ),
]
