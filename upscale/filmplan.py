"""What will be done to a video, decided before a frame of it is enlarged: size, codec, container, and what else is carried."""

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.codec import Codec as AvCodec
from av.codec.codec import UnknownCodecError

from upscale.enlarge import Job
from upscale.errors import OutputError, VideoError
from upscale.frame import Layout
from upscale.media.folder import Task
from upscale.media.video.carried import Carried
from upscale.media.video.carried import warnings as told_of
from upscale.media.video.clip import Clip, Info
from upscale.media.video.codecs import (
    CODECS,
    Codec,
    check_format,
    default_codec,
    format_for,
    threads,
)
from upscale.media.video.colors import Light, Tags
from upscale.media.video.containers import Container, container_of
from upscale.media.video.encoder import Encoder, Encoding
from upscale.segments import segment_frames
from upscale.sizes import Size
from upscale.work import Work, place_of


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """`job`: of one frame, turned upright. `segment`: frames in each. `fill`: the color behind transparency that is lost.
    `warnings`: what will be lost or was assumed, a line each."""

    info: Info
    job: Job
    container: Container
    encoding: Encoding
    carried: tuple[Carried, ...]
    segment: int
    fill: tuple[int, int, int] | None
    deep: bool
    warnings: list[str]


def film_plan(task: Task, file: Clip, work: Work) -> FilmPlan:
    """The plan for an opened video. Raises VideoError and OutputError as the work itself would."""
    info, target, wishes, warnings = file.info, place_of(task.target), work.video, list(file.info.warnings)
    container, codec = _written(task, info, work)
    source = info.layout
    name = format_for(codec, source)
    if wishes.pixel_format is not None:
        with _about(target):
            name = check_format(codec, wishes.pixel_format)
    size, aspect = _size(info, work, _squared(info, container, codec, work, warnings))
    encoding = Encoding(
        codec,
        _encoder(codec, work),
        *size,
        name,
        info.tags,
        info.light,
        aspect,
        info.time_base,
        info.rate,
        threads(),
        wishes.crf,
        wishes.preset,
        wishes.options,
    )
    encoding = _tagged(_even(encoding, warnings), info)
    fill = _fill(source, encoding.layout, codec, target, work)
    warnings += _lost(source, encoding, codec)
    width, height = _upright(info)
    deep = encoding.layout.depth > 8
    exact = Size(width=encoding.width, height=encoding.height)
    try:
        job = work.enlarger.job(width, height, exact, "float32" if deep else "float16", source.alpha and fill is None)
    except ValueError as error:
        raise VideoError(f"{task.source}: {error}; ask for a smaller size") from error
    carried = file.carried(container.muxer)
    segment = segment_frames(encoding.width, encoding.height)
    with _about(target):
        for _ in Encoder(encoding).finish():  # what no encoder takes is told now, not after the first segment
            pass
    return FilmPlan(info, job, container, encoding, carried, segment, fill, deep, [*warnings, *told_of(carried)])


@contextlib.contextmanager
def _about(target: Path) -> Generator[None]:
    """Puts the file's name before what is said of its codec."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{target}: {error}") from error


def settings_of(plan: FilmPlan, work: Work, model: str) -> dict[str, Any]:
    """Everything that decides which bits come out, as JSON values with names that people know from the options."""
    settings, engine, wishes = work.enlarger.settings, work.enlarger.engine, work.video
    look: Mapping[str, Any] = {
        "strength": settings.strength,
        "color-fix": settings.color_fix,
        "tta": settings.tta,
        "wrap": settings.wrap,
        "steady": wishes.steady,
        "dedupe": wishes.dedupe,
        "deinterlace": wishes.deinterlace,
        "background": plan.fill,
    }
    return {
        "model": model,
        **look,
        **plan.encoding.described(),
        "format": plan.container.name,
        "start": None if wishes.start is None else str(wishes.start),
        "end": None if wishes.end is None else str(wishes.end),
        "engine": [engine.name, engine.version, engine.device, engine.precision],
        "tile": described_tile(plan),
        "segment": plan.segment,
    }


def described_tile(plan: FilmPlan) -> list[list[int]]:
    """The rows of the bands of each pass, as JSON values."""
    return [[part.rows, part.tail_rows] for part in plan.job.plans]


def _written(task: Task, info: Info, work: Work) -> tuple[Container, Codec]:
    """By --format and --codec, the target's name, and what the source is."""
    wishes = work.video
    target = place_of(task.target)
    container = container_of(target)
    if container is None:
        raise OutputError(f"{target}: no video can be so called; use .mp4, .mkv, .webm or .mov")
    codec = CODECS[wishes.codec] if wishes.codec is not None else default_codec(container, info.codec, info.layout)
    if codec.name not in container.codecs:
        raise OutputError(f"{target}: {container.name} cannot carry {codec.name}; use --format mkv, or another --codec")
    return container, codec


