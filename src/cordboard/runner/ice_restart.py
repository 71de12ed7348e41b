"""ICE restarts, which aiortc 1.16 does not support by itself (RFC 8445, section 9).

A caller whose network has changed offers new ICE credentials on the same connection. aiortc keeps the first
ones, and so refuses the checks that come from the caller's new address. Its ICE connection can change them:
it then takes that address as a peer-reflexive candidate, and the media go there. The bot does not notice it,
unlike the replacement of its connection.

The functions reach into aiortc and aioice, which have no other way to it.
"""

from aioice.ice import CandidatePair, Connection
from aioice.utils import random_string
from aiortc import RTCIceTransport, RTCPeerConnection
from aiortc.sdp import SessionDescription

from cordboard.emit import get_logger

# As long as those that aioice draws: RFC 8839, section 5.4, requires at least 4 and 22.
_USERNAME_CHARS = 4
_PASSWORD_CHARS = 22
_UNCHECKED = (CandidatePair.State.FROZEN, CandidatePair.State.WAITING)

log = get_logger("webrtc")


def restart_ice(connection: RTCPeerConnection, sdp: str) -> bool:
    """Take the ICE credentials of a further offer of the same peer, and draw new ones for the answer.

    Args:
        connection: The connection.
        sdp: The offer.

    Returns:
        Whether the offer has new credentials; otherwise nothing changes.
    """
    offered = SessionDescription.parse(sdp).media[0].ice
    is_restart = False
    for transport in _transports(connection):
        ice: Connection = transport._connection  # noqa: SLF001 - see above
        if ice.remote_username in (None, offered.usernameFragment):
            continue
        is_restart = True
        log.info("Another path to the user is looked for")
        ice.remote_username, ice.remote_password = offered.usernameFragment, offered.password
        ice._local_username = random_string(_USERNAME_CHARS)  # noqa: SLF001 - see above
        ice._local_password = random_string(_PASSWORD_CHARS)  # noqa: SLF001 - see above
        # The first offer may have said that it has all candidates.
        transport.iceGatherer._remote_candidates_end = False  # noqa: SLF001 - see above
        ice._remote_candidates_end = False  # noqa: SLF001 - see above
    return is_restart


def check_new_paths(connection: RTCPeerConnection) -> None:
    """Check the paths to the candidates that came with or after a restart.

    aioice checks none by itself once a connection was made. The caller's checks are enough where they reach
    the bot; a bot behind address translation, or with a relay only, must send as well.

    Args:
        connection: The connection.
    """
    for transport in _transports(connection):
        ice: Connection = transport._connection  # noqa: SLF001 - see above
        if ice._check_list_done:  # noqa: SLF001 - see above
            for pair in ice._check_list:  # noqa: SLF001 - see above
                if pair.state in _UNCHECKED:
                    ice.check_start_task(pair)


def _transports(connection: RTCPeerConnection) -> set[RTCIceTransport]:
    """Return the ICE transports of a peer connection: one, as all media share it."""
    parts = [transceiver.receiver for transceiver in connection.getTransceivers()]
    parts += [connection.sctp] if connection.sctp else []
    return {part.transport.transport for part in parts}
