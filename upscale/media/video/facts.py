"""What a video file is, by its header and its first frames."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging as av_logging
from av.container import InputContainer
from av.video.stream import VideoStream

from upscale.errors import VideoError
from upscale.media.video.clip import Info
from upscale.media.video.colors import FULL, Tags, completed, light_of, orientation_of
from upscale.media.video.filters import filter_graph
from upscale.media.video.planes import layout_of
from upscale.wishes import Deinterlace


def info_of(
    path: Path, container: InputContainer, stream: VideoStream, frames: list[av.VideoFrame], deinterlace: Deinterlace
) -> Info:
    """By the file's header and its first `frames`. Raises VideoError for what cannot be enlarged as it is."""
    first, context = frames[0], stream.codec_context
    if first.format.name.startswith(("xyz", "bayer")):
        raise VideoError(f"{path}: its pixels ({first.format.name}) are not supported; convert it to YUV or RGB first")
    layout, codec = layout_of(first.format), context.name
    raw = tags_of(first, Tags(location=_location(first, stream)))
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


def tags_of(frame: av.VideoFrame, silent: Tags) -> Tags:
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
    graph = filter_graph(stream, "showinfo")
    av_logging.set_level(av_logging.INFO)
    try:
        with av_logging.Capture(local=True) as lines:
            graph.vpush(frame)
            graph.vpull()
    finally:
        av_logging.set_level(level)
    words = " ".join(text for _, _, text in lines).split()
    return next((word[3:] for word in words if word.startswith("cl:")), "unspecified")
