"""What a bot file imports is found without running it, and the hint installs all that is missing at once."""

import sys
from email.message import Message
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

from cordboard.runner import install_hints
from cordboard.runner.bot_imports import BotImports, MissingModule, find_imports
from cordboard.runner.install_hints import (
    DEFAULT_HINT,
    import_error_hint,
    install_command,
    missing_hint,
)

PIP = f"{sys.executable} -m pip"


@pytest.fixture(autouse=True)
def _no_pip_in_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def write(directory: Path, text: str, name: str = "bot.py") -> Path:
    """Write a file; return its path."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hint_of(file: Path, name: str) -> str:
    """The hint for a file whose import of the module `name` has failed."""
    return import_error_hint(ModuleNotFoundError(f"No module named {name!r}", name=name), file)


def missing(directory: Path, text: str) -> list[str]:
    """The modules that a bot file with this text lacks."""
    return [item.name for item in find_imports(write(directory, text)).missing]


def test_all_missing_extras_and_packages_are_in_one_command(tmp_path: Path) -> None:
    """Those that a sibling of the bot file imports, too."""
    write(tmp_path, "from pipecat.services.anthropic.llm import AnthropicLLMService\n", "llm.py")
    file = write(
        tmp_path,
        "import os, llm\n"
        "from pipecat.services.deepgram.stt import DeepgramSTTService\n"
        "from google import genai\n"
        "import serial.tools, bs4\n",
    )
    assert hint_of(file, "anthropic") == (
        f"Install what it imports: {PIP} install 'pipecat-ai[anthropic,deepgram]' google-genai pyserial "
        "beautifulsoup4"
    )


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        ("requirements.txt", "not-there>=1\npytest\n", "-r {file}"),
        ("pyproject.toml", "[project]\ndependencies = ['not-there>=1']\n", "'not-there>=1'"),
    ],
)
def test_hint_names_the_file_that_lists_what_is_missing(
    tmp_path: Path, name: str, text: str, arguments: str
) -> None:
    """With the command that installs all of it."""
    listing = write(tmp_path, text, name)
    file = write(tmp_path, "import bs4\n")
    assert hint_of(file, "bs4") == (
        f"Install what it imports: {PIP} install beautifulsoup4. Or install all that {listing} lists: "
        f"{PIP} install {arguments.format(file=listing)}"
    )
    write(tmp_path, "pytest\n", "requirements.txt")
    assert hint_of(file, "bs4") == f"Install what it imports: {PIP} install beautifulsoup4"


def test_name_that_pipecat_lacks_may_be_of_another_version(tmp_path: Path) -> None:
    """No package would help; in a module of the bot's own, the file is to be corrected."""
    file = write(tmp_path, "from pipecat import NotThere\n")
    with pytest.raises(ImportError) as refused:
        exec(file.read_text(), {})
    assert import_error_hint(refused.value, file) == (
        f"pipecat-ai {version('pipecat-ai')} has no NotThere in pipecat; the bot file may be "
        "for another version of Pipecat."
    )
    own = ImportError("cannot import name 'x' from 'prompts' (prompts.py)")
    assert import_error_hint(own, file) == DEFAULT_HINT


def test_package_of_an_unknown_name_is_a_guess(tmp_path: Path) -> None:
    """The hint says so."""
    file = write(tmp_path, "import not_there.sub\nimport serial\n")
    assert hint_of(file, "not_there") == (
        f"Install what it imports, e.g.: {PIP} install not_there pyserial (the package with the module "
        "not_there may have another name)"
    )


def test_module_that_pipecat_imports_without_a_message_has_an_extra() -> None:
    """By the metadata of Pipecat: `aic_sdk` comes with the extra `aic`."""
    item = MissingModule("aic_sdk", "pipecat.audio.filters.aic_filter")
    hint = missing_hint(BotImports((), (item,), changes_path=False))
    assert hint == f"Install what it imports: {PIP} install 'pipecat-ai[aic]'"


@pytest.mark.parametrize(
    ("condition", "clause"),
    [
        ('python_version >= "3.99" and ', '. It installs aic_sdk only if python_version >= "3.99"'),
        ('python_version >= "3" and ', ""),
        ("", ""),
    ],
)
def test_hint_says_what_an_extra_does_not_install_for_this_python(
    monkeypatch: pytest.MonkeyPatch, condition: str, clause: str
) -> None:
    """Its command would succeed, and the module would be missing still."""
    imports = BotImports(
        (), (MissingModule("aic_sdk", "pipecat.audio.filters.aic_filter"),), changes_path=False
    )
    plain = missing_hint(imports)  # and the extras are known, which are read once
    pipecat = Message()
    pipecat["Requires-Dist"] = f'aic-sdk>=2; {condition}extra == "aic"'
    pipecat["Requires-Dist"] = 'aic-sdk>=1; python_version >= "3.98" and extra == "other"'
    monkeypatch.setattr(install_hints, "metadata", lambda _name: pipecat)
    assert missing_hint(imports) == f"{plain}{clause}"


