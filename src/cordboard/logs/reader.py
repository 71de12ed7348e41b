"""A query over sources becomes lines in time order, each once, and a coverage."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cordboard.contract.record import (
    LEVEL,
    LEVELS,
    MESSAGE,
    RAW,
    ROOM,
    SERVER_PREFIX,
    SERVICE,
    SESSION_ID,
    USER_ID,
    USER_NAME,
)
from cordboard.logs.coverage import Answer, Coverage
from cordboard.logs.formats import Formats, record_of
from cordboard.logs.line import Attribution, Line
from cordboard.logs.query import Query
from cordboard.logs.scan import batches, in_window
from cordboard.logs.sources.directory import Directory
from cordboard.logs.times import HIGHEST, LOWEST


class Reader:
    """Reads one query.

    Args:
        query: What is asked for.
        sources: Where.
        formats: How foreign lines are read.
    """

    def __init__(self, query: Query, sources: Sequence[Directory], formats: Formats) -> None:
        self._query = query
        self._sources = sources
        self._formats = formats
        self._answers: list[Answer] = []

    def lines(self) -> Iterator[Line]:
        """Yield what is wanted, in time order."""
        since = (self._query.since or LOWEST.decode()).encode()
        until = (self._query.until or HIGHEST.decode()).encode()
        found: list[tuple[bytes, bytes, str]] = []
        for source in self._sources:
            for file in source.streams(self._query):
                for batch in batches(file.tape, self._formats, LOWEST):
                    found += [
                        (key, raw, file.name)
                        for key, raw in zip(batch.keys, batch.raws, strict=True)
                        if in_window(key, since, until)
                    ]
                file.close()
        found.sort(key=lambda item: item[0])
        counts: dict[str, list[str]] = {}
        for key, raw, name in found:
            service = Path(name).name.partition(".")[0]
            record = record_of(raw, key, service, self._formats)
            if self._wanted(record):
                line = Line(record, raw, name, attribution(record))
                counts.setdefault(str(record[SERVICE]), []).append(key.decode())
                yield line
        self._answers = [
            Answer(service, "service", len(keys), keys[0], keys[-1])
            for service, keys in sorted(counts.items())
        ]

    def coverage(self) -> Coverage:
        """Say what answered, and what did not."""
        return Coverage(tuple(self._answers))

    def _wanted(self, record: Mapping[str, Any]) -> bool:
        query = self._query
        return (
            (query.session is None or record[SESSION_ID] == query.session)
            and (query.user is None or query.user in (record[USER_ID], record[USER_NAME]))
            and (query.room is None or record.get(ROOM) == query.room)
            and (not query.services or record[SERVICE] in query.services)
            and (query.level is None or LEVELS[record[LEVEL]] >= LEVELS[query.level])
            and (query.grep is None or query.grep.search(record[MESSAGE]) is not None)
        )


def attribution(record: Mapping[str, Any]) -> Attribution:
    """Say how a record's session is known."""
    session = record.get(SESSION_ID)
    if not isinstance(session, str) or session.startswith(SERVER_PREFIX):
        return "absent"
    return "inherited" if record.get(RAW) is True else "explicit"
