"""Liveness, readiness and metrics, the same for every service.

The liveness check never asks Redis: during a Redis outage a cluster's probes would otherwise kill every
pod.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette

from cordboard.contract.errors import CordboardError, NotReadyError
from cordboard.web.auth import AUTHENTICATED

ReadinessCheck = Callable[[], Awaitable[None]]


def announce_stop(app: Starlette) -> None:
    """Let ``/readyz`` of an application answer 503 from now on, so that load balancers choose other processes."""
    app.state.stops = True


def add_health_routes(app: FastAPI, check_ready: ReadinessCheck) -> None:
    """Add ``/healthz``, ``/readyz`` and ``/metrics`` to an application.

    Args:
        app: The application.
        check_ready: Raises a `CordboardError` if the service cannot accept work.
    """

    @app.get("/healthz", tags=["health"], summary="Alive")
    async def healthz() -> dict[str, str]:
        """Answer while the process is alive, whatever the state of other services."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], summary="Ready to take work")
    async def readyz(request: Request) -> Response:
        """Return 200 if the service accepts work, else 503; callers with the secret see the reason."""
        try:
            if getattr(request.app.state, "stops", False):
                raise NotReadyError("This process stops.", retry_after_s=1)
            await check_ready()
        except CordboardError as error:
            # Without the key, this server requires no secret, so every caller may see the reason.
            if request.scope.get(AUTHENTICATED, True):
                raise
            return JSONResponse({"status": "not ready", "code": error.code}, error.status)
        return JSONResponse({"status": "ready"})

    # Not an open path: the metrics tell how many calls there are.
    @app.get("/metrics", tags=["health"], summary="Metrics for Prometheus")
    async def metrics() -> Response:
        """Return the metrics in the text format of Prometheus."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
