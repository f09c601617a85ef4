"""Segments and everything else of the source in one file."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.stream import VideoStream

from upscale.errors import OutputError
from upscale.media.video.containers import Container
from upscale.media.video.encoder import Encoding, configure, open_context
from upscale.media.video.packets import Coded, coded_in, decoding_times
from upscale.media.video.streams import Others, options

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false

_TAGS = {"hevc": "hvc1"}
"""What Apple's players want to see in MP4 and MOV."""


@dataclass(frozen=True, slots=True)
class Film:
    """What is to be joined. `segments`: files of packets in order. `extradata`: the header that all of them have."""

    container: Container
    encoding: Encoding
    segments: list[Path]
    extradata: bytes


def write(path: Path, film: Film, others: Others | None, carry: Callable[[Stream], None]) -> None:
    """Writes the file; `carry` gives the video stream its metadata. Raises OutputError."""
    try:
        with av.open(str(path), "w", format=film.container.muxer, options=_muxer_options(film)) as out:
            main: list[VideoStream] = []

            def add_main() -> Stream:
                main.append(_main_stream(out, film.encoding))
                carry(main[0])
                return main[0]

            if others is None:
                add_main()
            else:
                others.add_to(out, add_main)
            if bytes(main[0].codec_context.extradata or b"") != film.extradata:
                raise OutputError(f"{path}: the encoder gives another header than before; begin anew with --overwrite")
            out.start_encoding()
            rest = others.packets() if others is not None else iter(())
            for _, packet in merge(_packets(film, main[0]), rest, key=lambda pair: pair[0]):
                out.mux(packet)
    except (FFmpegError, ValueError) as error:
        if _is_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written as {film.container.name} ({reason}); try --format mkv") from error


def _is_full(error: Exception) -> bool:
    """Whether a disk has no room left; FFmpeg's error for that is no OSError."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def _muxer_options(film: Film) -> dict[str, str]:
    found = options(film.container.muxer)
    if film.container.muxer in ("mp4", "mov"):
        found["video_track_timescale"] = str(_timescale(film.encoding.time_base))
        found["movflags"] = "+faststart"
    return found


def _timescale(time_base: Fraction) -> int:
    """Ticks a second in which every time of that base is a whole number. Raises OutputError where MP4 has none."""
    if time_base.denominator > 2**31 - 1:
        raise OutputError(f"a time base of {time_base} s does not fit into MP4; use --format mkv")
    return time_base.denominator


def _main_stream(out: OutputContainer, encoding: Encoding) -> VideoStream:
    """A stream with the parameters of the encoder that made the segments: one like it, which is never fed."""
    stream: Any = out.add_stream(encoding.encoder, rate=encoding.rate)
    configure(stream.codec_context, encoding)
    if out.format.name in ("mp4", "mov") and encoding.codec.name in _TAGS:
        stream.codec_context.codec_tag = _TAGS[encoding.codec.name]
    stream.time_base = encoding.time_base
    open_context(stream.codec_context, encoding)
    return stream


def _packets(film: Film, stream: VideoStream) -> Iterator[tuple[Fraction, Any]]:
    base = film.encoding.time_base
    frames = (coded for path in film.segments for coded in coded_in(path))
    for coded, dts in zip(frames, decoding_times(film.segments), strict=True):
        yield dts * base, _packet(coded, dts, base, stream)


def _packet(coded: Coded, dts: int, base: Fraction, stream: VideoStream) -> Any:
    packet: Any = av.Packet(coded.data)
    packet.pts, packet.dts, packet.duration, packet.time_base = coded.pts, dts, coded.duration, base
    packet.is_keyframe, packet.stream = coded.key, stream
    return packet
