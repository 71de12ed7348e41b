"""A fixture that configures the logger of this process, and removes the configuration."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cordboard import emit
from cordboard.context import EMPTY, bind_process
from cordboard.emit.bridges import standard
from cordboard.emit.logger import enable_levels_from
from cordboard.emit.pipeline import pipeline

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Lines]:
    """Configure the logger as service ``test`` onto a file; calling it returns what was written."""
    path = tmp_path / "lines.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    level = logging.root.level
    emit.configure("test", fd=fd, format="json", level="debug")

    def read() -> list[dict[str, Any]]:
        assert emit.flush()
        return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]

    yield read
    emit.quiesce()
    os.close(fd)
    standard.uninstall()
    logging.root.setLevel(level)
    bind_process(EMPTY)
    pipeline.output, pipeline.configured, pipeline.failed = None, False, False
    pipeline.update_sink()
    enable_levels_from("debug")


def configure_again(level: str = "debug") -> None:
    """Configure once more, onto the file that ``lines`` reads."""
    assert pipeline.output is not None
    emit.configure("test", fd=pipeline.output.fd, format="json", level=level)
