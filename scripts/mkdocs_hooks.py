"""Hooks of mkdocs: brings the pages beside README.md into the site, and adapts links to them.

On a disk and in a repository, the pages of docs/ link to `../SECURITY.md` and the README links to
`docs/operations.md`. In the site all pages are below one folder.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# The pages of the root, and where they are in the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "vulnerabilities.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
}
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the files of the repository that a page may link to."""
    for name, target in PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / name)))
    examples = (path for path in ROOT.glob("examples/*") if path.is_file())
    for path in sorted([*examples, ROOT / "LICENSE"]):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let each link lead to where its target is in the site."""
    of_root = {target: name for name, target in PAGES.items()}
    here = page.file.src_uri
    source = of_root.get(here, f"docs/{here}")

    def moved(match: re.Match[str]) -> str:
        link, anchor = match[1], match[2] or ""
        if ":" in link:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        target = PAGES.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(target, posixpath.dirname(here) or ".") + anchor

    return _LINK.sub(moved, markdown)
