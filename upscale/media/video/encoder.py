"""Frames compressed, with every tag that the source had; the settings of which are one value, so that they can be the same
again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.codec.context import CodecContext, Flags
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from upscale.errors import OutputError
from upscale.frame import Layout
from upscale.image import Array, Color
from upscale.media.video.codecs import Codec
from upscale.media.video.colors import Light, Tags, color_of
from upscale.media.video.packets import Coded
from upscale.media.video.planes import frame_from, layout_of

_QUALITY = {"h264_nvenc": "cq", "hevc_nvenc": "cq", "av1_nvenc": "cq"}
"""What the hardware's encoders call what the others call crf."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """All that decides which bits come out. `encoder`: FFmpeg's name. `aspect`: width to height of a pixel. `options`: of
    the encoder, as somebody asked for them, over our own."""

    codec: Codec
    encoder: str
    width: int
    height: int
    pixel_format: str
    tags: Tags
    light: Light
    aspect: Fraction
    time_base: Fraction
    rate: Fraction
    threads: int
    crf: float | None = None
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def layout(self) -> Layout:
        return layout_of(av.VideoFormat(self.pixel_format))

    @property
    def color(self) -> Color:
        layout = self.layout
        return color_of(self.tags, layout.depth, layout.kind == "gray", self.encoder)

    def described(self) -> dict[str, Any]:
        """As JSON values, for the list of what a job was begun with."""
        return {
            "codec": self.encoder,
            "size": [self.width, self.height],
            "pix-fmt": self.pixel_format,
            "tags": [self.tags.matrix, self.tags.primaries, self.tags.transfer, self.tags.range, self.tags.location],
            "aspect": str(self.aspect),
            "time base": str(self.time_base),
            "crf": self.crf,
            "preset": self.preset,
            "encoder-option": dict(self.options),
            "threads": self.threads,
        }


def configure(context: VideoCodecContext, encoding: Encoding) -> None:
    """Gives an encoder that is not open yet its settings."""
    tags = encoding.tags
    context.width, context.height, context.pix_fmt = encoding.width, encoding.height, encoding.pixel_format
    context.time_base, context.framerate = encoding.time_base, encoding.rate
    context.sample_aspect_ratio = encoding.aspect
    context.colorspace, context.color_range = tags.matrix, tags.range
    context.color_primaries, context.color_trc = tags.primaries, tags.transfer
    context.thread_count = encoding.threads
    context.flags |= Flags.global_header
    context.bit_rate = 0
    context.options = options_of(encoding)


def options_of(encoding: Encoding) -> dict[str, str]:
    """For FFmpeg's encoder: ours, and over them what was asked for."""
    codec, encoder = encoding.codec, encoding.encoder
    found: dict[str, str] = {}
    if codec.crf is not None:
        value = codec.crf[0] if encoding.crf is None else encoding.crf
        found[_QUALITY.get(encoder, "crf")] = f"{value:g}"
    if codec.preset is not None:
        name, value = codec.preset
        found["preset" if "nvenc" in encoder else name] = encoding.preset or ("p5" if "nvenc" in encoder else value)
    layout = encoding.layout
    if layout.kind == "yuv" and (layout.sub_x or layout.sub_y):
        found["chroma_sample_location"] = encoding.tags.location
    found |= _OWN.get(encoder, lambda _: {})(encoding)
    for name, value in encoding.options.items():
        joined = name in found and name.endswith("-params")  # ours and theirs, theirs last
        found[name] = f"{found[name]}:{value}" if joined else value
    return found


def _x264(encoding: Encoding) -> dict[str, str]:
    # By itself x264 gives other bits from run to run on processors with AVX-512 (seen at small sizes, in its MB-tree).
    light = _light_parameters(encoding.light, "mastering-display", "cll")
    return {"x264-params": ":".join(["cpu-independent=1", *([light] if light else [])])}


def _x265(encoding: Encoding) -> dict[str, str]:
    light = _light_parameters(encoding.light, "master-display", "max-cll")
    common = f"log-level=none:pools={encoding.threads}:frame-threads={max(1, min(4, encoding.threads // 2))}"
    return {"x265-params": f"{common}:hdr10=1:repeat-headers=0:{light}" if light else common}


