"""Liveness, readiness and metrics, the same for every service.

Liveness never asks Redis: a Redis outage must not become a mass killing by a cluster's probes.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from cordboard.contract.errors import CordboardError
from cordboard.web.auth import PROVEN

Readiness = Callable[[], Awaitable[None]]


def add_health_routes(app: FastAPI, ready: Readiness) -> None:
    """Add ``/healthz``, ``/readyz`` and ``/metrics``.

    Args:
        app: The application.
        ready: Returns when the service can take work, and raises an error of ours when not.
    """

    @app.get("/healthz", tags=["health"], summary="Alive")
    async def healthz() -> dict[str, str]:
        """Answer as long as the process does; asks nobody else."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], summary="Ready to take work")
    async def readyz(request: Request) -> Response:
        """Answer 200 if work can be accepted, else 503; only callers with the secret get the reason."""
        try:
            await ready()
        except CordboardError as error:
            if request.scope.get(PROVEN, True):
                raise
            return JSONResponse({"status": "not ready", "code": error.code}, error.status)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", tags=["health"], summary="Metrics for Prometheus")
    async def metrics() -> Response:
        """Return the metrics in Prometheus's text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
