"""Compressed data, as many bytes at a time as one asks for: what is inflated is never all in memory."""

import zlib
from collections.abc import Iterable
from itertools import chain

_BLOCK = 1 << 16


class Inflated:
    """The content of a zlib stream that comes in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._decoder, self._tail = iter(pieces), zlib.decompressobj(), b""

    def read(self, count: int) -> bytes:
        """Exactly so many bytes. Raises ValueError where the stream ends before, zlib.error where it is damaged."""
        parts: list[bytes] = []
        while count:
            part = self._decoder.decompress(self._tail, count)
            self._tail = self._decoder.unconsumed_tail
            if not part and not self._tail:
                self._tail = b"" if self._decoder.eof else next(self._pieces, b"")
                if not self._tail:
                    raise ValueError("pixels are missing")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Takes the rest of the pieces, and checks the stream's sum if it comes."""
        for piece in chain((b"",), self._pieces):
            if not self._decoder.eof:
                self._decoder.decompress(self._tail + piece, _BLOCK)
                self._tail = b""


def inflated(data: bytes, most: int) -> bytes:
    """All of a zlib stream. Raises ValueError where it would be more than `most` bytes, zlib.error where it is damaged."""
    decoder = zlib.decompressobj()
    content = decoder.decompress(data, most)
    if decoder.unconsumed_tail:
        raise ValueError(f"more than {most:,} bytes")
    return content
