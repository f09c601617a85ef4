"""A folder of pictures as a video."""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from av.stream import Stream

from upscale.errors import PictureError, VideoError
from upscale.frame import Frame, Layout
from upscale.image import Band, Color, Header, is_deep, joined
from upscale.media import Source
from upscale.media.formats import is_video
from upscale.media.listing import pictures
from upscale.media.video.carried import Carried
from upscale.media.video.clip import Info, Seen
from upscale.media.video.colors import LIMITED, Light, Tags
from upscale.media.video.stream_tags import Window
from upscale.media.writing.icc import to_srgb

_TAGS = Tags(1, 1, 1, LIMITED, "left")
"""What the result is written with: BT.709, as every player takes it for granted; sRGB's curve is near enough to its own."""


class PictureSequence:
    """The pictures of a folder, by the numbers in their names, `rate` of them a second; a `Clip`.

    All have the first one's size. Their colors become sRGB; more than 8 bits become 10.
    """

    def __init__(self, folder: Path, rate: Fraction, open_picture: Callable[[Path], Source]) -> None:
        """Raises VideoError where there are no pictures, PictureError where the first cannot be read."""
        found = [path for path, error in pictures(folder, folder, False) if error is None and not is_video(path)]
        self._paths = sorted(found, key=lambda path: _natural(path.name))
        if not self._paths:
            raise VideoError(f"{folder}: no pictures in this folder; a video needs some")
        self._open, self._rate, self.seen = open_picture, rate, Seen()
        with open_picture(self._paths[0]) as source:
            self.info = self._info(folder, source.header)

    def frames(self, start: Fraction | None = None, end: Fraction | None = None) -> Iterator[Frame]:
        number = 0
        for index, path in enumerate(self._paths):
            seconds = index / self._rate
            if (start is not None and seconds < start) or (end is not None and seconds >= end):
                continue
            yield self._frame(path, index, number)
            number += 1

    def carried(self, muxer: str) -> tuple[Carried, ...]:
        """Nothing."""
        return ()

    def others(self, carried: tuple[Carried, ...], window: Window, shift: Fraction) -> None:
        """None."""

    def carry(self, stream: Stream) -> None:
        """Nothing is said of pictures."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _info(self, folder: Path, header: Header) -> Info:
        layout = Layout("yuv", 10 if is_deep(header.dtype) else 8, 1, 1, header.alpha)
        count, seconds = len(self._paths), float(len(self._paths) / self._rate)
        return Info(
            folder,
            "pictures",
            "pictures",
            header.width,
            header.height,
            layout,
            _TAGS,
            Light(),
            Fraction(1),
            1,
            False,
            1 / self._rate,
            self._rate,
            count,
            seconds,
            0,
        )

    def _frame(self, path: Path, index: int, number: int) -> Frame:
        with self._open(path) as source:
            header, picture = source.header, next(iter(source.pictures()), None)
            if picture is None:
                raise PictureError(f"{path}: holds no picture")
            if (header.width, header.height) != (self.info.width, self.info.height):
                raise VideoError(
                    f"{path}: is {header.width}×{header.height}, while the first picture is {self.info.width}×"
                    f"{self.info.height}; all must have one size"
                )
            whole = joined(list(picture.bands()))
        self.seen.frames += 1
        rgb = _in_srgb(whole, header)
        depth = 8 if rgb.dtype == np.uint8 else 16
        planes = [rgb[..., channel] for channel in range(3)]
        layout = Layout("rgb", depth, 0, 0, whole.alpha is not None)
        if whole.alpha is not None:
            planes.append(whole.alpha)
        return Frame(tuple(planes), layout, Color(depth=depth), index, 1, 1 / self._rate, number)


def _in_srgb(whole: Band, header: Header) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]]":
    if header.color.icc is None or whole.rgb.dtype != np.uint8:
        return whole.rgb
    return to_srgb(header.color.icc)(whole.rgb)


def _natural(name: str) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
