"""A video file opened for its frames: every one once, in order, with its own time."""

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from upscale.errors import VideoError
from upscale.frame import Frame
from upscale.media.video.carried import Carried, is_cover
from upscale.media.video.carried import plan as carried_by
from upscale.media.video.clip import Info, Seen
from upscale.media.video.colors import color_of, completed
from upscale.media.video.facts import info_of, tags_of
from upscale.media.video.filters import deinterlaced
from upscale.media.video.planes import planes_from
from upscale.media.video.stream_tags import Window, carry_metadata
from upscale.media.video.streams import Others
from upscale.wishes import Deinterlace

_LOOK_AT = 12
"""Frames that are decoded to find out what a video is."""


class VideoFile:
    """An opened video file; a `Clip`. Use it in a `with` block."""

    def __init__(self, path: Path, deinterlace: Deinterlace = "auto", hardware: bool = False) -> None:
        """Raises VideoError where the file is no video that can be read."""
        self._path = path
        self._container, fallen = _opened(path, hardware)
        try:
            self._stream = _main_stream(path, self._container)
            self.seen = Seen()
            self._waiting: deque[av.VideoFrame] = deque()
            self._decoded = self._decode()
            info = self._look(deinterlace)
            self.info = replace(info, notes=(*info.notes, *fallen))
        except BaseException:
            self._container.close()
            raise
        # AVI has no times, and what FFmpeg makes up where frames are reordered is out of step.
        self._uncertain = self.info.container == "avi" and bool(self._stream.codec_context.has_b_frames)
        how = {"auto": "interlaced", "bwdif": "all", "off": ""}[deinterlace]
        self._which = how if self.info.interlaced else ""

    def carried(self, muxer: str) -> tuple[Carried, ...]:
        return carried_by(self._container, self.info.index, muxer)

    def others(self, carried: tuple[Carried, ...], window: Window, shift: Fraction) -> Others | None:
        return Others(self._path, self.info.index, carried, window, shift)

    def carry(self, stream: Stream) -> None:
        carry_metadata(self._stream, stream)

    def frames(self, start: Fraction | None = None, end: Fraction | None = None) -> Iterator[Frame]:
        """See `Clip`; also where the size changes in between."""
        number, last = 0, None
        raw = chain(self._taken(), self._decoded)
        for picture in deinterlaced(raw, self._stream, self._which) if self._which else raw:
            pts, last = self._time(picture, last)
            seconds = pts * self.info.time_base
            self.seen.end = max(self.seen.end, float(seconds))
            if end is not None and seconds >= end:
                return
            if start is not None and seconds < start:
                continue
            frame = self._frame(picture, pts, number)
            yield frame
            number += 1

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _taken(self) -> Iterator[av.VideoFrame]:
        while self._waiting:
            yield self._waiting.popleft()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames in the order in which they are shown; a packet that gives none is counted, never a reason to stop."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size and not packet.is_discard:
                    self.seen.packets += 1
                try:
                    yield from packet.decode()
                except InvalidDataError:
                    self.seen.lost += 1
        except (FFmpegError, OSError) as error:
            if self.seen.frames == 0 and not self._waiting:
                raise VideoError(f"{self._path}: cannot be decoded ({_reason(error)}); the file is damaged") from error
            self.seen.lost += 1  # the file ends here, in the middle of something

    def _look(self, deinterlace: Deinterlace) -> Info:
        for frame in self._decoded:
            self._waiting.append(frame)
            if len(self._waiting) >= _LOOK_AT:
                break
        if not self._waiting:
            raise VideoError(f"{self._path}: holds no frame that can be decoded; check that it plays")
        return info_of(self._path, self._container, self._stream, list(self._waiting), deinterlace)

    def _time(self, picture: av.VideoFrame, last: int | None) -> tuple[int, int]:
        """The frame's pts in the stream's time base; made up where it has none or goes backwards."""
        base, pts = self.info.time_base, None if self._uncertain else picture.pts
        if pts is not None and picture.time_base is not None and picture.time_base != base:
            pts = round(pts * picture.time_base / base)
        if pts is None or (last is not None and pts <= last):
            step = picture.duration or max(1, round(1 / (self.info.rate * base)))
            pts = 0 if last is None else last + (step if pts is None else 1)
            self.seen.retimed += 1
        return pts, pts

    def _frame(self, picture: av.VideoFrame, pts: int, number: int) -> Frame:
        info = self.info
        if (picture.width, picture.height) != (info.width, info.height):
            seconds = float(pts * info.time_base)
            raise VideoError(
                f"{self._path}: frame {number} at {seconds:.3f} s is {picture.width}×{picture.height}, while the video began "
                f"with {info.width}×{info.height}; take --end {seconds:.3f}, and cut the rest off with another program"
            )
        planes, layout = planes_from(picture)
        self.seen.frames += 1
        if picture.is_corrupt:
            self.seen.corrupt.append(number)
        tags = completed(tags_of(picture, info.tags), info.width, info.height, layout.kind == "rgb", info.codec)[0]
        color = color_of(tags, layout.depth, layout.kind == "gray", f"{self._path}: frame {number}")
        base = picture.time_base or info.time_base
        duration = round((picture.duration or 0) * base / info.time_base)
        return Frame(planes, layout, color, pts, duration, info.time_base, number, picture.is_corrupt)


def _opened(path: Path, hardware: bool) -> tuple[InputContainer, list[str]]:
    """The file, and what is to be said of the hardware that was wanted."""
    fallen: list[str] = []
    if hardware:
        from av.codec.hwaccel import HWAccel

        with contextlib.suppress(FFmpegError, OSError, RuntimeError):
            container = av.open(
                str(path), hwaccel=HWAccel("cuda", allow_software_fallback=True), metadata_errors="replace"
            )
            if any(stream.codec_context.is_hwaccel for stream in container.streams.video):
                return container, []
            container.close()
        fallen = ["no hardware here decodes it: going on without"]
    try:
        return av.open(str(path), metadata_errors="replace"), fallen
    except (FFmpegError, OSError) as error:
        raise VideoError(
            f"{path}: cannot be opened as a video ({_reason(error)}); it is damaged, cut off, or of another kind"
        ) from error


def _main_stream(path: Path, container: InputContainer) -> VideoStream:
    """The video that is meant to be watched: never a cover picture."""
    pictured = [stream for stream in container.streams.video if not is_cover(stream)]
    found = [stream for stream in pictured if stream.codec_context is not None]  # pyright: ignore[reportUnnecessaryComparison]
    if pictured and not found:
        raise VideoError(f"{path}: its video is of a kind that FFmpeg does not know; convert it with what made it")
    if not found:
        raise VideoError(f"{path}: holds no video, only {_kinds(container)}; nothing can be enlarged")
    stream = max(found, key=lambda stream: (Disposition.default in stream.disposition, -stream.index))
    stream.thread_type = "SLICE"  # with threads over frames FFmpeg drops whole frames beside a damaged one
    stream.codec_context.flags |= Flags.output_corrupt  # a damaged frame is shown, and counted, as in every player
    return stream


def _kinds(container: InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
