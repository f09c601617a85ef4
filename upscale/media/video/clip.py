"""What a video is, whatever it is made of: the contract between who reads frames and who enlarges them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from av.stream import Stream

from upscale.frame import Frame, Layout
from upscale.media.video.carried import Carried
from upscale.media.video.colors import Light, Tags
from upscale.media.video.stream_tags import Window
from upscale.media.video.streams import Others


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
