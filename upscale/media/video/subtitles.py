"""Subtitles of text in another codec, with their own beginnings and ends: SubRip, WebVTT, ASS and MP4's timed text."""

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import re
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from upscale.media.video.stream_tags import Packet, Window, inside

BASE = Fraction(1, 1000)
"""The time base of what is written: all four codecs count in thousandths of a second."""

_SLACK = Fraction(5)
"""Seconds by which subtitles may lie too late in a file."""

_HEADER = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, \
ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
"""FFmpeg's own default style (libavcodec/ass.h): encoders write none of it, where another would be marked up in each line."""

_DRAWING = re.compile(rb"\{[^}]*\\p[1-9]")
_FIELDS = 8
"""Of a line of ASS before its text: number, layer, style, name, three margins, effect."""


def add_text(out: OutputContainer, codec: str) -> SubtitleStream:
    """A new stream with an encoder for text."""
    stream = out.add_stream(codec, time_base=BASE)
    assert isinstance(stream, SubtitleStream)
    stream.time_base = BASE
    _encoder(stream).subtitle_header = _HEADER
    return stream


class TextConversion:
    """Takes packets of `source`, gives packets for `out`; keeps the lines that are on the screen.

    MP4's timed text shows one sample at a time: there lines that overlap become samples of all lines then seen.
    Empty samples, which only end the one before, are not carried. `damaged` counts packets that could not be decoded.
    """

    def __init__(self, source: SubtitleStream, out: SubtitleStream, window: Window, shift: Fraction) -> None:
        self._source, self._out = source, out
        self._window, self._shift = window, shift
        self._single = out.codec_context.name == "mov_text"
        self._seen: list[tuple[int, bytes]] = []
        self._now = 0
        self.damaged = 0

    def take(self, packet: Packet) -> Iterator[Packet]:
        """Packets that this one completes."""
        try:
            text = _text(packet)
        except FFmpegError:
            self.damaged += 1
            return
        start = Fraction(packet.pts or 0) * packet.time_base
        end = start + (packet.duration or 0) * packet.time_base
        if not text or not inside(start, self._window):
            return
        if self._window[1] is not None:
            end = min(end, self._window[1])
        first, last = (round((time - self._shift) / BASE) for time in (start, end))
        if not self._single:
            yield self._encoded(first, last, text)
            return
        yield from self._until(first)
        self._now = max(self._now, first)
        self._seen.append((last, text))

    def passed(self, time: Fraction) -> Iterator[Packet]:
        """What is complete when the file has come to `time` (of the source, seconds)."""
        yield from self._until(round((time - _SLACK - self._shift) / BASE))

    def finish(self) -> Iterator[Packet]:
        yield from self._until(max((end for end, _ in self._seen), default=0))

    def _until(self, time: int) -> Iterator[Packet]:
        """The samples up to `time`: a new one wherever a line ends."""
        while self._seen and self._now < time:
            end = min(time, *(end for end, _ in self._seen))
            if end > self._now:
                yield self._encoded(self._now, end, rb"\N".join(text for _, text in self._seen))
                self._now = end
            self._seen = [(last, text) for last, text in self._seen if last > end]

    def _encoded(self, start: int, end: int, text: bytes) -> Packet:
        web = self._out.codec_context.name == "webvtt"
        line = b"0,0,Default,,0,0,0,," + (text.replace(b"&", b"&amp;").replace(b"<", b"&lt;") if web else text)
        body = bytes(_encoder(self._out).encode_subtitle(SubtitleSet.create(line, 0, max(0, end - start))))
        # FFmpeg's WebVTT takes no notice of the marks that its own decoders put before braces.
        result: Packet = av.Packet(body.replace(rb"\{", b"{").replace(rb"\}", b"}") if web else body)
        result.stream, result.time_base = self._out, BASE
        result.pts = result.dts = start
        result.duration, result.is_keyframe = max(0, end - start), True
        return result


def _encoder(stream: SubtitleStream) -> SubtitleCodecContext:
    context = stream.codec_context
    assert isinstance(context, SubtitleCodecContext)
    return context


def _text(packet: Packet) -> bytes:
    r"""The text in ASS's marks (\N: a new line); drawings are none."""
    lines: list[bytes] = []
    for subtitle in packet.decode():
        if isinstance(subtitle, AssSubtitle):
            text = subtitle.ass.split(b",", _FIELDS)[-1].rstrip(b"\r\n")
            text = text.replace(rb"\{{}", rb"\{")  # two decoders mark a brace so, the encoders know the other mark
            if text.strip() and not _DRAWING.search(text):
                lines.append(text)
    return rb"\N".join(lines)
