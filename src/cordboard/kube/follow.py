"""List, then watch, for ever: what an expired version, a closed stream or an absent API needs."""

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
from cordboard.kube.client import Kind, Kube, Object

PAUSE_FIRST_S: Final = 0.25
PAUSE_MAX_S: Final = 10.0

Change = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Listed:
    """Everything that there is now; what was known before and is not among it has gone."""

    objects: list[Object]


@dataclass(frozen=True, slots=True)
class Changed:
    """One change."""

    change: Change
    object: Object


@dataclass(frozen=True, slots=True)
class Trouble:
    """The API cannot be asked now; it is asked again after a pause of ``pause_s``."""

    error: ClusterError | ConflictError | NotFoundError
    pause_s: float


async def follow(
    kube: Kube, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
) -> AsyncGenerator[Listed | Changed | Trouble]:
    """Yield what there is, then each change, and lists anew when the API has forgotten us.

    Never ends and never raises an error of the cluster: it says ``Trouble``, pauses, and goes on.
    After trouble the first that comes is a list, so that a reader who hears ``Listed`` knows that
    all is well again.
    """
    where: dict[str, Any] = {"namespace": namespace, "labels": labels, "fields": fields}
    version = ""
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            if not version:
                listing = await kube.list(kind, **where)
                version = listing.version
                yield Listed(listing.objects)
            async with aclosing(kube.watch(kind, version, **where)) as changes:
                async for change, item in changes:
                    version = item["metadata"]["resourceVersion"]
                    pause_s = PAUSE_FIRST_S
                    if change != "BOOKMARK":
                        yield Changed(cast("Change", change), item)
        except ClusterExpiredError:
            version = ""
            await asyncio.sleep(PAUSE_FIRST_S)
        except (ClusterError, ConflictError, NotFoundError) as error:
            version = ""
            wait_s = max(pause_s, error.retry_after_s or 0) * random.uniform(0.75, 1.25)  # noqa: S311
            yield Trouble(error, wait_s)
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
        else:
            pause_s = PAUSE_FIRST_S
            # A stream that closes at once and again must not become a storm of requests.
            await asyncio.sleep(PAUSE_FIRST_S)
