"""The character encoding of multipart forms."""

from typing import Final

from python_multipart.multipart import parse_options_header

from cordboard.contract.errors import InvalidValueError

_UTF_8: Final = frozenset({b"", b"utf-8", b"utf8"})


def check_form_charset(content_type: str) -> None:
    """Refuse a multipart form that is not in UTF-8, as all browsers and carriers send it (RFC 7578, section 5.1).

    Starlette decodes by any codec of Python's that the client names. Some raise errors that it does not
    expect, and others return lone surrogates, which nothing can encode.

    Args:
        content_type: The header ``Content-Type``.

    Raises:
        InvalidValueError: It names another encoding.
    """
    _, options = parse_options_header(content_type)
    if options.get(b"charset", b"").lower() not in _UTF_8:
        raise InvalidValueError("Expected a form in UTF-8.", hint="Leave out the charset.")
