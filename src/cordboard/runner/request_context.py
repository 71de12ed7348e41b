"""The attribution of a request's log lines."""

from cordboard.context import adopt
from cordboard.contract.launch import Launch


def adopt_launch(launch: Launch) -> None:
    """Attribute the lines of the current request, including its access line, to the session of `launch`.

    Requests that only read a session stay unattributed.
    """
    adopt(
        session_id=launch.session_id,
        user_id=launch.user_id,
        user_name=launch.user_name,
        room=launch.room_url,
        epoch=launch.epoch,
    )
