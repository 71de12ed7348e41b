"""Writes the generated pages of docs/, and checks the links of all pages: `make docs`.

docs.py [--check] [--coverage]
    --check     writes nothing, and fails where a page is not what it would be
    --coverage  writes docs/coverage.md too, for which all tests run (`make docs` does)
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import docs_contract

from cordboard.cli import COMMANDS, build_parser
from cordboard.emit.reference import events_table, keys_table
from cordboard.pytest_plugin.logger_coverage import modules_with_logger

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- generated: {} -->"
END = "<!-- end -->"
COVERAGE = ROOT / "docs" / "coverage.md"
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")


def main() -> int:
    """Write or check; return the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--check", action="store_true", help="write nothing; fail on differences"
    )
    arguments.add_argument(
        "--coverage", action="store_true", help="run all tests, and write who was heard"
    )
    wanted = arguments.parse_args()
    wrong = [*_outdated(write=not wanted.check)]
    if wanted.coverage and not wanted.check:
        wrong += _write_coverage()
    wrong += [*_lacking_coverage(), *_broken_links()]
    for words in wrong:
        sys.stderr.write(f"docs: {words}\n")
    return 1 if wrong else 0


def _outdated(*, write: bool) -> Iterator[str]:
    for path, text in pages().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if write:
            path.write_text(text, encoding="utf-8")
        else:
            yield f"{path.relative_to(ROOT)} is not current: make docs"


def pages() -> dict[Path, str]:
    """Return each generated page's path and text."""
    logging = ROOT / "docs" / "logging.md"
    found = {ROOT / "docs" / "cli.md": cli_page(), logging: logging_page(logging)}
    for name, tables in docs_contract.tables().items():
        path = ROOT / "docs" / "contract" / name
        page = path.read_text(encoding="utf-8")
        for marker, text in tables.items():
            page = _filled(page, marker, text)
        found[path] = page
    log_line = ROOT / "docs" / "contract" / "log-line.md"
    found[log_line] = _filled(log_line.read_text(encoding="utf-8"), "keys", keys_table())
    return found


def _filled(page: str, name: str, text: str) -> str:
    begin = BEGIN.format(name)
    if begin not in page:
        raise LookupError(f"there is no {begin}")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{text}\n{END}", page)


# --- logging


def logging_page(path: Path) -> str:
    """Return the page on logging with its tables of keys and events as the code has them."""
    page = path.read_text(encoding="utf-8")
    return _filled(_filled(page, "keys", keys_table()), "events", events_table())


def _write_coverage() -> list[str]:
    """Run all tests but those with a browser, and let them write who was heard."""
    workers = ["-n", "2"] if find_spec("xdist") else []
    command = [
        sys.executable, "-m", "pytest", "-q", "-m", "not browser and not faults_full", "--cordboard-log",
        "--cordboard-log-children", "--cordboard-log-report", str(COVERAGE),
        *workers,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, check=False)
    return ["docs/coverage.md was written, but tests failed"] if done.returncode else []


def _lacking_coverage() -> Iterator[str]:
    """Compare the modules of docs/coverage.md with those that have a logger."""
    page = COVERAGE.read_text(encoding="utf-8") if COVERAGE.exists() else ""
    listed = set(re.findall(r"^\| `(cordboard[.\w]*)`", page, re.MULTILINE))
    for module in sorted({*modules_with_logger(ROOT / "src" / "cordboard")} - listed):
        yield f"docs/coverage.md: {module} is not there: make docs"
    for module in sorted(listed):
        path = (ROOT / "src").joinpath(*module.split("."))
        if not path.with_suffix(".py").exists() and not (path / "__init__.py").exists():
            yield f"docs/coverage.md: {module} is gone: make docs"


# --- the command line


def cli_page() -> str:
    """Return the reference of all commands, from their parsers.

    Not the text of --help: its layout changes from Python to Python.
    """
    parser = build_parser()
    parts = ["# Commands", "Generated from the parsers by `make docs`.", _epilog(parser)]
    subs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    parts += [_command(name, subs.choices[name]) for name in COMMANDS]
    return "\n\n".join(parts) + "\n"


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    rows = [_argument(action) for action in parser._actions if action.dest != "help"]  # noqa: SLF001
    table = ["| argument | meaning |", "|---|---|", *rows] if rows else []
    summary = COMMANDS[name]
    parts = [f"## cordboard {name}", f"{summary[0].upper()}{summary[1:]}.", "\n".join(table)]
    return "\n\n".join(part for part in [*parts, _epilog(parser)] if part)


def _argument(action: argparse.Action) -> str:
    value = _value(action)
    words = [f"{option} {value}".strip() for option in action.option_strings] or [value]
    meaning = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return f"| {', '.join(f'`{_cell(word)}`' for word in words)} | {_cell(meaning)} |"


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


def _broken_links() -> Iterator[str]:
    for page in _written_pages():
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in target or target.startswith(("#", "mailto:")):
                continue
            if not (page.parent / target.partition("#")[0]).exists():
                yield f"{page.relative_to(ROOT)}: {target} is not there"


def _written_pages() -> Iterable[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    sys.exit(main())
