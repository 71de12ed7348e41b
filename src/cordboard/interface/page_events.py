"""Server-sent events of the pages."""

import json
from typing import Any


def page_event(name: str, **data: Any) -> bytes:
    """Return an event of a page, named ``name``, with ``data`` as a JSON object."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
