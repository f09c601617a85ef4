"""The options that only videos know, checked, as one frozen value."""

import re
from fractions import Fraction
from typing import Any, get_args

import click

from upscale.wishes import CodecName, Deinterlace, VideoWishes

VIDEO_FORMATS = ("mp4", "mkv", "webm", "mov")


class _Time(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only from click 8.4 on
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = re.fullmatch(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)", str(value))
        if found is None:
            self.fail(f"{value!r} is no time such as 12.5 or 1:02:03.5", param, ctx)
        hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds


class _Rate(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    name = "FPS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            rate = Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if not 0 < rate <= 1000:
            self.fail(f"{value!r} is no frame rate such as 25 or 24000/1001", param, ctx)
        return rate


class _Pair(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        key, equals, content = str(value).partition("=")
        if not (key and equals):
            self.fail(f"{value!r} is no pair such as tune=film", param, ctx)
        return key, content


VIDEO_GROUP = [
    click.option(
        "--codec", type=click.Choice(get_args(CodecName)), help="[default: h264, more than 8 bits hevc, in WebM vp9]"
    ),
    click.option(
        "--crf", type=click.FloatRange(0, 63), help="Quality of the encoder, smaller is better. [default: high]"
    ),
    click.option(
        "--preset", help="Speed of the encoder, in its own words: slow, medium, fast; for av1 and vp9 a number."
    ),
    click.option("--pix-fmt", "pixel_format", help="Pixel format as FFmpeg calls it. [default: as the input's]"),
    click.option(
        "--encoder-option", "encoder_options", type=_Pair(), multiple=True, help="More for the encoder; several times."
    ),
    click.option("--start", type=_Time(), help="From here on, in seconds or as [h:]mm:ss."),
    click.option("--end", type=_Time(), help="Up to here."),
    click.option(
        "--preview",
        is_flag=True,
        help="Make two seconds from the middle, or from --start, and tell how long the whole takes.",
    ),
    click.option(
        "--deinterlace",
        type=click.Choice(get_args(Deinterlace)),
        default="auto",
        show_default=True,
        help="auto: bwdif on the frames that say that they are interlaced; bwdif: on all.",
    ),
    click.option("--square-pixels", is_flag=True, help="Make pixels square, where the input's are not."),
    click.option(
        "--steady",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="Less flicker, along the motion; 0.6 is a good value.",
    ),
    click.option(
        "--dedupe",
        type=click.FloatRange(0, 255),
        default=0.0,
        show_default=True,
        help="Frames that differ by at most so many levels are taken for the same; 0 for identical ones only.",
    ),
    click.option("--fps", "rate", type=_Rate(), help="Frames a second of a video made of a folder's pictures."),
    click.option(
        "--hardware",
        type=click.Choice(["off", "decode", "encode", "both"]),
        default="off",
        show_default=True,
        help="NVIDIA's video units, where they are there.",
    ),
]


_AS_THEY_ARE = (
    *("codec", "crf", "preset", "pixel_format", "start", "end", "deinterlace", "square_pixels", "steady", "dedupe"),
    *("rate", "preview"),
)
VIDEO_NAMES = frozenset((*_AS_THEY_ARE, "encoder_options", "hardware"))
"""How click calls the values of these options."""


def video_wishes(values: dict[str, Any]) -> VideoWishes:
    """Takes its own out of the command's values. Raises click.UsageError where they contradict one another."""
    taken = {name: values.pop(name) for name in _AS_THEY_ARE}
    hardware = values.pop("hardware")
    if taken["start"] is not None and taken["end"] is not None and taken["start"] >= taken["end"]:
        raise click.UsageError("--end must come after --start")
    return VideoWishes(
        options=dict(values.pop("encoder_options")),
        hardware_decoding=hardware in ("decode", "both"),
        hardware_encoding=hardware in ("encode", "both"),
        **taken,
    )
