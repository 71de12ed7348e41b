"""List, then watch, without end: across expired versions, closed streams and an unavailable API."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from cordboard.contract.errors import (
    ClusterError,
    ClusterExpiredError,
    ConflictError,
    NotFoundError,
)
from cordboard.kube.client import Kube, Object
from cordboard.kube.kinds import Kind

PAUSE_S: Final = 0.25
# Pauses after failures double from the first to this one: an API that is back is noticed within 10 s.
PAUSE_MAX_S: Final = 10.0

_random = random.SystemRandom()

Change = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class ObjectList:
    """All objects that exist now. An object that was known before and is not among them is gone.

    Attributes:
        objects: The objects.
    """

    objects: list[Object]


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One change of one object.

    Attributes:
        change: What happened to it.
        object: The object after the change.
    """

    change: Change
    object: Object


@dataclass(frozen=True, slots=True)
class WatchFailure:
    """A request failed and is repeated after a pause.

    Attributes:
        error: Why it failed.
        pause_s: Seconds until it is repeated.
    """

    error: ClusterError | ConflictError | NotFoundError
    pause_s: float


async def follow(
    kube: Kube,
    kind: Kind,
    *,
    namespace: str | None = None,
    labels: str = "",
    fields: str = "",
    first_pause_s: float = PAUSE_S,
) -> AsyncGenerator[ObjectList | ObjectChange | WatchFailure]:
    """Yield all objects, then each change, and all objects again when the API has lost the version.

    The generator does not end and raises no error of the cluster: it yields ``WatchFailure``, pauses, and
    continues with ``ObjectList``, which therefore means that the API answers again.

    Args:
        kube: The cluster.
        kind: The kind of the objects.
        namespace: Their namespace; None for all namespaces.
        labels: A label selector; empty for all objects.
        fields: A field selector; empty for all objects.
        first_pause_s: Seconds of the pause after a first failure.
    """
    selection: dict[str, Any] = {"namespace": namespace, "labels": labels, "fields": fields}
    version = ""
    pause_s = first_pause_s
    while True:
        try:
            if not version:
                listing = await kube.list(kind, **selection)
                version = listing.version
                yield ObjectList(listing.objects)
            async with aclosing(kube.watch(kind, version, **selection)) as changes:
                async for change, item in changes:
                    # Bookmarks move the version, too: a quiet watch does not expire.
                    version = item["metadata"]["resourceVersion"]
                    pause_s = first_pause_s
                    if change != "BOOKMARK":
                        yield ObjectChange(cast("Change", change), item)
        # Not trouble: the server keeps versions for a few minutes only, and a list replaces them.
        except ClusterExpiredError:
            version = ""
            await asyncio.sleep(first_pause_s)
        except (ClusterError, ConflictError, NotFoundError) as error:
            version = ""
            # Jitter: readers that lost the API together do not come back together.
            wait_s = max(pause_s, error.retry_after_s or 0) * _random.uniform(0.75, 1.25)
            yield WatchFailure(error, wait_s)
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
        else:
            pause_s = first_pause_s
            # Without a pause, streams that close at once would become a storm of requests.
            await asyncio.sleep(first_pause_s)
