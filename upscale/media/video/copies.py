"""Packets and pictures that go into the new file as they are."""

from collections.abc import Iterator
from fractions import Fraction

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import AttachmentStream, Stream

from upscale.media.video.carried import picture_type
from upscale.media.video.stream_tags import Packet, Window, inside

_RUN_UP = Fraction(1, 10)
"""Seconds of hidden sound that are kept, for decoders that need what came before."""

_NO_WINDOW: Window = (None, None)


class Copy:
    """The packets of one stream for `out`: those in the window, moved by `shift`, with their flags and side data.

    `source` is named where sound of a coarse time base (Matroska: 1 ms) goes into a container that counts samples: packets that
    follow one another within that rounding then do so to the sample, as players of MP4 expect.
    """

    def __init__(self, out: Stream, window: Window, shift: Fraction, source: AudioStream | None = None) -> None:
        self._out, self._window, self._shift = out, window, shift
        self._clock = _Clock.of(source) if source is not None else None
        self._hides = out.container.format.name in ("mp4", "mov")
        self.damaged = 0

    def take(self, packet: Packet) -> Iterator[Packet]:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or not inside(stamp * packet.time_base, self._window) or self._is_cut(packet, stamp):
            return
        moved = round(self._shift / packet.time_base)
        packet.pts = stamp - moved
        packet.dts = packet.pts if packet.dts is None else packet.dts - moved
        if self._clock is not None:
            self._clock.set(packet)
        packet.stream = self._out
        yield packet

    def _is_cut(self, packet: Packet, stamp: int) -> bool:
        """Sound that MP4's edit list hides, long before the beginning: another container would let it be heard."""
        end = (stamp + (packet.duration or 0)) * packet.time_base - self._shift
        return packet.is_discard and self._out.type == "audio" and not self._hides and end < -_RUN_UP

    def passed(self, time: Fraction) -> Iterator[Packet]:
        """Nothing: no packet is held back."""
        yield from ()

    def finish(self) -> Iterator[Packet]:
        """Nothing."""
        yield from ()


class _Clock:
    """Sets packets of a fixed number of samples one behind the other; starts anew where there is a real gap."""

    def __init__(self, samples: int, rate: int) -> None:
        self._samples, self._base = samples, Fraction(1, rate)
        self._next: int | None = None

    @classmethod
    def of(cls, stream: AudioStream) -> "_Clock | None":
        samples, rate = stream.codec_context.frame_size, stream.codec_context.sample_rate
        coarse = stream.time_base is not None and rate > 0 and stream.time_base > Fraction(1, rate)
        return cls(samples, rate) if coarse and samples > 1 else None

    def set(self, packet: Packet) -> None:
        stated = Fraction(packet.pts or 0) * packet.time_base
        near = self._next is not None and abs(self._next * self._base - stated) < 2 * packet.time_base
        at = self._next if near and self._next is not None else round(stated / self._base)
        length = (packet.duration or 0) * packet.time_base / self._base
        usual = abs(length - self._samples) * self._base < 2 * packet.time_base
        count = self._samples if usual or not length else round(length)
        packet.time_base = self._base
        packet.pts = packet.dts = at
        packet.duration = count
        self._next = at + count


class CoverCopy(Copy):
    """One picture, which has no time."""

    def __init__(self, out: Stream) -> None:
        super().__init__(out, _NO_WINDOW, Fraction(0))

    def take(self, packet: Packet) -> Iterator[Packet]:
        packet.pts = packet.dts = 0
        packet.stream = self._out
        yield packet


def attach(out: OutputContainer, source: AttachmentStream) -> None:
    """Copies a file that Matroska carries, such as a font, with its name and description."""
    name = source.metadata.get("filename", f"attachment-{source.index}")
    added = out.add_attachment(name, source.mimetype or "application/octet-stream", source.data)
    added.metadata.update({key: value for key, value in source.metadata.items() if key not in ("filename", "mimetype")})


def attach_cover(out: OutputContainer, source: Stream, picture: bytes) -> None:
    """Attaches a cover picture under the name by which Matroska's players know it."""
    kind = picture_type(source)
    name = source.metadata.get("filename") or ("cover.png" if kind == "image/png" else "cover.jpg")
    out.add_attachment(name, kind, picture)
