"""A video opened for its frames: what it is, and every frame once, in order, with its own time."""

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
import av.logging as av_logging
from av.codec.context import Flags
from av.container import InputContainer
from av.error import BlockingIOError as NotYetError
from av.error import EOFError as EndError
from av.error import FFmpegError, InvalidDataError
from av.filter import Graph
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from upscale.errors import VideoError
from upscale.frame import Frame, Layout
from upscale.media.video.carried import Carried, is_cover
from upscale.media.video.carried import plan as carried_by
from upscale.media.video.colors import FULL, Light, Tags, color_of, completed, light_of, orientation_of
from upscale.media.video.planes import layout_of, planes_from
from upscale.media.video.stream_tags import Window, carry_metadata
from upscale.media.video.streams import Others
from upscale.wishes import Deinterlace

_LOOK_AT = 12
"""Frames that are decoded to find out what a video is."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a video is. Sides in pixels as stored (not turned, not squared). `orientation`: EXIF's number, 1 upright.

    `rate`: frames a second on average, or a guess; `frames`: how many its header announces, None where it does not;
    `seconds`: its length by the header. `notes`: what was assumed and will be done; `warnings`: what is lost; a line each.
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    layout: Layout
    tags: Tags
    light: Light
    aspect: Fraction
    orientation: int
    interlaced: bool
    time_base: Fraction
    rate: Fraction
    frames: int | None
    seconds: float | None
    index: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Seen:
    """What was met while reading: frames with invented parts, packets that gave no frame, times that were made up; when
    the last frame was shown, in seconds."""

    frames: int = 0
    packets: int = 0
    corrupt: list[int] = field(default_factory=list[int])
    lost: int = 0
    retimed: int = 0
    end: float = 0.0


class Clip(Protocol):
    """Something that is a video: a file of one, or pictures one after the other. `frames` may be called once."""

    info: Info
    seen: Seen

    def frames(self, start: Fraction | None = None, end: Fraction | None = None) -> Iterator[Frame]:
        """Every frame from `start` (seconds) on and before `end`; numbers count those that are given. Raises VideoError."""
        ...

    def carried(self, muxer: str) -> tuple[Carried, ...]:
        """What else there is, and what becomes of it in FFmpeg's container `muxer`."""
        ...

    def others(self, carried: tuple[Carried, ...], window: Window, shift: Fraction) -> Others | None:
        """To be closed by the caller."""
        ...

    def carry(self, stream: Stream) -> None:
        """Gives a result's video stream what is said of this one."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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
        for picture in _deinterlaced(raw, self._stream, self._which) if self._which else raw:
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
        return _info(self._path, self._container, self._stream, list(self._waiting), deinterlace)

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
        tags = completed(_tags_of(picture, info.tags), info.width, info.height, layout.kind == "rgb", info.codec)[0]
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


def _info(
    path: Path, container: InputContainer, stream: VideoStream, frames: list[av.VideoFrame], deinterlace: Deinterlace
) -> Info:
    first, context = frames[0], stream.codec_context
    if first.format.name.startswith(("xyz", "bayer")):
        raise VideoError(f"{path}: its pixels ({first.format.name}) are not supported; convert it to YUV or RGB first")
    layout, codec = layout_of(first.format), context.name
    raw = _tags_of(first, Tags(location=_location(first, stream)))
    tags, assumed = completed(raw, first.width, first.height, layout.kind == "rgb", codec)
    interlaced = deinterlace == "bwdif" or any(frame.interlaced_frame for frame in frames)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    notes = [f"does not say its {' and its '.join(assumed)}"] if assumed else []
    if interlaced:
        notes.append(
            f"is interlaced: {'left so, with its combs' if deinterlace == 'off' else 'bwdif makes its frames whole'}"
        )
    orientation = orientation_of(first.side_data)
    warnings = [] if orientation else ["is to be shown at an odd angle; the result is not"]
    if _has_webm_alpha(stream):
        raise VideoError(
            f"{path}: holds transparency in {codec}, which cannot be read yet; convert it to ProRes 4444 first"
        )
    length = container.duration / 1_000_000 if container.duration else None
    return Info(
        path,
        container.format.name,
        codec,
        first.width,
        first.height,
        layout,
        tags,
        light_of(first.side_data),
        _aspect(stream),
        orientation or 1,
        interlaced,
        stream.time_base or Fraction(1, 1000),
        rate,
        stream.frames or None,
        length,
        stream.index,
        tuple(notes),
        tuple(warnings),
    )


def _has_webm_alpha(stream: VideoStream) -> bool:
    return stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"


def _aspect(stream: VideoStream) -> Fraction:
    """Width to height of a pixel; 1 where nothing is said or nonsense."""
    found = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(found) if found and Fraction(1, 16) < found < 16 else Fraction(1)


def _tags_of(frame: av.VideoFrame, silent: Tags) -> Tags:
    """The frame's own, and those of `silent` where it says nothing."""
    given = (frame.colorspace, frame.color_primaries, frame.color_trc)
    matrix, primaries, transfer = (2 if value == 3 else int(value) for value in given)
    range_ = FULL if frame.format.name.startswith("yuvj") else int(frame.color_range)
    return replace(
        silent,
        matrix=silent.matrix if matrix == 2 else matrix,
        primaries=silent.primaries if primaries in (0, 2) else primaries,
        transfer=silent.transfer if transfer in (0, 2) else transfer,
        range=range_ or silent.range,
    )


def _location(frame: av.VideoFrame, stream: VideoStream) -> Any:
    """Where chroma lies. PyAV does not tell, but FFmpeg's showinfo filter prints it (`cl:left`)."""
    level = av_logging.get_level()
    graph = _filter(stream, "showinfo")
    av_logging.set_level(av_logging.INFO)
    try:
        with av_logging.Capture(local=True) as lines:
            graph.vpush(frame)
            graph.vpull()
    finally:
        av_logging.set_level(level)
    words = " ".join(text for _, _, text in lines).split()
    return next((word[3:] for word in words if word.startswith("cl:")), "unspecified")


def _deinterlaced(frames: Iterator[av.VideoFrame], stream: VideoStream, which: str) -> Iterator[av.VideoFrame]:
    """One whole frame for each, by bwdif; `which`: "all", or only those that say that they are "interlaced"."""
    graph = _filter(stream, "bwdif", f"mode=send_frame:parity=auto:deint={which}")
    for frame in frames:
        graph.vpush(frame)
        yield from _pulled(graph)
    graph.vpush(None)
    yield from _pulled(graph)


def _filter(stream: VideoStream, name: str, how: str | None = None) -> Graph:
    """One of FFmpeg's filters, for the stream's frames."""
    graph = Graph()
    nodes = graph.add_buffer(template=stream, time_base=stream.time_base), graph.add(name, how), graph.add("buffersink")
    graph.link_nodes(*nodes).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (NotYetError, EndError):
            return


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
