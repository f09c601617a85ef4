"""Sound in another codec, at the same time to the sample: decoded, resampled where needed, laid on one line, encoded."""

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError

from upscale.media.video.stream_tags import Packet, Window, inside
from upscale.media.video.trial import LAYOUTS

_PREROLL = Fraction(1, 2)
"""Seconds of sound decoded before a window, until a decoder that remembers is right."""

_JITTER = Fraction(1, 50)
"""Smaller gaps and overlaps are a container's rounding (Matroska: 1 ms) and not followed."""

_RATES = {"aac": 96_000, "libopus": 80_000}
"""Bits per second and channel, at which both are called transparent."""


def add_audio(out: OutputContainer, source: AudioStream, codec: str) -> AudioStream:
    """A new stream with an encoder for the sound of `source`: its channels, its rate where the codec knows it."""
    channels = source.layout.nb_channels
    rate = _rate(source.sample_rate, codec)
    stream = out.add_stream(codec, rate=rate, bit_rate=_RATES.get(codec, 0) * channels, time_base=Fraction(1, rate))
    assert isinstance(stream, AudioStream)
    # Encoders know one layout for each number of channels; the resampler maps 5.1(side) and its like onto it unchanged.
    stream.codec_context.layout = LAYOUTS[channels]
    stream.codec_context.format = _sample_format(source, codec)
    return stream


def _rate(rate: int, codec: str) -> int:
    if codec == "libopus":
        return 48_000
    rates = sorted(av.Codec(codec, "w").audio_rates or ())
    return rate if not rates or rate in rates else next((one for one in rates if one > rate), rates[-1])


def _sample_format(source: AudioStream, codec: str) -> str:
    if codec in ("alac", "flac"):
        deep = source.format.bytes > 2
        return ("s32" if deep else "s16") + ("p" if codec == "alac" else "")
    return "flt" if codec == "libopus" else "fltp"


class AudioConversion:
    """Takes packets of `source`, gives packets for `out`; keeps no more than a few frames.

    Every sample goes where its time says: what is missing becomes silence, what comes twice or lies outside the window or
    before the result's beginning is cut. `damaged` counts packets that could not be decoded.
    """

    def __init__(self, source: AudioStream, out: AudioStream, window: Window, shift: Fraction) -> None:
        self._source, self._out = source, out
        self._shift, self._rate = shift, out.codec_context.sample_rate
        self._resampler = self._new_resampler()
        self._form: tuple[str, str, int] | None = None
        self._start = round(max(window[0] - shift, Fraction(0)) * self._rate) if window[0] is not None else 0
        self._end = None if window[1] is None else round((window[1] - shift) * self._rate)
        self._wanted = (None if window[0] is None else window[0] - _PREROLL, window[1])
        self._next: int | None = None
        self.damaged = 0

    def take(self, packet: Packet) -> Iterator[Packet]:
        """Packets that this one completes. What ends a little before the window is decoded as well."""
        if packet.pts is not None and not inside(packet.pts * packet.time_base, self._wanted):
            return
        try:
            frames = [frame for frame in packet.decode() if isinstance(frame, AudioFrame)]
        except FFmpegError:
            self.damaged += 1
            return
        for frame in frames:
            yield from self._decoded(frame)

    def passed(self, time: Fraction) -> Iterator[Packet]:
        """Nothing: sound is never held back."""
        yield from ()

    def finish(self) -> Iterator[Packet]:
        """What decoder, resampler and encoder still hold."""
        for frame in self._source.codec_context.decode(None):
            yield from self._decoded(frame)
        yield from self._drained()
        yield from self._ready(self._out.codec_context.encode(None))

    def _decoded(self, frame: AudioFrame) -> Iterator[Packet]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._form not in (None, form):  # broadcasts change from stereo to 5.1 and back
            yield from self._drained()
            self._resampler = self._new_resampler()
        self._form = form
        for resampled in self._resampler.resample(frame):
            yield from self._placed(resampled)

    def _drained(self) -> Iterator[Packet]:
        for frame in self._resampler.resample(None):
            yield from self._placed(frame)

    def _new_resampler(self) -> AudioResampler:
        target = self._out.codec_context
        return AudioResampler(target.format, target.layout, target.sample_rate)

    def _placed(self, frame: AudioFrame) -> Iterator[Packet]:
        """Lays the frame on the line of samples and encodes what of it is new and wanted."""
        first = self._start if self._next is None else self._next
        at = self._position(frame)
        last = at + frame.samples if self._end is None else min(at + frame.samples, self._end)
        if last <= first:
            return
        if self._next is not None and at > first:
            yield from self._silence(first, at)
        begin = max(at, first)
        self._next = last
        yield from self._encoded(_part(frame, begin - at, last - at), begin)

    def _position(self, frame: AudioFrame) -> int:
        """The frame's first sample on the line: where the last ended, but for a real gap or overlap."""
        expected = self._next if self._next is not None else self._start
        if frame.pts is None or frame.time_base is None:  # pyright: ignore[reportUnnecessaryComparison]
            return expected
        stated = round((frame.pts * frame.time_base - self._shift) * self._rate)
        return expected if self._next is not None and abs(stated - expected) < _JITTER * self._rate else stated

    def _silence(self, first: int, last: int) -> Iterator[Packet]:
        """Zeros, a tenth of a second at a time, so that a long gap takes no memory."""
        target, step = self._out.codec_context, max(1, self._rate // 10)
        for at in range(first, last, step):
            frame = AudioFrame(target.format.name, target.layout.name, min(step, last - at))
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            yield from self._encoded(frame, at)

    def _encoded(self, frame: AudioFrame, at: int) -> Iterator[Packet]:
        frame.sample_rate, frame.time_base, frame.pts = self._rate, Fraction(1, self._rate), at
        yield from self._ready(self._out.codec_context.encode(frame))

    def _ready(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        for packet in packets:
            packet.stream = self._out
            yield packet


def _part(frame: AudioFrame, first: int, last: int) -> AudioFrame:
    if first == 0 and last == frame.samples:
        return frame
    count = 1 if frame.format.is_planar else frame.layout.nb_channels
    samples: Any = np.ascontiguousarray(frame.to_ndarray()[:, first * count : last * count])
    return AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
