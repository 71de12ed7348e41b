"""The pages of the project: version, changelog, links, and the files that pages name."""

import re
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest

import cordboard.emit
import cordboard.web
from docs_support import ROOT, SOURCE, codes, docs, rows

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ("Upgrading", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def test_newest_release_of_the_changelog_is_the_version() -> None:
    """The first closed section is that of the package, has a date, and stands below Unreleased."""
    sections = re.findall(r"^## \[(.+?)\](?: - (.+))?$", CHANGELOG, re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    assert sections[1][0] == cordboard.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", sections[1][1])


def test_groups_of_the_changelog_are_known() -> None:
    """Each group has one of the names of Keep a Changelog, or says how to upgrade."""
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= {*KINDS}


def test_no_link_is_broken() -> None:
    """Each link of each page leads to a file, and to a heading of it."""
    assert [*docs.broken_links()] == []


def test_broken_links_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to no file, and one to no heading, are reported."""
    page = ROOT / "docs" / "glossary.md"
    monkeypatch.setattr(docs, "written_pages", lambda: [page])
    text = "[a](nowhere.md) [b](#nothing) [c](../README.md#cordboard) [d](https://example.org)"
    monkeypatch.setattr(type(page), "read_text", lambda *_, **__: f"# Cordboard\n{text}")
    docs.anchors.cache_clear()
    found = [*docs.broken_links()]
    docs.anchors.cache_clear()
    assert [sentence.split(": ")[1] for sentence in found] == ["nowhere.md", "#nothing"]


@pytest.mark.parametrize("page", docs.written_pages(), ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    """Each file that a page puts into code is in the repository, unless it is a user's own."""
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"`([\w./-]+\.(?:py|lua|js|c|sh))(?:::\w+)?(?:: [^`]*)?`", text)
    unknown = [name for name in names if not is_in_repository(name) and name not in OF_USERS]
    assert [name for name in unknown if not (ROOT / "tests" / name).is_file()] == []


@pytest.mark.parametrize("page", docs.written_pages(), ids=lambda page: page.name)
def test_names_beside_a_file_are_in_it(page: Path) -> None:
    """What a page writes as `FILE: NAME` is in the file, as a whole word."""
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|lua|js)): (\w+)`", text):
        source = (SOURCE / file).read_text(encoding="utf-8")
        assert re.search(rf"(?<!\w){name}(?!\w)", source), f"{file} has no {name}"


def test_each_package_is_in_the_architecture() -> None:
    """The table of packages has each folder and module of `cordboard`."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = {name for cells in rows(page, "package") for name in codes(cells[0])}
    there = {f"{path.name}/" for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    there |= {path.name for path in SOURCE.glob("*.py")} - {"__main__.py"}
    assert listed == there


OF_USERS = {"my_bot.py", "bot.py", "prompts.py"}


def is_in_repository(name: str) -> bool:
    """Return whether a path of the repository, of the package or of the store's scripts exists."""
    if "/" in name:
        return any((home / name).is_file() for home in (ROOT, SOURCE, ROOT / "docs"))
    return name in names_of_files()


@cache
def names_of_files() -> frozenset[str]:
    """Return the names of all files of the package, the tests and the scripts."""
    folders = (SOURCE, ROOT / "tests", ROOT / "scripts", ROOT / "benchmarks")
    files = [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.*"))]
    return frozenset(path.name for path in files)


def test_every_page_is_in_the_site() -> None:
    """The navigation of the site lists each page of docs/, and no other."""
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"- ([\w./-]+\.md)$", config.partition("\nnav:")[2], re.MULTILINE))
    of_root = {
        "index.md",
        "changelog.md",
        "contributing.md",
        "vulnerabilities.md",
        "code-of-conduct.md",
    }
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == written | of_root


def test_every_decision_is_in_the_list() -> None:
    """The list of decisions links each record, and each record has the four parts."""
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(
        r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")
    )
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
    for name in listed:
        parts = re.findall(r"^## (.+)$", (folder / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Alternatives"], name


def api_names() -> list[str]:
    """Return the names that docs/api.md documents."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)


@pytest.mark.parametrize("name", api_names())
def test_every_name_of_the_api_page_exists(name: str) -> None:
    """Each documented name can be imported, and has a docstring."""
    assert resolve_name(name).__doc__


def test_every_public_name_is_in_the_api_page() -> None:
    """The page documents what the packages export, under the name of the first that has it."""
    documented = {name.rpartition(".")[2] for name in api_names()}
    exported = {*cordboard.__all__, *cordboard.emit.__all__, *cordboard.web.__all__}
    assert exported - documented == {"forward", "forward_line"}  # for lines of other processes
