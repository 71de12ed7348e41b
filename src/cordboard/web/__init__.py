"""Shared parts of every HTTP service: middleware, authentication, errors, health checks, the server."""

from cordboard.web.session_middleware import SessionMiddleware

__all__ = ["SessionMiddleware"]
