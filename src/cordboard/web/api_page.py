"""``/docs``: the calls of a service as a page for people, made from its OpenAPI document.

FastAPI's own page loads its scripts from another site; this one has no script at all.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

if TYPE_CHECKING:
    from jinja2 import Template

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@functools.cache
def _template() -> "Template":
    # Here and not above: jinja2 would add 11 ms to each start of a gateway.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("cordboard.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Texts of docstrings: what stands in backticks is code, and every second part.
    templates.filters["parts"] = re.compile(r"`([^`]+)`").split
    return templates.get_template("api.html")


class Field(NamedTuple):
    """A parameter of a call, or a field of its body.

    Attributes:
        name: Its name.
        place: ``path``, ``query``, ``header`` or ``body``.
        kind: The JSON type, and its bounds.
        is_required: Whether a call without it is refused.
        meaning: What it means; may be empty.
    """

    name: str
    place: str
    kind: str
    is_required: bool
    meaning: str


class Call(NamedTuple):
    """A call of a service.

    Attributes:
        method: The HTTP method.
        path: The path, with its parameters in braces.
        summary: What it does, in a few words.
        description: What it does.
        fields: Its parameters, then the fields of its body.
        answers: What each status means.
    """

    method: str
    path: str
    summary: str
    description: str
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str], ...]


def add_api_page(app: FastAPI) -> None:
    """Add ``/docs`` to an application. It needs what ``/openapi.json`` needs.

    Args:
        app: The application.
    """

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """Return a page that describes the calls."""
        page = _template().render(info=app.openapi()["info"], calls=list(calls_of(app.openapi())))
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def calls_of(document: Mapping[str, Any]) -> Iterator[Call]:
    """Yield the calls that an OpenAPI document describes, in its order.

    Args:
        document: The document.
    """
    schemas = document.get("components", {}).get("schemas", {})
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield Call(
                method.upper(),
                path,
                operation.get("summary", ""),
                operation.get("description", ""),
                (*_parameters(operation, schemas), *_body(operation, schemas)),
                tuple(
                    (status, answer["description"])
                    for status, answer in operation["responses"].items()
                ),
            )


def _parameters(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Field]:
    for item in operation.get("parameters", ()):
        yield Field(
            item["name"],
            item["in"],
            _kind(item["schema"], schemas),
            item.get("required", False),
            item.get("description", ""),
        )


def _body(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Field]:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(media.get("schema", {}), schemas)
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            kind, meaning = _kind(field, schemas), field.get("description", "")
            yield Field(name, "body", kind, name in required, meaning)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema to which a reference leads; any other as it is."""
    found: Mapping[str, Any] = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _kind(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Return the type of a value in words, such as ``integer from 1 to 600``."""
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        kinds = (_kind(item, schemas) for item in schema["anyOf"])
        return " or ".join(kind for kind in kinds if kind != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    words = [schema.get("type", "any")]
    words += [
        f"{word} {schema[key]:g}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "of at most"))
        if key in schema
    ]
    words += ["characters"] if "maxLength" in schema else []
    return " ".join(words)
