"""Files that are read from their start, in bounded memory: compressed ones, UTF-16, and batches of entries in JSON."""

import os
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_LE
from typing import Any, Final

from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.batches import HEAD_BYTES, Batches, is_batch

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
XZ_MAGIC: Final = b"\xfd7zXZ\0"
BZIP2_MAGIC: Final = b"BZh"
_UTF16_MARKS: Final = (BOM_UTF16_LE, BOM_UTF16_BE)
_ZEROS_OF_UTF16: Final = 8  # of so many bytes at least one is zero where most characters are ASCII
MAGIC_BYTES: Final = HEAD_BYTES
"""How many of the first bytes tell the kind of a file."""


def is_packed(head: bytes) -> bool:
    """Return whether a file is compressed in one of the forms that are read, in UTF-16, or a batch.

    Args:
        head: Its first bytes, at least `MAGIC_BYTES` where it has so many.
    """
    if head.startswith(BZIP2_MAGIC):  # three letters may begin a text; the block's number does not
        return head[4:10] == b"1AY&SY"
    if head.startswith(_UTF16_MARKS):
        return head.count(0) * _ZEROS_OF_UTF16 >= len(head) and not head.startswith(BOM_UTF32_LE)
    return head.startswith((GZIP_MAGIC, ZSTD_MAGIC, XZ_MAGIC)) or is_batch(head)


_USUAL_RATIO: Final = 8  # logs are packed to about an eighth
_CHUNK: Final = 256 * 1024  # read at once, and decompressed at once
_KEPT_BYTES: Final = 64 * 1024  # as far as `Track.key_before` looks back


class PackedByteReader:
    """A compressed file, or a batch, as if it were a plain one; going back means to start again.

    A batch may be compressed as well: stores export it so.

    Args:
        fd: Its descriptor.
        magic: Its first bytes.
    """

    can_seek = False

    def __init__(self, fd: int, magic: bytes) -> None:
        self.fd = fd
        self.is_batch = is_batch(magic)
        self._is_utf16 = magic.startswith(_UTF16_MARKS)
        self.size = os.fstat(fd).st_size * (1 if self.is_batch or self._is_utf16 else _USUAL_RATIO)
        self.damage: Shortfall | None = None
        self._magic = magic
        self._restart()

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset` of what was compressed."""
        if offset < self._base:
            self._restart()
        while len(self._buffer) < offset - self._base + size:
            more = self._more()
            if not more:
                break
            self._forget(offset - _KEPT_BYTES)
            self._buffer += more
        self._forget(offset - _KEPT_BYTES)
        begin = offset - self._base
        return bytes(self._buffer[begin : begin + size])

    def read_into(self, buffer: bytearray, offset: int, size: int) -> int:
        """Read up to `size` bytes at `offset` into the beginning of `buffer`; return how many."""
        data = self.read(offset, size)
        buffer[: len(data)] = data
        return len(data)

    def passed(self, offset: int, end: int, parts: tuple[bytes, ...]) -> int:  # noqa: ARG002
        """Return `offset`: what is decompressed has come to Python anyhow."""
        return offset

    def _forget(self, offset: int) -> None:
        unneeded = min(len(self._buffer), offset - self._base)
        if unneeded > 0:
            del self._buffer[:unneeded]
            self._base += unneeded

    def _restart(self) -> None:
        self._at = 0
        self._base = 0
        self._input = b""
        self._buffer = bytearray()
        self._is_first = True
        self._inner: Batches | None = None  # of a batch that is compressed
        self._engine: Any = self._new_engine()

    def _new_engine(self) -> Any:
        if self.is_batch:
            return Batches(self._magic)
        if self._magic.startswith(GZIP_MAGIC):
            return _Gzip()
        if self._is_utf16:
            return _Utf16()
        if self._magic.startswith(XZ_MAGIC):
            from lzma import LZMADecompressor

            return LZMADecompressor()
        if self._magic.startswith(BZIP2_MAGIC):
            from bz2 import BZ2Decompressor

            return BZ2Decompressor()
        return _zstd()

    def _more(self) -> bytes:
        """Return further decompressed bytes; nothing at the end, or where the rest is damaged."""
        try:
            while True:
                if self._engine.eof:
                    self._input = self._engine.unused_data or self._input
                    if not self._input.strip(b"\0") and not self._fill():
                        if self._inner is not None and not self._inner.is_between_entries:
                            self._damaged("unexpected end of the JSON")
                        return self._end(self._inner)
                    self._engine = self._new_engine()
                if self._engine.needs_input and not self._input and not self._fill():
                    if self._is_utf16 and self._engine.is_between_characters:
                        return b""
                    if not (self.is_batch and self._engine.is_between_entries):
                        self._damaged("unexpected end of file")
                    return self._end(self._engine if self.is_batch else None)
                data, self._input = self._input, b""
                if found := self._unbatched(self._engine.decompress(data, _CHUNK)):
                    return found
        except Exception as error:  # noqa: BLE001 - each library has errors of its own
            self._damaged(str(error))
            return b""

    def _end(self, batches: Batches | None) -> bytes:
        if batches is not None and batches.cut and self.damage is None:
            self.damage = Shortfall("truncated", batches.cut)
        return b""

    def _unbatched(self, data: bytes) -> bytes:
        """Return what was decompressed; of a batch, the lines of its entries that end in it."""
        if self._is_first and data:
            self._is_first = False
            if not self.is_batch and is_batch(data[:MAGIC_BYTES]):
                self._inner = Batches(data[:MAGIC_BYTES])
        return data if self._inner is None else self._inner.decompress(data, _CHUNK)

    def _fill(self) -> bool:
        self._input = os.pread(self.fd, _CHUNK, self._at)
        self._at += len(self._input)
        return bool(self._input)

    @property
    def _kind(self) -> str:
        if self._is_utf16:
            return "UTF-16"
        return "JSON" if self.is_batch else "compressed data"

    def _damaged(self, why: str) -> None:
        self.damage = Shortfall("unreadable", f"the {self._kind} is corrupt: {why}")


class _Gzip:
    """The one interface of both kinds over zlib."""

    def __init__(self) -> None:
        import zlib

        self._engine = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, most)


class _Utf16:
    """Turns UTF-16 into UTF-8; the interface is that of the decompressors."""

    eof = False
    unused_data = b""
    needs_input = True

    def __init__(self) -> None:
        from codecs import getincrementaldecoder

        self._decoder = getincrementaldecoder("utf-16")("replace")

    @property
    def is_between_characters(self) -> bool:
        return not self._decoder.getstate()[0]

    def decompress(self, data: bytes, _most: int) -> bytes:
        return self._decoder.decode(data).encode("utf-8", "replace")


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdDecompressor()
