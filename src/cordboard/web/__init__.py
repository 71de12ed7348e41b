"""What every HTTP service shares: middleware, authentication, problems, health, serving."""

from cordboard.web.session_middleware import SessionMiddleware

__all__ = ["SessionMiddleware"]