def _svt(encoding: Encoding) -> dict[str, str]:
    parts = [f"lp={min(6, encoding.threads)}"]
    light = encoding.light
    if light.primaries and light.white and light.luminance:
        points = (light.primaries[1], light.primaries[2], light.primaries[0], light.white)
        named = "".join(f"{n}({x:.5f},{y:.5f})" for n, (x, y) in zip(("G", "B", "R", "WP"), points, strict=True))
        parts.append(f"mastering-display={named}L({light.luminance[1]:.4f},{light.luminance[0]:.4f})")
    if light.content:
        parts.append(f"content-light={light.content[0]},{light.content[1]}")
    return {"svtav1-params": ":".join(parts)}


def _vp9(_encoding: Encoding) -> dict[str, str]:
    return {"deadline": "good", "row-mt": "1"}


def _prores(encoding: Encoding) -> dict[str, str]:
    layout = encoding.layout
    alpha = {"alpha_bits": "16"} if layout.alpha else {}
    return {"profile": "4444" if layout.sub_x == 0 else "hq", "vendor": "apl0", **alpha}


def _ffv1(_encoding: Encoding) -> dict[str, str]:
    return {"level": "3", "slicecrc": "1"}


def _nvenc(_encoding: Encoding) -> dict[str, str]:
    return {"rc": "vbr"}


_OWN: dict[str, Callable[[Encoding], dict[str, str]]] = {
    "libx264": _x264,
    "libx265": _x265,
    "libsvtav1": _svt,
    "libvpx-vp9": _vp9,
    "prores_ks": _prores,
    "ffv1": _ffv1,
    "h264_nvenc": _nvenc,
    "hevc_nvenc": _nvenc,
    "av1_nvenc": _nvenc,
}


def _light_parameters(light: Light, mastering: str, content: str) -> str:
    """In the words of x264 and x265: chromaticities in steps of 0.00002, luminances in 0.0001 cd/m²."""
    parts: list[str] = []
    if light.primaries and light.white and light.luminance:
        points = (light.primaries[1], light.primaries[2], light.primaries[0], light.white)
        steps = ((round(x * 50000), round(y * 50000)) for x, y in points)
        named = "".join(f"{n}({x},{y})" for n, (x, y) in zip(("G", "B", "R", "WP"), steps, strict=True))
        low, high = light.luminance
        parts.append(f"{mastering}={named}L({round(high * 10000)},{round(low * 10000)})")
    if light.content:
        parts.append(f"{content}={light.content[0]},{light.content[1]}")
    return ":".join(parts)


class Encoder:
    """An open encoder, for one segment. Raises OutputError where the settings do not open it."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        context = CodecContext.create(encoding.encoder, "w")
        assert isinstance(context, VideoCodecContext)
        configure(context, encoding)
        open_context(context, encoding)
        self._context: Any = context
        self._durations: dict[int, int] = {}

    @property
    def extradata(self) -> bytes:
        return bytes(self._context.extradata or b"")

    def encode(self, planes: tuple[Array, ...], pts: int, duration: int) -> Iterator[Coded]:
        """What is done, in the order in which it is decoded; often nothing yet."""
        tags = self._encoding.tags
        frame = frame_from(planes, self._encoding.pixel_format)
        frame.pts, frame.time_base, frame.duration = pts, self._encoding.time_base, duration
        frame.colorspace, frame.color_range = tags.matrix, tags.range
        frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
        self._durations[pts] = duration
        yield from self._coded(frame)

    def finish(self) -> Iterator[Coded]:
        """The rest."""
        yield from self._coded(None)

    def _coded(self, frame: av.VideoFrame | None) -> Iterator[Coded]:
        try:
            packets = self._context.encode(frame)
        except FFmpegError as error:
            raise OutputError(f"{self._encoding.encoder} failed ({error.strerror}); use another --codec") from error
        for packet in packets:
            yield Coded(packet.pts, self._durations.pop(packet.pts), packet.is_keyframe, bytes(packet))


def open_context(context: VideoCodecContext, encoding: Encoding) -> None:
    """Raises OutputError, with what was asked for, where that cannot be."""
    asked = ", ".join(f"{name} {value}" for name, value in options_of(encoding).items())
    size = f"{encoding.width}×{encoding.height}"
    try:
        context.open()
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{encoding.encoder} does not take {size} {encoding.pixel_format} with {asked} ({reason}); use another --codec "
            "or other options"
        ) from error
    left = [name for name in context.options if name in encoding.options]
    if left:
        raise OutputError(
            f"{encoding.encoder} knows no option {', '.join(left)}; see ffmpeg -h encoder={encoding.encoder}"
        )
