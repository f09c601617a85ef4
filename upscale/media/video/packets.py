"""Encoded frames on disk: the packets of one segment, in the order in which they are decoded."""

import hashlib
import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from upscale.errors import OutputError
from upscale.files import replacing

_HEAD = struct.Struct("<qqBI")
"""pts, duration, whether a key frame, bytes."""


class Coded(NamedTuple):
    """One encoded frame; times in the job's time base."""

    pts: int
    duration: int
    key: bool
    data: bytes


class SegmentWriter:
    """Writes one file under a temporary name; `done` gives it its own when all of it is on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._replacing = replacing(path)
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self.frames = 0

    def __enter__(self) -> Self:
        self._file = self._replacing.__enter__().open("wb")
        return self

    def add(self, coded: Coded) -> None:
        """Raises OSError when the disk is full."""
        assert self._file is not None
        head = _HEAD.pack(coded.pts, coded.duration, coded.key, len(coded.data))
        for part in (head, coded.data):
            self._file.write(part)
            self._hash.update(part)
        self.frames += 1

    def done(self) -> str:
        """Everything is on the disk; the file's sha256. Raises OSError."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._hash.hexdigest()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._file is not None:
                self._file.close()  # may need the room that a full disk has not
        except OSError as full:
            self._replacing.__exit__(OSError, full, None)
            raise
        self._replacing.__exit__(kind, error, trace)


def coded_in(path: Path) -> Iterator[Coded]:
    """A segment's frames. Raises OutputError where the file is torn."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            if len(head) < _HEAD.size:
                raise _torn(path)
            pts, duration, key, size = _HEAD.unpack(head)
            data = file.read(size)
            if len(data) < size:
                raise _torn(path)
            yield Coded(pts, duration, bool(key), data)


def times_in(path: Path) -> Iterator[int]:
    """The pts of a segment's frames in the order in which they are decoded, without reading the frames."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            pts, _, _, size = _HEAD.unpack(head)
            yield pts
            file.seek(size, os.SEEK_CUR)


def decoding_times(segments: list[Path]) -> "array[int]":
    """A dts for each frame of all segments: the shown times in order, minus one delay, the least with which no frame is
    decoded after it is shown."""
    coded = array("q", (pts for path in segments for pts in times_in(path)))
    shown = array("q", sorted(coded))
    delay = max((early - pts for early, pts in zip(shown, coded, strict=True)), default=0)
    return array("q", (pts - delay for pts in shown))


def _torn(path: Path) -> OutputError:
    return OutputError(f"{path}: a segment is cut off; run the same command again, it will be made anew")
