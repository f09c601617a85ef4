"""Video codecs in memory: frames in, frames out, by the real encoders and decoders that PyAV carries.

One thread each: workers are processes already, and what an encoder makes must not depend on the number of cores.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from upscale.frame import Layout
from upscale.image import Color, Floats
from upscale.yuv import planes_of, rgb_of

Packed = npt.NDArray[np.uint8]
"""The three planes of a 4:2:0 frame below one another: (1.5 · height, width)."""

LAYOUT = Layout()
SMALLEST = 64
"""Pixels of a side that every one of these encoders accepts. Sides must be even."""


@dataclass(frozen=True, slots=True)
class Codec:
    """FFmpeg's names for one codec; the options of its encoder that take the quality; others that are always set."""

    name: str
    encoder: str
    decoder: str
    quality: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()


# Without cpu-independent, x264's macroblock tree reads memory that nobody wrote: another file at each run, even in one thread.
H264 = Codec("h264", "libx264", "h264", ("crf",), (("x264-params", "cpu-independent=1"),))
HEVC = Codec("hevc", "libx265", "hevc", ("crf",), (("x265-params", "log-level=none:pools=none:frame-threads=1"),))
# Its flag for a fixed quantizer reads a field of the frame that PyAV does not show.
MPEG2 = Codec("mpeg2", "mpeg2video", "mpeg2video", ("qmin", "qmax"), (("b", "100M"), ("bf", "2")))
VP9 = Codec("vp9", "libvpx-vp9", "vp9", ("crf",), (("b:v", "0"), ("deadline", "realtime"), ("cpu-used", "5")))
AV1 = Codec("av1", "libsvtav1", "libdav1d", ("crf",), (("preset", "9"), ("svtav1-params", "lp=1")))


def through(codec: Codec, frames: list[Packed], quality: int, preset: str | None = None) -> list[Packed]:
    """The frames as they come back, in the order in which they are shown: one group that begins with a key frame.

    `quality`: crf, or MPEG-2's quantizer (1 to 31). `preset`: x264's and x265's.
    """
    encoder = _encoder(codec, frames[0].shape, len(frames), quality, preset)
    packets: list[Any] = []
    for number, planes in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(codec.decoder, "r")
    decoder.thread_count = 1
    return [_packed(frame) for frame in _decoded(decoder, packets)]


def _encoder(codec: Codec, shape: tuple[int, ...], group: int, quality: int, preset: str | None) -> Any:
    if codec is AV1:
        os.environ.setdefault("SVT_LOG", "0")  # there is no other way to keep SVT-AV1 from writing to stderr
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(codec.encoder, "w"))
    encoder.height, encoder.width, encoder.pix_fmt = shape[0] * 2 // 3, shape[1], "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.gop_size, encoder.thread_count = group, 1
    options = dict(codec.options) | {name: str(quality) for name in codec.quality}
    if preset is not None:
        options["preset"] = preset
    encoder.options = options
    return encoder


def _decoded(decoder: Any, packets: list[Any]) -> Iterable[av.VideoFrame]:
    for packet in packets:
        yield from decoder.decode(packet)
    yield from decoder.decode(None)


def _packed(frame: av.VideoFrame) -> Packed:
    return cast(Packed, frame.to_ndarray())


def packed(rgb: Floats, color: Color) -> Packed:
    """A picture with even sides as 4:2:0 of 8 bits."""
    luma, *chroma = planes_of(rgb, None, LAYOUT, color)
    return np.concatenate([luma, *(plane.reshape(-1, luma.shape[1]) for plane in chroma)])


def unpacked(planes: Packed, color: Color) -> Floats:
    """And back. Raises ValueError where the height is no multiple of 4."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    return rgb_of((planes[:height], chroma[0], chroma[1]), LAYOUT, color)[0]
