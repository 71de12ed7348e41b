"""The description of routes in an OpenAPI document."""

from typing import Any

from fastapi.routing import APIRoute


class DescribedRoute(APIRoute):
    """A route whose OpenAPI description leaves out the ``Args`` of its function's docstring.

    The document describes the parameters of a request itself; ``Args`` are for readers of the code.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.description = self.description.partition("\n\nArgs:")[0]
