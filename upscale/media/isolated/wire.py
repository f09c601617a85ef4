"""What the decoding process and we say to one another: lengths, JSON, raw bytes. Nothing that is read here can do anything.

A message is four letters, the length of its JSON (u32, little-endian), the JSON (an object), and the blobs whose lengths
the JSON gives. Pixels follow a message bare, their length known from the header. What comes in is checked: the process
at the other end may have been taken over by the file that it reads.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np

from upscale.image import Animation, Array, Color, Header, Metadata
from upscale.media import Source

MOST_JSON = 1 << 24
MOST_BLOB = 1 << 28
MOST_BLOBS = 64
MOST_TEXT = 1 << 14

_HEAD = struct.Struct("<4sI")
_MAGIC = b"upsc"
_DTYPES = ("uint8", "uint16", "float32")
_LARGEST_SIDE = (1 << 31) - 1


class WireError(Exception):
    """What came is not what this protocol allows."""


@dataclass(frozen=True, slots=True)
class Message:
    fields: dict[str, Any]
    blobs: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """What an opened file says before its pixels; see `Source`."""

    header: Header
    animation: Animation | None
    warnings: list[str]

    @property
    def frames(self) -> int:
        return 1 if self.animation is None else len(self.animation.durations)

    @property
    def frame_bytes(self) -> int:
        return self.header.height * row_bytes(self.header)


def row_bytes(header: Header) -> int:
    return header.width * (4 if header.alpha else 3) * header.dtype.itemsize


def send(stream: BinaryIO, message: Message, pixels: Sequence[Array] = ()) -> None:
    """Writes a message, and after it the bytes of C-contiguous arrays."""
    text = json.dumps({**message.fields, "blobs": [len(blob) for blob in message.blobs]}).encode()
    stream.write(_HEAD.pack(_MAGIC, len(text)) + text)
    for blob in message.blobs:
        stream.write(blob)
    for array in pixels:
        stream.write(array.data.cast("B"))
    stream.flush()


def receive(stream: BinaryIO) -> Message:
    """The next message. Raises EOFError where the stream ends, WireError where it is no message."""
    magic, length = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if magic != _MAGIC or length > MOST_JSON:
        raise WireError("not a message")
    try:
        fields = json.loads(_exactly(stream, length))
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if not isinstance(fields, dict):
        raise WireError("not an object")
    named = cast(dict[str, Any], fields)
    lengths = [_whole(each, 0, MOST_BLOB) for each in _listed(named.pop("blobs", None), MOST_BLOBS)]
    return Message(named, [_exactly(stream, each) for each in lengths])


def receive_pixels(stream: BinaryIO, array: Array) -> None:
    """Fills a C-contiguous array from the stream. Raises EOFError."""
    view, done = array.data.cast("B"), 0
    while done < len(view):
        count = cast(Any, stream).readinto(view[done:])
        if not count:
            raise EOFError
        done += count


def described(source: Source) -> Message:
    """A source's header, animation and warnings as a message."""
    header, animation, blobs = source.header, source.animation, list[bytes]()

    def blob(data: bytes | None) -> int | None:
        if data is None:
            return None
        blobs.append(bytes(data))
        return len(blobs) - 1

    color, beside = header.color, header.metadata
    fields: dict[str, Any] = {
        "size": [int(header.width), int(header.height)],
        "dtype": header.dtype.name,
        "alpha": bool(header.alpha),
        "depth": int(color.depth),
        "gray": bool(color.gray),
        "color": [color.matrix, color.transfer, color.primaries, color.chroma_location],
        "full_range": bool(color.full_range),
        "icc": blob(color.icc),
        "chunks": [[name, blob(content)] for name, content in color.chunks],
        "exif": blob(beside.exif),
        "xmp": blob(beside.xmp),
        "dpi": None if beside.dpi is None else [float(value) for value in beside.dpi],
        "animation": None if animation is None else [list(map(float, animation.durations)), int(animation.plays)],
        "warnings": [text[:MOST_TEXT] for text in source.warnings],
    }
    return Message(fields, blobs)


def understood(message: Message) -> Opened:
    """The reverse of `described`. Raises WireError where anything is missing, odd or out of range."""
    try:
        return _understood(message.fields, message.blobs)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise WireError(f"an odd header: {error!r}") from error


def _understood(fields: dict[str, Any], blobs: Sequence[bytes]) -> Opened:
    def blob(index: Any) -> bytes | None:
        return None if index is None else blobs[_whole(index, 0, len(blobs) - 1)]

    def chunk(pair: Any) -> tuple[str, bytes]:
        name, content = pair
        return _text(name), blob(content) or b""

    width, height = (_whole(side, 1, _LARGEST_SIDE) for side in fields["size"])
    if fields["dtype"] not in _DTYPES:
        raise WireError("an unknown kind of pixels")
    matrix, transfer, primaries, location = map(_text, _listed(fields["color"], 4))
    color = Color(
        *(_whole(fields["depth"], 1, 32), _truth(fields["gray"]), matrix, transfer, primaries),
        *(_truth(fields["full_range"]), blob(fields["icc"])),
        tuple(chunk(pair) for pair in _listed(fields["chunks"], MOST_BLOBS)),
        location,
    )
    metadata = Metadata(blob(fields["exif"]), blob(fields["xmp"]), _dpi(fields["dpi"]))
    header = Header(width, height, np.dtype(fields["dtype"]), _truth(fields["alpha"]), color, metadata)
    warnings = [one_line(_text(text)) for text in _listed(fields["warnings"], 1000)]
    return Opened(header, _animation(fields["animation"]), warnings)


def _dpi(pair: Any) -> tuple[float, float] | None:
    if pair is None:
        return None
    x, y = map(_number, pair)
    return x, y


def _animation(pair: Any) -> Animation | None:
    if pair is None:
        return None
    durations, plays = pair
    if not durations:
        raise WireError("an animation without frames")
    return Animation(tuple(map(_number, _listed(durations, MOST_JSON))), _whole(plays, 0, 1 << 32))


def one_line(text: str) -> str:
    """Without line ends and what a terminal would act on."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def text_of(message: Message, key: str) -> str:
    """A text field, or WireError."""
    return _text(message.fields.get(key))


def number_of(message: Message, key: str, low: int, high: int) -> int:
    """A whole number within [low, high], or WireError."""
    return _whole(message.fields.get(key), low, high)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise WireError(f"{value!r} is no number from {low} to {high}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise WireError(f"{value!r} is no number")
    return float(value)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise WireError(f"{value!r} is neither true nor false")
    return value


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > MOST_TEXT:
        raise WireError("not a text")
    return value


def _listed(value: Any, most: int) -> list[Any]:
    if type(value) is not list or len(cast(list[Any], value)) > most:
        raise WireError("not a list")
    return cast(list[Any], value)
