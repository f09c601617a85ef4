"""Animated WebP and AVIF: frames are handed to the encoder one by one, so that only their compressed form adds up."""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image as Pil

from upscale.image import Animation
from upscale.media.formats import AVIF, Format
from upscale.media.writing.layout import Content, Pixels
from upscale.media.writing.whole import beside, options, pasted


class _Reel(Pil.Image):
    """Frames that come one after another, shown to Pillow as one picture that is sought through forwards."""

    def __init__(self, frames: Iterator[Pil.Image], count: int) -> None:
        super().__init__()
        self._frames, self.n_frames, self._at = frames, count, -1
        self.is_animated = True
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame == self._at + 1 and frame < self.n_frames:
            shown = next(self._frames)
            self.im, self._mode, self._size, self._at = shown.im, shown.mode, shown.size, frame
        elif frame >= self.n_frames:
            raise EOFError("no more frames")

    def tell(self) -> int:
        return max(0, self._at)


def milliseconds(durations: tuple[float, ...]) -> list[int]:
    """Whole milliseconds, each rounded so that the sum never drifts from the true one."""
    at = np.rint(np.cumsum((0.0, *durations))).astype(np.int64)
    return [int(step) for step in np.diff(at)]


def write_animation(file: BinaryIO, format_: Format, content: Content, frames: Iterator[Iterator[Pixels]]) -> None:
    """As many frames as `content.animation` has durations. WebP's encoder joins equal ones and adds up their times."""
    animation = content.animation or Animation((0.0,))
    shown = (pasted(content, bands) for bands in frames)
    encoded = io.BytesIO()
    _Reel(shown, len(animation.durations)).save(
        encoded,
        format_.pillow,
        save_all=True,
        duration=milliseconds(animation.durations),
        loop=animation.plays,
        **options(format_, content),
        **beside(content),
    )
    next(frames, None)
    data = encoded.getvalue()
    file.write(settled(data, animation.plays) if format_ is AVIF else _flagged(data) if content.layout.alpha else data)


def _flagged(webp: bytes) -> bytes:
    """With the flag for transparency: the encoder forgets it where all frames are opaque rectangles on a clear ground.

    RFC 9649, 2.7.1: the flags follow the head of the first chunk, VP8X.
    """
    return webp[:20] + bytes((webp[20] | 0x10,)) + webp[21:] if webp[12:16] == b"VP8X" else webp


def settled(avif: bytes, plays: int) -> bytes:
    """With a number of plays, which Pillow cannot set, and without the time of day, so that equal work gives equal bytes.

    ISO/IEC 14496-12, 8.2.2, 8.3.2, 8.4.2 and 8.6.6, in the version with 64-bit times, as libavif writes them: the edit
    list tells the length of one play, movie and track that of all.
    """
    changed, end = bytearray(avif), avif.find(b"mdat")
    once = re.search(rb"elst\x01.{7}(.{8})", avif[:end], re.DOTALL)
    for box, place in ((b"mvhd", 24), (b"tkhd", 28), (b"mdhd", None)):
        for found in re.finditer(box + b"\x01", avif[:end]):
            start = found.start() + 4
            changed[start + 4 : start + 20] = bytes(16)
            if once and plays and place is not None:
                total = int.from_bytes(once[1], "big") * plays
                changed[start + place : start + place + 8] = total.to_bytes(8, "big")
    return bytes(changed)