def _encoder(codec: Codec, work: Work) -> str:
    """FFmpeg's encoder: the hardware's where it is wanted and can be opened."""
    if not work.video.hardware_encoding:
        return codec.encoder
    if codec.hardware is None:
        work.report(f"no hardware writes {codec.name}: going on with {codec.encoder}")
        return codec.encoder
    try:
        AvCodec(codec.hardware, "w")
        _open_small(codec)
    except (UnknownCodecError, OutputError):
        work.report(f"{codec.hardware} cannot be used here: going on with {codec.encoder}")
        return codec.encoder
    return codec.hardware


def _open_small(codec: Codec) -> None:
    assert codec.hardware is not None
    base = Fraction(1, 25)
    small = Encoding(
        codec, codec.hardware, 256, 256, "yuv420p", Tags(1, 1, 1, 1, "left"), Light(), Fraction(1), base, 1 / base, 1
    )
    Encoder(small)


def _upright(info: Info) -> tuple[int, int]:
    return (info.height, info.width) if info.orientation >= 5 else (info.width, info.height)


def _size(info: Info, work: Work, squared: bool) -> tuple[tuple[int, int], Fraction]:
    """(width, height) of the result, and the shape of its pixels, which is square if `squared`. Raises VideoError."""
    width, height = _upright(info)
    aspect = 1 / info.aspect if info.orientation >= 5 else info.aspect
    try:
        out = work.size.of(width, height)
    except ValueError as error:
        raise VideoError(f"{info.path}: {error}; ask for a smaller size") from error
    both = work.size.width is not None and work.size.height is not None
    if squared and aspect != 1:
        if not both:
            out = (round(out[0] * aspect), out[1]) if aspect > 1 else (out[0], round(out[1] / aspect))
        return out, Fraction(1)
    if both:
        aspect = (aspect * Fraction(width * out[1], height * out[0])).limit_denominator(1000)
    return out, aspect


def _squared(info: Info, container: Container, codec: Codec, work: Work, warnings: list[str]) -> bool:
    """Whether pixels are made square: on request, or where nothing could say that they are not."""
    if work.video.square_pixels or info.aspect == 1 or container.shape or codec.shape:
        return work.video.square_pixels
    warnings.append(f"{codec.name} in {container.name} does not say the shape of pixels, so they are made square")
    return True


def _even(encoding: Encoding, warnings: list[str]) -> Encoding:
    """With sides that the codec takes."""
    layout = encoding.layout
    if not encoding.codec.even or layout.kind != "yuv":
        return encoding
    width, height = (
        side + side % (1 << sub)
        for side, sub in zip((encoding.width, encoding.height), (layout.sub_x, layout.sub_y), strict=True)
    )
    if (width, height) != (encoding.width, encoding.height):
        warnings.append(
            f"{encoding.width}×{encoding.height} becomes {width}×{height}, since {encoding.codec.name} needs even sides"
        )
    return replace(encoding, width=width, height=height)


def _tagged(encoding: Encoding, info: Info) -> Encoding:
    """With a matrix, where the codec's planes need one and the source's have none, and none where they have none."""
    tags, layout = encoding.tags, encoding.layout
    if layout.kind == "rgb":
        return replace(encoding, tags=replace(tags, matrix=0))
    if info.layout.kind == "rgb":
        return replace(encoding, tags=replace(tags, matrix=9 if tags.primaries == 9 else 1, range=1, location="left"))
    return encoding


def _fill(source: Layout, layout: Layout, codec: Codec, target: Any, work: Work) -> tuple[int, int, int] | None:
    """What shows through where transparency is lost. Raises OutputError where nobody said what should."""
    if not source.alpha or layout.alpha:
        return None
    if work.background is None:
        raise OutputError(
            f"{target}: {codec.name} holds no transparency; use --format mov (ProRes 4444) or mkv (FFV1), or --background"
        )
    return work.background


def _lost(source: Layout, encoding: Encoding, codec: Codec) -> list[str]:
    layout, found = encoding.layout, list[str]()
    if layout.depth < source.depth:
        found.append(f"{codec.name} holds {layout.depth} bits as {encoding.pixel_format}, not {source.depth}")
    if source.kind == "yuv" and layout.kind == "yuv" and (layout.sub_x, layout.sub_y) > (source.sub_x, source.sub_y):
        found.append(f"{codec.name} holds coarser colors as {encoding.pixel_format}")
    if encoding.light and encoding.encoder not in ("libx264", "libx265", "libsvtav1"):
        found.append(f"{codec.name} does not carry the mastering display's and the light level's figures")
    return found
