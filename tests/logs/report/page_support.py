"""A page of a report, taken apart."""

from html.parser import HTMLParser

TAGS = {
    "html", "head", "meta", "title", "style", "body", "div", "nav", "a", "button", "main", "section",
    "h1", "h2", "p", "b", "i", "span", "small", "code", "dl", "dt", "dd", "ol", "ul", "li", "table",
    "thead", "tbody", "tr", "th", "td", "svg", "g", "rect", "input", "select", "option", "label",
    "header", "pre", "footer", "script",
}  # fmt: skip
VOID = {"meta", "input"}
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "id", "class", "href", "title", "type",
    "aria-label", "aria-hidden", "role", "viewbox", "preserveaspectratio", "fill", "x", "y", "width",
    "height", "rx", "data-mark", "data-unit", "data-zero", "placeholder", "value", "hidden", "tabindex",
}  # fmt: skip

Element = tuple[str, dict[str, str]]


class Page(HTMLParser):
    """What a page holds.

    Attributes:
        wrong: What should not be there.
        found: Its elements, each with those around it.
        texts: Its texts, each with the elements around it.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.found: list[tuple[Element, list[Element]]] = []
        self.texts: list[tuple[str, list[Element]]] = []
        self._open: list[Element] = []
        self.feed(source)
        self.close()
        self.wrong += [f"unclosed {tag}" for tag, _ in self._open]

    @property
    def text(self) -> str:
        """What is to be read."""
        return "".join(text for text, above in self.texts if "script" not in dict(above))

    @property
    def scripts(self) -> dict[str, str]:
        """The scripts by their ids; the one without is `script`."""
        found: dict[str, str] = {}
        for text, above in self.texts:
            if "script" in dict(above):
                name = dict(above)["script"].get("id", "script")
                found[name] = found.get(name, "") + text
        return found

    def values(self, *names: str) -> list[str]:
        """Return the values of attributes; of all without a name."""
        return [
            value
            for (_, attributes), _ in self.found
            for name, value in attributes.items()
            if not names or name in names
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.wrong += [] if tag in TAGS else [f"tag {tag}"]
        self.wrong += [f"attribute {name}" for name in attributes if name not in ATTRIBUTES]
        self.found.append(((tag, attributes), list(self._open)))
        if tag not in VOID:
            self._open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop()[0] != tag:
            self.wrong.append(f"unexpected </{tag}>")

    def handle_data(self, data: str) -> None:
        self.texts.append((data, list(self._open)))

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"comment {data}")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"declaration {data}")
