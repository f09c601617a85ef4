"""What videos are written with: codecs, containers, and how one fits the other."""

import os
from dataclasses import dataclass

from av import VideoFormat
from av.codec import Codec as AvCodec

from upscale.errors import OutputError
from upscale.frame import Layout
from upscale.media.video.containers import Container
from upscale.media.video.planes import layout_of, planar_name
from upscale.wishes import CodecName

KEPT: dict[str, CodecName] = {"ffv1": "ffv1", "prores": "prores"}
"""Decoders whose codec the result keeps by default: lossless and editing codecs were chosen on purpose."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to compress. `encoder` and `hardware`: FFmpeg's names. `crf`: its default and its largest value, None where
    there is none; `preset`: its option and default. `even`: whether the picture's sides must be even where chroma is halved;
    `shape`: whether its own header says the shape of pixels.
    """

    name: CodecName
    encoder: str
    hardware: str | None = None
    crf: tuple[int, int] | None = None
    preset: tuple[str, str] | None = None
    even: bool = False
    alpha: bool = False
    lossless: bool = False
    shape: bool = False


CODECS: dict[CodecName, Codec] = {
    "h264": Codec("h264", "libx264", "h264_nvenc", (17, 51), ("preset", "medium"), even=True, shape=True),
    "hevc": Codec("hevc", "libx265", "hevc_nvenc", (19, 51), ("preset", "medium"), even=True, shape=True),
    "av1": Codec("av1", "libsvtav1", "av1_nvenc", (24, 63), ("preset", "7"), even=True),
    "vp9": Codec("vp9", "libvpx-vp9", None, (22, 63), ("cpu-used", "3")),
    "prores": Codec("prores", "prores_ks", alpha=True, even=True),
    "ffv1": Codec("ffv1", "ffv1", alpha=True, lossless=True),
}


def default_codec(container: Container, decoder: str, layout: Layout) -> Codec:
    """What a result in that container is compressed with unless somebody says otherwise."""
    if layout.alpha and container.alpha is not None:
        return CODECS[container.alpha]
    kept = KEPT.get(decoder)
    if kept in container.codecs:
        return CODECS[kept]
    return CODECS[container.codecs[0] if layout.depth == 8 else container.deep]


def format_for(codec: Codec, source: Layout) -> str:
    """The pixel format that the codec has and that loses least of the source's layout: first alpha, then colors, depth,
    chroma. Among equals the one that adds least. Gray becomes luma with neutral chroma, which every player knows, but in ffv1.
    """
    found = [(name, layout_of(VideoFormat(name))) for name in names_of(codec)]
    found = [(name, layout) for name, layout in found if codec.lossless or layout.kind != "gray"]
    return min(found, key=lambda pair: (*_cost(pair[1], source), pair[0] != planar_name(pair[1]), pair[0]))[0]


def _cost(layout: Layout, source: Layout) -> tuple[int, ...]:
    kinds = {"yuv": ("yuv", "rgb", "gray"), "rgb": ("rgb", "yuv", "gray"), "gray": ("gray", "yuv", "rgb")}[source.kind]
    wanted = (
        source if source.kind == "yuv" else Layout("yuv", source.depth, *((1, 1) if source.kind == "gray" else (0, 0)))
    )
    coarser = max(0, layout.sub_x - wanted.sub_x) + max(0, layout.sub_y - wanted.sub_y)
    finer = max(0, wanted.sub_x - layout.sub_x) + max(0, wanted.sub_y - layout.sub_y)
    lost_depth, more_depth = max(0, source.depth - layout.depth), max(0, layout.depth - source.depth)
    alpha = 2 * (source.alpha and not layout.alpha) + (layout.alpha and not source.alpha)
    return alpha, kinds.index(layout.kind), lost_depth, coarser, more_depth, finer


def check_format(codec: Codec, name: str) -> str:
    """The name of --pix-fmt. Raises OutputError where the encoder does not take it."""
    names = names_of(codec)
    if name not in names:
        raise OutputError(f"{codec.name} cannot be written as {name}; use one of {', '.join(sorted(names))}")
    return name


def names_of(codec: Codec) -> list[str]:
    """The pixel formats that the codec's encoder takes and that we can fill: no old `yuvj`, no alpha that needs a container's
    help, no memory of a device, no floats, no gray with alpha."""
    formats = [format_ for format_ in AvCodec(codec.encoder, "w").video_formats or [] if format_.components]
    formats = [format_ for format_ in formats if codec.alpha or not layout_of(format_).alpha]
    return [
        format_.name for format_ in formats if not format_.name.startswith("yuvj") and "f" not in format_.name[-6:-2]
    ]


def threads() -> int:
    """How many an encoder shall use. Their number changes the bits that come out, hence it is kept for a resumed job."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
