"""Write the generated pages of docs/, and check the links of all pages: a step of `make docs`.

docs.py [--check] [--coverage] [--no-pictures]
    --check        write nothing; fail if a page differs from what would be written
    --coverage     write docs/coverage.md as well, for which all tests run
    --no-pictures  leave the pictures of docs/images as they are; also if there is no Chromium
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import chart_values
import docs_contract
import docs_why

from cordboard.cli import COMMANDS, build_parser
from cordboard.emit.reference import events_table, keys_table
from cordboard.pytest_plugin.logger_coverage import modules_with_logger

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BEGIN = "<!-- generated: {} -->"
END = "<!-- end -->"
COVERAGE = DOCS / "coverage.md"
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on differences")
    parser.add_argument(
        "--coverage", action="store_true", help="run all tests, and write docs/coverage.md"
    )
    parser.add_argument(
        "--no-pictures", action="store_true", help="make no pictures of the interface's pages"
    )
    arguments = parser.parse_args()
    problems = [*outdated_pages(write=not arguments.check)]
    if arguments.coverage and not arguments.check:
        problems += _write_coverage()
    if not arguments.no_pictures and not arguments.check:
        problems += _make_pictures()
    problems += [*_incomplete_coverage(), *broken_links()]
    for problem in problems:
        sys.stderr.write(f"docs: {problem}\n")
    return 1 if problems else 0


# --- generated pages


def outdated_pages(*, write: bool) -> Iterator[str]:
    """Write the generated pages, or yield a sentence for each page that is not current."""
    for path, text in pages().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if write:
            path.write_text(text, encoding="utf-8")
        else:
            yield f"{path.relative_to(ROOT)} is not current. Run `make docs`."


def pages() -> dict[Path, str]:
    """Return the path and the text of each page with generated parts."""
    logging = DOCS / "logging.md"
    texts = {DOCS / "cli.md": cli_page(), logging: logging_page(logging)}
    for name, tables in docs_contract.tables().items():
        path = DOCS / "contract" / name
        texts[path] = filled(path.read_text(encoding="utf-8"), tables)
    log_line = DOCS / "contract" / "log-line.md"
    texts[log_line] = filled(log_line.read_text(encoding="utf-8"), {"keys": keys_table()})
    why = DOCS / "why.md"
    texts[why] = filled(why.read_text(encoding="utf-8"), docs_why.tables())
    architecture = DOCS / "architecture.md"
    layers = {"layers": docs_contract.layers_table()}
    texts[architecture] = filled(architecture.read_text(encoding="utf-8"), layers)
    kubernetes = DOCS / "kubernetes.md"
    values = docs_contract.table(["value", "default", "meaning"], chart_values.rows())
    texts[kubernetes] = filled(kubernetes.read_text(encoding="utf-8"), {"values": values})
    texts[chart_values.SCHEMA] = chart_values.schema_text()
    return texts


def logging_page(path: Path) -> str:
    """Return the page on logging with its tables of keys and events as the code has them."""
    page = path.read_text(encoding="utf-8")
    return filled(page, {"keys": keys_table(), "events": events_table()})


def filled(page: str, tables: dict[str, str]) -> str:
    """Return a page with new text between the markers of each name.

    Raises:
        LookupError: The page lacks a marker.
    """
    for name, text in tables.items():
        begin = BEGIN.format(name)
        if begin not in page:
            raise LookupError(f"the page has no {begin}")
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(END)}", re.DOTALL)
        page = pattern.sub(lambda _, new=f"{begin}\n{text}\n{END}": new, page)
    return page


# --- coverage of loggers


def _write_coverage() -> list[str]:
    """Run all tests but those with a browser, and let them write which modules logged."""
    workers = ["-n", "2"] if find_spec("xdist") else []
    command = [
        sys.executable, "-m", "pytest", "-q",
        "-m", "not browser and not faults_full and not cluster_full",
        "--cordboard-log", "--cordboard-log-children", "--cordboard-log-report", str(COVERAGE),
        *workers,
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, check=False)
    return ["docs/coverage.md was written, but tests failed."] if run.returncode else []


def _make_pictures() -> list[str]:
    """Make the pictures of the pages of the interface; without Chromium, they stay as they are."""
    if not os.environ.get("CHROMIUM"):
        sys.stderr.write("docs: no Chromium; docs/images stays as it is\n")
        return []
    command = [sys.executable, str(Path(__file__).with_name("pictures.py"))]
    run = subprocess.run(command, cwd=ROOT, check=False)
    return ["docs/images was not completed."] if run.returncode else []


def _incomplete_coverage() -> Iterator[str]:
    """Compare the modules of docs/coverage.md with those that have a logger."""
    page = COVERAGE.read_text(encoding="utf-8") if COVERAGE.exists() else ""
    listed = set(re.findall(r"^\| `(cordboard[.\w]*)`", page, re.MULTILINE))
    again = "Run `make docs ARGS=--coverage`."
    for module in sorted({*modules_with_logger(ROOT / "src" / "cordboard")} - listed):
        yield f"docs/coverage.md: {module} is missing. {again}"
    for module in sorted(listed):
        path = (ROOT / "src").joinpath(*module.split("."))
        if not path.with_suffix(".py").exists() and not (path / "__init__.py").exists():
            yield f"docs/coverage.md: {module} no longer exists. {again}"


# --- the command line


def cli_page() -> str:
    """Return the reference of all commands, from their parsers.

    Not the text of --help, because its layout differs between versions of Python.
    """
    parser = build_parser()
    parts = ["# Commands", "Generated from the parsers by `make docs`.", _epilog(parser)]
    subs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    parts += [_command(name, subs.choices[name]) for name in COMMANDS]
    return "\n\n".join(parts) + "\n"


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    rows = [_argument(action) for action in parser._actions if _is_shown(action)]  # noqa: SLF001
    table = ["| argument | meaning |", "|---|---|", *rows] if rows else []
    summary = COMMANDS[name]
    parts = [f"## cordboard {name}", f"{summary[0].upper()}{summary[1:]}.", "\n".join(table)]
    return "\n\n".join(part for part in [*parts, _epilog(parser)] if part)


def _is_shown(action: argparse.Action) -> bool:
    """Return whether an argument is documented: not --help, and no alias that is kept silently."""
    return action.dest != "help" and action.help != argparse.SUPPRESS


def _argument(action: argparse.Action) -> str:
    value = _value(action)
    names = [f"{option} {value}".strip() for option in action.option_strings] or [value]
    meaning = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    meaning = meaning.replace("%(choices)s", ", ".join(map(str, action.choices or ())))
    return f"| {', '.join(f'`{_cell(name)}`' for name in names)} | {_cell(meaning)} |"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = action.metavar or (action.dest.upper() if not action.choices else None)
    return str(name) if name else "|".join(map(str, action.choices or ()))


def _epilog(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.epilog.strip()}\n```" if parser.epilog else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- links


def broken_links() -> Iterator[str]:
    """Yield a sentence for each link whose file, or whose heading in that file, does not exist."""
    for page in written_pages():
        for link in LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
            if "://" in link or link.startswith("mailto:"):
                continue
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            if not target.exists():
                yield f"{page.relative_to(ROOT)}: {link}: there is no such file."
            elif anchor and anchor not in anchors(target.resolve()):
                yield f"{page.relative_to(ROOT)}: {link}: there is no such heading."


def written_pages() -> list[Path]:
    """Return all pages: those beside README.md, and those of docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = [LINK.sub("", title).replace("`", "") for title in _HEADING.findall(text)]
    return frozenset(_NOT_IN_ANCHOR.sub("", title.lower()).replace(" ", "-") for title in titles)


if __name__ == "__main__":
    sys.exit(main())
