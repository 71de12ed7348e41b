"""A gateway, which knows for 24 hours when and where a session ran; it keeps no lines.

    [[environments.prod]]
    type = "gateway"
    url = "https://gateway.example"
    token_env = "CORDBOARD_CONTROL_SECRET"

A query of a session without a time then asks the other sources for its minutes, and of a cluster's warm runners for
the one that served it.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from cordboard.contract.errors import CordboardError
from cordboard.contract.http_api import session_path
from cordboard.contract.state import TERMINAL
from cordboard.logs.query import Query, Whereabouts
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources._http import Store, clock_fact
from cordboard.logs.sources._options import checked, checked_url
from cordboard.logs.sources._secrets import checked_variable
from cordboard.logs.sources._slices import StoreError, understood
from cordboard.logs.timespec import timestamp

# A gateway answers within 1 s even while a shard of Redis is down (2 s timeouts).
TIMEOUT_S: Final = 10.0
# A page logs from its opening on, and nobody knows how long before the join that was.
_BEFORE: Final = timedelta(minutes=10)
# The last lines of a page and of a bot that hangs come seconds after the end; agents hold lines back for a minute.
_AFTER: Final = timedelta(minutes=2)


class Gateway(Source):
    """A gateway.

    Args:
        store: Its HTTP interface.
        name: What messages call it; its URL if empty.
    """

    def __init__(self, store: Store, name: str = "") -> None:
        self.name = name or f"gateway {store.shown}"
        self._store = store

    def locate(self, session: str) -> Whereabouts:
        """Return when and where a session ran.

        Args:
            session: The session.

        Raises:
            CordboardError: The gateway does not answer, or does not know the session.
        """
        try:
            found = self._store.json(session_path(session), {})
            begin = datetime.fromisoformat(found["createdAt"])
            ends = [begin, *map(datetime.fromisoformat, found["stages"].values())]
            is_over = found["status"] in TERMINAL
            until = timestamp(max(ends) + _AFTER) if is_over else None
            return Whereabouts(
                since=timestamp(begin - _BEFORE),
                until=until,
                runner=str(found.get("runner") or "") if found.get("attempt", 1) == 1 else "",
            )
        except StoreError as error:
            raise CordboardError(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CordboardError("it is not a gateway") from error

    def streams(self, query: Query) -> Iterable[Stream]:  # noqa: ARG002 - it keeps no lines
        """Return nothing, whatever the `query`."""
        return ()

    def explain(self, query: Query) -> Sequence[str]:
        """Return the request as ``curl`` makes it, if `query` is one of a session without a time."""
        if query.session is None or not query.may_be_located:
            return ()
        return [f"curl -s {shlex.quote(self._store.shown + session_path(query.session))}"]

    def facts(self) -> Sequence[str]:
        """Return the identity and the clock, for ``cordboard doctor --env``.

        Raises:
            StoreError: It does not answer.
        """
        with understood():
            list(self._store.json("/sessions", {"limit": "1"})["sessions"])
        return (self._store.identity, clock_fact(self._store.clock_skew_s))


def open_source(options: Mapping[str, Any]) -> Gateway:
    """Return the source of one entry of ``[environments]``; nothing is asked of it yet.

    Args:
        options: ``url``; ``token_env``, the environment variable with the control secret; ``name``.

    Raises:
        SettingsError: An option is missing, unknown or of another type.
    """
    texts = checked("gateway", options, url=str, token_env=str, name=str)
    url = checked_url("gateway", texts["url"])
    token_env = checked_variable("gateway", "token_env", texts["token_env"])
    store = Store(url, token_env=token_env, timeout_s=TIMEOUT_S, pauses_s=())
    return Gateway(store, texts["name"])
