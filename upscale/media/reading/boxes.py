"""What the containers of AVIF, HEIC, JPEG 2000 and JPEG XL say that their decoders keep to themselves.

Boxes are those of ISO/IEC 14496-12: a size, a name, and a content that for some is more boxes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"iprp", b"ipco", b"jp2h", b"stsd", b"av01"}
_BEFORE = {b"meta": 4, b"stsd": 8, b"av01": 78}
"""Bytes between a parent's head and its first child."""
_DEEPEST = 12
_PLAIN_PRIMARIES, _PLAIN_TRANSFERS = (1, 2, 5, 6, 7), (1, 2, 6, 13, 14, 15)
"""Of ITU-T H.273: what is, or is commonly taken for, BT.709 and sRGB."""
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
EXIF_UUID = b"JpgTiffExif->JP2"


@dataclass(frozen=True, slots=True)
class Box:
    """`path`: the names of its parents and its own, as in b"moov/trak/tkhd"."""

    path: bytes
    content: bytes


def boxes(data: bytes, path: bytes = b"", depth: int = 0) -> Iterator[Box]:
    """All boxes, each before its children. Ends where the bytes make no sense, or are cut off."""
    at = 0
    while at + 8 <= len(data) and depth < _DEEPEST:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        elif size == 0:
            size = len(data) - at
        if size < head or at + size > len(data):
            return
        whole = path + b"/" + name if path else name
        content = data[at + head : at + size] if name != b"mdat" else b""
        yield Box(whole, content)
        if name in _PARENTS or name == b"meta":
            yield from boxes(content[_BEFORE.get(name, 0) :], whole, depth + 1)
        at += size


@dataclass(frozen=True, slots=True)
class Av1:
    """What an AVIF says of its pixels and times. `cicp`: see `cicp_chunk`."""

    bits: int
    cicp: bytes | None
    durations: tuple[float, ...]
    plays: int


def av1_facts(data: bytes) -> Av1:
    """Raises ValueError where the container is damaged."""
    found = list(boxes(data))
    configs = [box.content for box in found if box.path.endswith(b"av1C") and len(box.content) >= 4]
    if not configs:
        raise ValueError("no AV1 picture in it")
    flags = [config[2] for config in configs]
    bits = 12 if any(flag & 0x20 for flag in flags) else 10 if any(flag & 0x40 for flag in flags) else 8
    return Av1(bits, _cicp(found), *_times(found))


def cicp_chunk(primaries: int, transfer: int) -> bytes | None:
    """The content of a PNG's cICP chunk that says so (RGB, full range); None for what needs no saying."""
    if primaries in _PLAIN_PRIMARIES and transfer in _PLAIN_TRANSFERS:
        return None
    return bytes((primaries & 255, transfer & 255, 0, 1))


def _cicp(found: list[Box]) -> bytes | None:
    for box in found:
        if box.path.endswith(b"colr") and box.content.startswith(b"nclx") and len(box.content) >= 8:
            return cicp_chunk(*struct.unpack(">HH", box.content[4:8]))
    return None


