"""Files that people upload to a bot, kept in the storage that the bot file provides."""

import asyncio
import inspect
import mimetypes
import sys
from pathlib import Path
from typing import Any, Final

from pipecat.utils.file_storage import FileStorage
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from cordboard.contract.errors import BodyTooLargeError, InvalidValueError, NotFoundError
from cordboard.emit import get_logger
from cordboard.web.form_charset import check_form_charset

# Pipecat's own limit.
FILE_MAX_BYTES: Final = 50 * 1024 * 1024
# How long the deletion may delay the end of a session. A storage over the network answers within milliseconds.
DELETE_S: Final = 2.0
# The boundaries and headers of a multipart body with one file and some fields.
_FORM_MAX_BYTES: Final = 64 * 1024

log = get_logger("files")


def make_file_storage() -> FileStorage | None:
    """Return the storage that ``create_file_storage()`` in the bot file makes; None without one.

    Raises:
        TypeError: The function is asynchronous, which Pipecat does not permit.
    """
    # Not the module of `bot`, which the file may import from elsewhere.
    create = getattr(sys.modules["__main__"], "create_file_storage", None)
    if create is None:
        return None
    storage: FileStorage | None = create()
    if inspect.iscoroutine(storage):
        storage.close()
        raise TypeError("create_file_storage() must be synchronous; it returned a coroutine.")
    return storage


class BotFiles:
    """Receives the files of one session, and deletes them after it.

    Args:
        storage: The bot's storage; None if it takes no files.

    Attributes:
        storage: The bot's storage.
    """

    def __init__(self, storage: FileStorage | None) -> None:
        self.storage = storage
        self._urls: list[str] = []

    async def save(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        """Save the field ``file`` of a multipart form; return it in the form of RTVI's files.

        Args:
            scope: The ASGI scope of the request.
            receive: The ASGI function that receives its body.

        Raises:
            NotFoundError: The bot takes no files.
            InvalidValueError: The body is no such form.
            BodyTooLargeError: The file has more than 50 MiB.
        """
        if self.storage is None:
            raise NotFoundError(
                "This bot takes no files.",
                hint="Define create_file_storage() in the bot file.",
            )
        request = Request(scope, _limited(receive))
        check_form_charset(request.headers.get("content-type", ""))
        try:
            async with request.form(max_files=1) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise InvalidValueError("Expected a multipart form with the field `file`.")
                return await self._save(self.storage, file)
        except MultiPartException as error:
            raise InvalidValueError(f"Invalid form: {error.message}") from error

    async def delete_all(self) -> None:
        """Delete the files of the session from the storage, within a limited time."""
        storage = self.storage
        if storage is None or not self._urls:
            return
        tasks = [asyncio.ensure_future(storage.delete(url)) for url in self._urls]
        done, pending = await asyncio.wait(tasks, timeout=DELETE_S)
        errors = [error for task in done if (error := task.exception()) is not None]
        if errors or pending:
            log.warning(
                "Files of the session could not be deleted",
                count=len(errors) + len(pending),
                error=errors[0] if errors else None,
            )

    async def _save(self, storage: FileStorage, file: UploadFile) -> dict[str, Any]:
        content = await file.read(FILE_MAX_BYTES + 1)
        if len(content) > FILE_MAX_BYTES:
            raise _too_large()
        url = await storage.save(file.filename or "", content)
        self._urls.append(url)
        name = Path(file.filename or "").name
        media_type, _ = mimetypes.guess_type(name, strict=False)
        return {
            "name": name,
            "source": {"type": "url", "url": url},
            "format": media_type or file.content_type or "application/octet-stream",
        }


def _limited(receive: Receive) -> Receive:
    """Return `receive` with a limit on the bytes of a body, which Starlette would write to the disk."""
    count = 0

    async def receive_limited() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > FILE_MAX_BYTES + _FORM_MAX_BYTES:
            raise _too_large()
        return message

    return receive_limited


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(f"A file has at most {FILE_MAX_BYTES // 1024 // 1024} MiB.")
