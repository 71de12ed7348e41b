"""HTML that escapes by default: whatever is no ``Markup`` is text, and stays text."""

from html import escape
from typing import Any

from cordboard.logs.report.visible import as_text, visible

_VOID = frozenset({"meta", "input"})


class Markup(str):
    """Text that is HTML already; only this module and the page's own files make it."""

    __slots__ = ()


def el(tag: str, *children: Any, **attributes: Any) -> Markup:
    """Return an element.

    Args:
        tag: A constant of the page, never a text of a log.
        children: ``Markup``, or anything else, which is shown as text; None is left out.
        attributes: ``class_`` for ``class``, ``_`` for ``-``; None and False are left out.
    """
    said = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{join(*children)}</{tag}>")


def scrolled(content: Markup, label: str, css: str = "scroll") -> Markup:
    """Return content in a box that scrolls, by the keyboard as well."""
    return el("div", content, class_=css, tabindex="0", role="region", aria_label=label)


def join(*children: Any) -> Markup:
    """Return children one after the other, each escaped unless it is ``Markup``."""
    return Markup("".join(_child(child) for child in children if child is not None))


def text(value: Any) -> Markup:
    """Return any value as text of a page."""
    return Markup(escape(visible(as_text(value)), quote=True))


def _child(child: Any) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, (list, tuple)):
        return join(*child)
    return text(child)


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    spelt = name.rstrip("_").replace("_", "-")
    return f" {spelt}" if value is True else f' {spelt}="{text(value)}"'