def _times(found: list[Box]) -> tuple[tuple[float, ...], int]:
    """Milliseconds of each frame, and how often all are played: of the track of the pictures, the first one."""
    of = {box.path: box.content for box in reversed(found) if box.path.startswith(b"moov/trak")}
    clock, times = of.get(b"moov/trak/mdia/mdhd"), of.get(b"moov/trak/mdia/minf/stbl/stts")
    if clock is None or times is None:
        return (), 0
    scale = struct.unpack_from(">I", clock, 20 if clock[0] == 1 else 12)[0]
    durations: list[float] = []
    for entry in range(min(struct.unpack_from(">I", times, 4)[0], (len(times) - 8) // 8)):
        count, length = struct.unpack_from(">II", times, 8 + 8 * entry)
        if not scale or len(durations) + count > 1 << 20:
            raise ValueError("senseless times")
        durations += [1000 * length / scale] * count
    return tuple(durations), _plays(of.get(b"moov/trak/edts/elst"), of.get(b"moov/trak/tkhd"))


def _plays(edits: bytes | None, track: bytes | None) -> int:
    """An edit list that repeats (flag 1) is played until the track's time is over, which may be never."""
    if edits is None or track is None:
        return 0
    if not edits[3] & 1:
        return 1
    wide = track[0] == 1
    total = struct.unpack_from(">Q" if wide else ">I", track, 28 if wide else 20)[0]
    once = struct.unpack_from(">Q" if edits[0] == 1 else ">I", edits, 8)[0]
    return 0 if total == (1 << (64 if wide else 32)) - 1 or not once else max(1, -(-total // once))


@dataclass(frozen=True, slots=True)
class Jp2:
    """What a JPEG 2000 says of its pixels, and carries. Depths are equal for all channels, or the largest."""

    channels: int
    bits: int
    icc: bytes | None
    xmp: bytes | None
    exif: bytes | None


def jp2_facts(data: bytes) -> Jp2:
    """Raises ValueError for a file without or with a damaged codestream header (ISO/IEC 15444-1, A.5.1)."""
    found = list(boxes(data)) if data[4:8] == b"jP  " else []
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 42 > len(data):
        raise ValueError("no codestream")
    channels = struct.unpack_from(">H", data, start + 40)[0]
    depths = data[start + 42 : start + 42 + 3 * channels : 3]
    if not depths:
        raise ValueError("no channels")
    profiles = [box.content[3:] for box in found if box.path == b"jp2h/colr" and box.content[:1] == b"\x02"]
    uuids = {box.content[:16]: box.content[16:] for box in found if box.path == b"uuid"}
    bits = max((depth & 127) + 1 for depth in depths)
    return Jp2(channels, bits, profiles[0] if profiles else None, uuids.get(XMP_UUID), uuids.get(EXIF_UUID))


@dataclass(frozen=True, slots=True)
class Jxl:
    """`bits`: of a channel; 32 for floats."""

    width: int
    height: int
    bits: int
    animated: bool


def jxl_facts(data: bytes) -> Jxl:
    """The codestream's first fields (ISO/IEC 18181-1, annexes A to D). Raises ValueError where there are none."""
    stream = data
    if not data.startswith(b"\xff\x0a"):
        parts = {box.path: box.content for box in reversed(list(boxes(data)))}
        stream = parts.get(b"jxlc") or parts.get(b"jxlp", b"")[4:]
    if not stream.startswith(b"\xff\x0a"):
        raise ValueError("no codestream")
    bits = _Bits(stream[2:66])
    width, height = bits.size()
    if bits.take(1):
        return Jxl(width, height, 8, False)
    if bits.take(1):  # extra fields
        bits.take(3)  # the orientation, which the decoder applies
        if bits.take(1):
            bits.size()
        if bits.take(1):  # a preview, behind which this does not look
            return Jxl(width, height, 8, False)
        if bits.take(1):
            return Jxl(width, height, 8, True)
    if bits.take(1):
        return Jxl(width, height, 32, False)
    depth = (8, 10, 12)[choice] if (choice := bits.take(2)) < 3 else 1 + bits.take(6)
    return Jxl(width, height, depth, False)


class _Bits:
    """Numbers of any number of bits, lowest first."""

    def __init__(self, data: bytes) -> None:
        self._left, self._count = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._count:
            raise ValueError("cut off")
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        self._count -= count
        return value

    def size(self) -> tuple[int, int]:
        """(width, height): the height, then the width or one of the usual ratios."""
        small = self.take(1)
        height = self._side(small)
        ratio = self.take(3)
        if ratio == 0:
            return self._side(small), height
        across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height * across // down, height

    def _side(self, small: int) -> int:
        return 8 * (self.take(5) + 1) if small else 1 + self.take((9, 13, 18, 30)[self.take(2)])
