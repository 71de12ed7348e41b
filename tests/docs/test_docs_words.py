"""One term for each concept: those of docs/glossary.md, and none of the metaphors that they replaced."""

import ast
import re
from collections.abc import Iterator

from docs_support import ROOT, SOURCE, docs, rows, source_trees

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
REPLACED = re.compile(
    r"\b(?:zygotes?|tally|tallies|farewells?|bury|buried|buries|tapes?|ledgers?|glances?|"
    r"witness(?:es)?|canar(?:y|ies)|births?|last words|"
    r"is wanted|are wanted|is no (?:duration|number|text|time|field|JSON|regular expression)|nobody is left|"
    r"no line tells|spoke of)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def test_no_page_uses_a_replaced_term() -> None:
    """Pages use the glossary's terms; code in them may have any name."""
    found = {
        page.name: words
        for page in docs.written_pages()
        if (words := REPLACED.findall(_CODE.sub("", page.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_no_message_uses_a_replaced_term() -> None:
    """Neither do messages, help texts and settings."""
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for path, tree in source_trees().items()
        for text in sentences(tree)
        if REPLACED.search(text)
    }
    assert found == set()


def sentences(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a file that are for people: those with a space, but no docstrings."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text and id(node) not in docstrings:
            yield text


def test_no_text_of_a_page_uses_a_replaced_term() -> None:
    """Neither do the room page and its scripts."""
    folder = SOURCE / "interface"
    found = {
        path.name: words
        for path in [*folder.rglob("*.js"), *folder.rglob("*.html")]
        if (words := REPLACED.findall(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_each_term_is_defined_once() -> None:
    """The glossary has one row for a term."""
    terms = [cells[0] for cells in rows(GLOSSARY, "term")]
    assert len(terms) == len(set(terms))


def test_each_term_is_used() -> None:
    """A term that neither a page nor the source uses is none."""
    pages = [page for page in docs.written_pages() if page.name != "glossary.md"]
    sources = [path for path in SOURCE.rglob("*") if path.suffix in {".py", ".lua", ".js"}]
    text = " ".join(path.read_text(encoding="utf-8") for path in [*pages, *sources]).lower()
    text = re.sub(r"[\s#*]+", " ", text)
    unused = [cells[0] for cells in rows(GLOSSARY, "term") if cells[0].lower() not in text]
    assert unused == []
