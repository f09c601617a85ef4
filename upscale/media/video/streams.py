"""Everything in a video file that is not the main video, carried into another file: packets, tags, chapters, attachments."""

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import AttachmentStream, Stream
from av.subtitles.stream import SubtitleStream

from upscale.media.video.carried import Carried, is_timecode
from upscale.media.video.convert import AudioConversion, add_audio
from upscale.media.video.copies import Copy, CoverCopy, attach, attach_cover
from upscale.media.video.stream_tags import Packet, Window, carry_chapters, carry_file_metadata, carry_metadata
from upscale.media.video.subtitles import TextConversion, add_text
from upscale.media.video.trial import add_copy, samples

_INTERLEAVING = Fraction(10)
"""Seconds by which packets of one time may lie apart in a file."""


def options(format_: str) -> dict[str, str]:
    """What the output must be opened with, so that times stay as they are.

    Matroska's muxer otherwise delays the whole file where sound begins before zero (AAC's priming), and MP4's counts late
    beginnings in whole milliseconds.
    """
    exact = {"movie_timescale": "90000"} if format_ in ("mp4", "mov") else {}
    return {"avoid_negative_ts": "disabled", **exact}


class Others:
    """The streams of `path` beside the one of index `main`, as `plan` found them.

    `window` (seconds, in the source's time): only packets with window[0] <= pts < window[1]. `shift`: seconds subtracted from all
    times. Call `add_to` before the output's header is written, then mux all of `packets`. Each only once.
    """

    def __init__(
        self,
        path: Path,
        main: int,
        carried: tuple[Carried, ...],
        window: Window = (None, None),
        shift: Fraction = Fraction(0),
    ) -> None:
        self._source = av.open(str(path), metadata_errors="replace")
        self._main = main
        self._carried = {one.index: one for one in carried if one.how != "drop"}
        self._window, self._shift = window, shift
        self._tracks: dict[int, _Track] = {}

    def __enter__(self) -> "Others":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    def add_to(self, out: OutputContainer, add_main: Callable[[], Stream]) -> None:
        """Adds all streams in the source's order, with tags and roles; `add_main` adds the main video in its place."""
        pictures = {index for index, one in self._carried.items() if one.kind == "cover"}
        covers = samples(self._source.name, pictures) if out.format.name == "matroska" else {}
        for stream in self._source.streams:
            if stream.index == self._main:
                self._complete_timecode(add_main())
            elif stream.index in covers:
                attach_cover(out, stream, covers[stream.index])
            elif stream.index in self._carried:
                self._add(out, stream, self._carried[stream.index])
        carry_file_metadata(self._source, out)
        carry_chapters(self._source, out, self._window, self._shift)

    def packets(self) -> Iterator[tuple[Fraction, Packet]]:
        """(dts in seconds, packet ready for `out.mux`) in the source's order."""
        if not self._tracks:
            return
        self._seek()
        last = None if self._window[1] is None else self._window[1] + _INTERLEAVING
        for packet in self._source.demux([self._source.streams[index] for index in self._tracks]):
            time = _time(packet)
            if time is not None and last is not None and time > last:
                break
            if packet.size or time is not None:  # otherwise the demuxer's sign that a stream has ended
                yield from map(_timed, self._tracks[packet.stream.index].take(packet))
            if time is not None:
                for track in self._tracks.values():
                    yield from map(_timed, track.passed(time))
        for track in self._tracks.values():
            yield from map(_timed, track.finish())

    def damage(self) -> list[str]:
        """After `packets`: a line for each converted track of which something could not be decoded."""
        return [
            f"{self._carried[index].name}: {_missing(track.damaged)}"
            for index, track in self._tracks.items()
            if track.damaged
        ]

    def _complete_timecode(self, main: Stream) -> None:
        """A timecode track is written by the muxer, from the video's tag: where only the track has it, the tag is added."""
        for stream in self._source.streams:
            if stream.index in self._carried and is_timecode(stream):
                main.metadata.setdefault("timecode", stream.metadata["timecode"])

    def _add(self, out: OutputContainer, stream: Stream, carried: Carried) -> None:
        if carried.codec in ("tmcd", "tag"):
            return
        if isinstance(stream, AttachmentStream):
            attach(out, stream)
            return
        if carried.how == "copy":
            added = add_copy(out, stream)
            self._tracks[stream.index] = CoverCopy(added) if carried.kind == "cover" else self._copy(out, stream, added)
        elif isinstance(stream, AudioStream):
            added = add_audio(out, stream, carried.codec)
            self._tracks[stream.index] = AudioConversion(stream, added, self._window, self._shift)
        else:
            assert isinstance(stream, SubtitleStream)
            added = add_text(out, carried.codec)
            self._tracks[stream.index] = TextConversion(stream, added, self._window, self._shift)
        carry_metadata(stream, added)

    def _copy(self, out: OutputContainer, stream: Stream, added: Stream) -> Copy:
        counts = out.format.name in ("mp4", "mov")
        return Copy(added, self._window, self._shift, stream if counts and isinstance(stream, AudioStream) else None)

    def _seek(self) -> None:
        """Near the window's beginning; where a file cannot be searched, it is read from its own."""
        if self._window[0] is not None and self._window[0] > _INTERLEAVING:
            try:
                self._source.seek(int((self._window[0] - _INTERLEAVING) * av.time_base))
            except FFmpegError:
                self._source.seek(0)


class _Track(Protocol):
    """One stream on its way: its packets in, the result's out."""

    damaged: int

    def take(self, packet: Packet) -> Iterator[Packet]: ...
    def passed(self, time: Fraction) -> Iterator[Packet]: ...
    def finish(self) -> Iterator[Packet]: ...


def _time(packet: Packet) -> Fraction | None:
    """When a packet is due, in seconds; None for the empty ones at the end."""
    stamp = packet.dts if packet.dts is not None else packet.pts
    return None if stamp is None else stamp * packet.time_base


def _timed(packet: Packet) -> tuple[Fraction, Packet]:
    return _time(packet) or Fraction(0), packet


def _missing(damaged: int) -> str:
    verb = "packet could not be converted and is" if damaged == 1 else "packets could not be converted and are"
    return f"{damaged} damaged {verb} missing"
