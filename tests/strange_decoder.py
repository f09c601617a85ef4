"""A decoding process for tests: its files are JSON that says what happens when they are opened.

{"width": 5, "height": 4, "frames": 1, "band": 2, ...}    a picture; see `Strange`
{"at": "open" | "read" | "second", "do": "crash"}         something from `DEEDS` happens on opening, or at that band
"""

import ctypes
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from upscale.errors import PictureError
from upscale.image import Animation, Band, Color, Header, Metadata, Picture
from upscale.media.isolated.worker import prepare, serve


def pixels(row: int, rows: int, width: int, channels: int, dtype: Any) -> Any:
    """What the rows from `row` on hold: every value tells its place."""
    y, x, c = np.ogrid[row : row + rows, 0:width, 0:channels]
    values = ((y * 31 % 251).astype(np.uint16) + (x * 7 % 251 + c * 3).astype(np.uint16)) % 251
    return (values / 256).astype(dtype) if dtype == np.float32 else values.astype(dtype)


class Strange:
    """Source and picture in one."""

    def __init__(self, path: Path, wanted: dict[str, Any]) -> None:
        self.path, self.wanted = path, wanted
        color = Color(16, True, "m", "t", "p", False, b"\0icc", (("gAMA", b"\1\2\3\4"), ("cICP", b"")))
        beside = Metadata(b"exif\xff", b"<xmp/>", (300.0, 299.5))
        dtype = np.dtype(wanted.get("dtype", "uint8"))
        self.header = Header(wanted["width"], wanted["height"], dtype, wanted.get("alpha", False), color, beside)
        self.frames = wanted.get("frames", 1)
        plays = wanted.get("plays", 3)
        self.animation = Animation((40.0,) * self.frames, plays) if "frames" in wanted else None
        self.warnings = wanted.get("warnings", [])

    def pictures(self) -> Iterator[Picture]:
        for _ in range(self.wanted.get("really", self.frames)):
            yield self

    def bands(self) -> Iterator[Band]:
        height, step = self.header.height, self.wanted.get("band", 1 << 30)
        for index, row in enumerate(range(0, height, step)):
            deed(self.path, self.wanted, ["read", "second"][min(index, 1)])
            shape = min(step, height - row) + self.wanted.get("rows", 0), self.header.width
            dtype = np.dtype(self.wanted.get("sent", self.header.dtype))
            alpha = pixels(row, *shape, 1, dtype)[..., 0] + 1 if self.header.alpha else None
            yield Band(pixels(row, *shape, 3, dtype), alpha)

    def __enter__(self) -> "Strange":
        return self

    def __exit__(self, *_: object) -> None:
        if self.wanted.get("bad_end"):
            raise RuntimeError("it does not close")


def deed(path: Path, wanted: dict[str, Any], now: str) -> None:
    if wanted.get("at") == now:
        DEEDS[wanted["do"]](path)


def refuse(path: Path) -> None:
    raise PictureError(f"{path}: I do not like it; draw another")


def fail(path: Path) -> None:
    raise KeyError("two\nlines \x1b[31m")


def swell(path: Path) -> None:
    np.ones((1 << 30, 8), np.uint8)


def swell_outside_python(path: Path) -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    if libc.malloc(ctypes.c_size_t(8 << 30)) is None:
        os.abort()


def hang_holding_the_lock(path: Path) -> None:
    ctypes.PyDLL(None).sleep(1000)  # in C, and no Python runs meanwhile


def chat(path: Path) -> None:
    for stream in (1, 2):
        os.write(stream, b"libpng warning: something\n" * 1000)
    print("to stdout")
    warnings.warn("to stderr", stacklevel=1)


def flood(path: Path) -> None:
    for _ in range(10_000):
        try:
            os.write(2, b"x" * 10_000)
        except OSError:
            break


def answer(data: bytes) -> Any:
    def write(path: Path) -> None:
        ANSWERS.write(data)
        ANSWERS.flush()
        time.sleep(1000)

    return write


def framed(text: str) -> bytes:
    return b"upsc" + len(text).to_bytes(4, "little") + text.encode()


DEEDS: dict[str, Any] = {
    "crash": lambda path: ctypes.string_at(0),
    "abort": lambda path: os.abort(),
    "kill": lambda path: os.kill(os.getpid(), 9),
    "exit": lambda path: os._exit(3),
    "leave": lambda path: sys.exit(4),
    "hang": lambda path: time.sleep(1000),
    "hang in C": hang_holding_the_lock,
    "refuse": refuse,
    "fail": fail,
    "swell": swell,
    "swell in C": swell_outside_python,
    "chat": chat,
    "flood": flood,
    "noise": answer(b"PNG warning: not a message at all" * 100),
    "huge": answer(b"upsc\xff\xff\xff\xff"),
    "not json": answer(framed("{")),
    "not an object": answer(framed("[]")),
    "deep": answer(framed("[" * 100_000)),
    "no header": answer(framed('{"blobs": []}')),
    "big blob": answer(framed('{"blobs": [99999999999]}')),
    "big number": answer(framed('{"blobs": [' + "9" * 10_000 + "]}")),
    "negative rows": answer(framed('{"blobs": [], "rows": -1}')),
    "too many rows": answer(framed('{"blobs": [], "rows": 1000000}')),
    "odd rows": answer(framed('{"blobs": [], "rows": true}')),
    "early end": answer(framed('{"blobs": [], "end": true}')),
}
ANSWERS: BinaryIO


def open_strange(path: Path, max_pixels: int | None) -> Strange:
    try:
        wanted = json.loads(path.read_bytes())
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror})") from error
    deed(path, wanted, "open")
    if wanted.get("pid"):
        raise PictureError(f"{path}: {os.getpid()}")
    return Strange(path, wanted)


if __name__ == "__main__":
    requests, ANSWERS = prepare()
    serve(open_strange, requests, ANSWERS)
