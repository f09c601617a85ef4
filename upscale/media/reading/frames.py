"""What GIF and WebP say of their frames and times, without the pixels."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from upscale.media.reading.opened import is_gray

_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


@dataclass(frozen=True, slots=True)
class Moving:
    """`durations` in milliseconds, one a frame; `plays`: 0 for ever; `alpha`: whether anything may be transparent."""

    width: int
    height: int
    durations: tuple[float, ...]
    plays: int
    alpha: bool
    gray: bool = False


def gif_facts(file: BinaryIO) -> Moving:
    """Walks a GIF's blocks (GIF89a specification, CompuServe 1990). Raises ValueError where it is cut off.

    The NETSCAPE extension's number is of repetitions, so that all is played once more; without it, once.
    """
    head = _exactly(file, 13)
    width, height, flags = struct.unpack("<HHB", head[6:11])
    palettes = [_palette(file, flags)]
    durations: list[float] = []
    plays, holes, control = 1, _Holes(), _Control()
    while (kind := _exactly(file, 1)) != b";":
        if kind == b"!":
            label, (first, second) = _exactly(file, 1), _first_two(_blocks(file))
            if label == b"\xf9" and len(first) >= 4:
                control = _Control(10.0 * struct.unpack("<H", first[1:3])[0], first[0] >> 2 & 7, bool(first[0] & 1))
            elif label == b"\xff" and first in _LOOPS and len(second) >= 3 and second[0] == 1:
                repeated = struct.unpack("<H", second[1:3])[0]
                plays = repeated + 1 if repeated else 0
        elif kind == b",":
            left, top, across, down, flags = struct.unpack("<HHHHB", _exactly(file, 9))
            if not durations:
                width, height = max(width, left + across), max(height, top + down)
            palettes.append(_palette(file, flags))
            _exactly(file, 1)
            _first_two(_blocks(file))
            durations.append(control.duration)
            holes.draw(control, (left, top, across, down) == (0, 0, width, height))
            control = _Control()
        else:
            raise ValueError("a block of an unknown kind")
    if not durations:
        raise ValueError("no picture in it")
    return Moving(width, height, tuple(durations), plays, holes.seen, all(map(is_gray, palettes)))


@dataclass(frozen=True, slots=True)
class _Control:
    """What is said of a frame. `dispose`: 2 to nothing, 3 to what was before; `replaces`: rather than blends."""

    duration: float = 0.0
    dispose: int = 0
    transparent: bool = False
    replaces: bool = False


class _Holes:
    """Whether one can see through any frame: most pictures use transparency only to keep what the last one showed."""

    def __init__(self) -> None:
        self.seen, self._below = False, True

    def draw(self, control: _Control, covers: bool) -> None:
        uncovered = self._below and (control.transparent or not covers)
        through = uncovered or (control.replaces and control.transparent)
        self.seen = self.seen or through
        if control.dispose == 2:
            self._below = True
        elif control.dispose != 3:
            self._below = through


def _first_two(blocks: Iterator[bytes]) -> tuple[bytes, bytes]:
    """The others are read, and left."""
    found = (next(blocks, b""), next(blocks, b""))
    for _ in blocks:
        pass
    return found


def _palette(file: BinaryIO, flags: int) -> bytes:
    return _exactly(file, 3 << ((flags & 7) + 1)) if flags & 0x80 else b""


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while size := _exactly(file, 1)[0]:
        yield _exactly(file, size)


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("cut off")
    return data


def webp_facts(file: BinaryIO) -> Moving:
    """Walks a WebP's chunks (RFC 9649, 2.7); no durations for a still one. Raises ValueError where it is cut off."""
    size = file.seek(0, io.SEEK_END)
    file.seek(12)
    width, height, plays, holes = 0, 0, 0, _Holes()
    durations: list[float] = []
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        start = file.tell()
        if start + length > size:
            raise ValueError("cut off")
        if name == b"VP8X":
            content = _exactly(file, 10)
            width, height = 1 + _u24(content[4:]), 1 + _u24(content[7:])
        elif name == b"ANIM":
            plays = struct.unpack("<H", _exactly(file, 6)[4:])[0]
        elif name == b"ANMF":
            content = _exactly(file, 16)
            durations.append(float(_u24(content[12:])))
            place = tuple(_u24(content[at:]) for at in (0, 3, 6, 9))
            dispose, replaces = 2 * (content[15] & 1), bool(content[15] & 2)
            control = _Control(0.0, dispose, _is_transparent(file.read(13)), replaces)
            holes.draw(control, place == (0, 0, width - 1, height - 1))
        file.seek(start + length + length % 2)
    return Moving(width, height, tuple(durations), plays, holes.seen)


def _is_transparent(start: bytes) -> bool:
    """A frame's pixels, by their first chunk: with a plane of alpha, or lossless with the bit that tells of one."""
    return start.startswith(b"ALPH") or (start.startswith(b"VP8L") and len(start) == 13 and bool(start[12] & 0x10))


def _u24(data: bytes) -> int:
    return int.from_bytes(data[:3], "little")
