"""Every setting: its type, default, unit, effect, and why it has this default.

A setting has one name: ``redis_url`` in ``cordboard.toml`` is ``REDIS_URL`` in the environment, which
takes precedence; ``queue_max`` is ``CORDBOARD_QUEUE_MAX``. Secrets come from the environment or from
files that it names, never from ``cordboard.toml``.

Each component's settings are a dataclass in a module of this package. The string below a field is its
documentation; ``reference.py`` reads these strings for docs/contract/settings.md.
"""

from cordboard.settings.loading import load, shared_environment
from cordboard.settings.model import Settings
from cordboard.settings.secrets import read_secret

__all__ = ["Settings", "load", "read_secret", "shared_environment"]