def test_each_service_of_pipecat_has_an_extra_that_exists(tmp_path: Path) -> None:
    """No service is named by a guess."""
    import pipecat

    extras = set(metadata("pipecat-ai").get_all("Provides-Extra") or ())
    root = Path(pipecat.__file__).parent
    files = [path for part in ("services", "transports") for path in (root / part).rglob("*.py")]
    modules = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in files]
    text = "".join(f"import {module}\n" for module in modules)
    items = find_imports(write(tmp_path, text)).missing
    unknown = [item for item in items if not set(item.extra.split(",")) <= extras]
    assert items
    assert not unknown


@pytest.mark.parametrize(
    "text",
    [
        "import os, asyncio\nfrom concurrent import futures\n",
        "from __future__ import annotations\nimport fastapi.responses\n",
        "try:\n    import not_there\nexcept ImportError:\n    not_there = None\n",
        "try:\n    import not_there\nexcept (OSError, ModuleNotFoundError):\n    pass\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import not_there\n",
        "async def bot(args):\n    import not_there\n",
        "if __name__ == '__main__':\n    import not_there\n",
        "from google.protobuf import message\n",
        "import sys\nif sys.version_info < (3, 11):\n    import not_there\n",
        "import sys\nif sys.version_info[:2] == (3, 10):\n    import not_there\n",
        "import sys\nif sys.platform == 'win32':\n    import not_there\nelse:\n    import os\n",
        "import os\nif os.name != 'posix':\n    import not_there\n",
    ],
)
def test_import_that_cannot_fail_the_load_is_not_listed(tmp_path: Path, text: str) -> None:
    """Nor is a module that is installed."""
    assert missing(tmp_path, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "import not_there\n",
        "from not_there.sub import name\n",
        "class A:\n    import not_there\n",
        "try:\n    import not_there\nexcept ImportError:\n    raise SystemExit('no')\n",
        "try:\n    pass\nexcept ImportError:\n    pass\nelse:\n    import not_there\n",
        "if True:\n    from not_there import x\n",
        "import sys\nif sys.version_info >= (3, 11):\n    import not_there\n",
        "import sys\nif sys.version_info < (3, 11):\n    pass\nelse:\n    import not_there\n",
        "import sys\nif sys.version_info < (3, 9):\n    pass\nelif sys.platform:\n    import not_there\n",
        "import sys\nif sys.platform < 7:\n    import not_there\n",
    ],
)
def test_import_that_fails_the_load_is_listed(tmp_path: Path, text: str) -> None:
    """Wherever it stands."""
    assert missing(tmp_path, text) == ["not_there"]


def test_own_modules_are_found_through_packages(tmp_path: Path) -> None:
    """Those that nothing imports are not."""
    write(tmp_path, "from . import tools\nfrom .prompts import hello\n", "lib/__init__.py")
    write(tmp_path, "import not_there\n", "lib/tools.py")
    write(tmp_path, "hello = 1\n", "lib/prompts.py")
    write(tmp_path, "import neither\n", "unused.py")
    imports = find_imports(write(tmp_path, "from lib import tools\n"))
    assert {path.relative_to(tmp_path).as_posix() for path in imports.files} == {
        "bot.py",
        "lib/__init__.py",
        "lib/tools.py",
        "lib/prompts.py",
    }
    assert [item.name for item in imports.missing] == ["not_there"]


def test_file_that_changes_the_module_path_gets_no_guesses(tmp_path: Path) -> None:
    """What seems to be missing may be in a directory that it adds."""
    text = "import sys\nsys.path.append('..')\nimport shared_code\nimport bs4\nimport not_there\n"
    file = write(tmp_path, text)
    assert hint_of(file, "not_there") == (
        f"Install what it imports, e.g.: {PIP} install beautifulsoup4 not_there (the package with the module "
        "not_there may have another name)"
    )


def test_broken_file_has_no_imports(tmp_path: Path) -> None:
    """Python itself reports the error."""
    file = write(tmp_path, "import (\n")
    assert find_imports(file) == BotImports((file,), (), changes_path=False)


def test_installed_package_without_a_module_gets_no_command(tmp_path: Path) -> None:
    """Installing it again would not help."""
    file = write(tmp_path, "import fastapi.not_there\n")
    assert hint_of(file, "fastapi.not_there") == DEFAULT_HINT
    assert import_error_hint(ValueError("no"), file) == DEFAULT_HINT


def test_command_is_short_where_the_shell_finds_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an activated environment; elsewhere `pip` would install for another Python."""
    pip = write(tmp_path, "#!/bin/sh\n", "pip")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_command(["a"]) == f"{PIP} install a"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert install_command(["pipecat-ai[daily,openai]"]) == (
        "pip install 'pipecat-ai[daily,openai]'"
    )
