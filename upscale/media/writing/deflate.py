"""Deflate for pictures: the way of matching is chosen by trying it, since photographs and drawings differ in it.

After a PNG's or TIFF's prediction, a photograph hardly ever repeats itself: to look for repeats only costs time, and
what is found by chance makes the file larger. Runs alone (Z_RLE) are then smaller and twice as fast than zlib's level
4; but drawings, text and textures do repeat. A sample of each block decides.
"""

import zlib
from collections.abc import Iterator

BLOCK = 1 << 20
_SAMPLE = 1 << 16
_WINDOW = 1 << 15
_RUNS, _REPEATS = (1, zlib.Z_RLE), (4, zlib.Z_FILTERED)


def deflated(data: bytes) -> bytes:
    """`data` as one zlib stream."""
    return b"".join(Deflater().finish(data))


class Deflater:
    """A zlib stream (RFC 1950) out of bytes that come in any portions; the result does not depend on the portions."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._before = b""
        self._sum = zlib.adler32(b"")
        self._begun = False

    def add(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Parts of the stream that are finished by now."""
        self._waiting += data
        while len(self._waiting) > BLOCK:
            block = bytes(memoryview(self._waiting)[:BLOCK])
            del self._waiting[:BLOCK]
            yield self._block(block, zlib.Z_SYNC_FLUSH)

    def finish(self, data: bytes | memoryview = b"") -> Iterator[bytes]:
        """The rest of the stream."""
        yield from self.add(data)
        yield self._block(bytes(self._waiting), zlib.Z_FINISH)
        yield self._sum.to_bytes(4, "big")

    def _block(self, data: bytes, flush: int) -> bytes:
        level, strategy = _way(data)
        coder = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy, self._before)
        head = b"" if self._begun else b"\x78\x5e"
        self._begun, self._before = True, data[-_WINDOW:]
        self._sum = zlib.adler32(data, self._sum)
        return head + coder.compress(data) + coder.flush(flush)


def _way(data: bytes) -> tuple[int, int]:
    middle = max(0, len(data) - _SAMPLE) // 2
    sample = data[middle : middle + _SAMPLE]
    return min(_RUNS, _REPEATS, key=lambda way: _length(sample, *way))


def _length(data: bytes, level: int, strategy: int) -> int:
    coder = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return len(coder.compress(data)) + len(coder.flush())
