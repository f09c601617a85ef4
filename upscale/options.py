"""What `upscale` can be asked for: its options, checked, as one frozen value."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upscale.errors import UpscaleError
from upscale.sizes import LARGEST_FACTOR, SMALLEST_SCALE, Size
from upscale.video_options import VIDEO_FORMATS, VIDEO_GROUP, VIDEO_NAMES, video_wishes
from upscale.wishes import VideoWishes

FORMAT_NAMES = ("png", "jpg", "webp", "avif", "tif", "bmp", "ppm", "jp2", "gif", "heic", "jxl", *VIDEO_FORMATS)


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that was asked for, checked; the same for one picture and for a thousand. `size` None: the model's own."""

    inputs: tuple[str, ...]
    out: Path | None
    size: Size | None
    model: str | None
    denoise: float | None
    strength: float
    color_fix: bool
    tta: bool
    wrap: Any
    alpha: str
    format: str | None
    quality: int | None
    background: tuple[int, int, int] | None
    name: str | None
    device: str
    engine: Any
    precision: Any
    tile: Any
    recursive: bool
    overwrite: bool
    resume: bool
    allow_huge: bool
    json: bool
    dry_run: bool
    verbose: int
    quiet: bool
    video: VideoWishes


def options(**values: Any) -> Options:
    """The command's values as Options. Raises click.UsageError where they contradict one another."""
    pair = values.pop("pair")
    asked = {
        "scale": values.pop("scale"),
        "width": values.pop("width") if pair is None else _only(values.pop("width"), "--width", pair[0]),
        "height": values.pop("height") if pair is None else _only(values.pop("height"), "--height", pair[1]),
        "fit": values.pop("fit"),
    }
    given = {name: value for name, value in asked.items() if value is not None}
    try:
        size = Size(**given) if given else None
    except ValueError as error:
        raise click.UsageError("use one of --scale, --size, --width, --height (or both) and --fit") from error
    return Options(size=size, video=video_wishes(values), **values)


def _only(other: int | None, name: str, side: int) -> int:
    if other is not None:
        raise click.UsageError(f"--size gives both sides already; leave out {name}")
    return side


class _Tile(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only from click 8.4 on
    name = "auto|whole|ROWS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("auto", "whole"):
            return value
        from upscale.plans import check_tile

        try:
            return check_tile(int(value))
        except ValueError:
            self.fail(f"{value!r} is neither auto, whole nor a number of rows", param, ctx)
        except UpscaleError as error:
            self.fail(str(error), param, ctx)


class _Number(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail("nan is not a number", param, ctx)
        return number


class _Sides(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = re.fullmatch(r"\s*(\d{1,7})\s*[xX×]\s*(\d{1,7})\s*", str(value))
        if found is None or "0" in (found[1].lstrip("0") or "0", found[2].lstrip("0") or "0"):
            self.fail(f"{value!r} is no size such as 1920x1080", param, ctx)
        return int(found[1]), int(found[2])


class _Color(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    name = "COLOR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from PIL import ImageColor

        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        try:
            return ImageColor.getrgb(value)[:3]
        except ValueError:
            self.fail(f"{value!r} is no color; use a name or #rrggbb", param, ctx)


_SIDE = click.IntRange(1, 10_000_000)

_GROUP = [
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    click.option("-o", "--out", type=click.Path(path_type=Path), help="File (one input), folder, or - for stdout."),
    click.option(
        "--scale",
        type=_Number(SMALLEST_SCALE, LARGEST_FACTOR),
        help="How much larger, 0.5 to 16. [default: the model's own, 4 for most]",
    ),
    click.option("--size", "pair", type=_Sides(), help="Exact size of the results, such as 1920x1080."),
    click.option("--width", type=_SIDE, help="Width of the results; heights follow."),
    click.option("--height", type=_SIDE, help="Height of the results; widths follow."),
    click.option("--fit", type=_SIDE, help="Longer side of the results."),
    click.option(
        "--model",
        help="A name (`upscale-models list`) or a file. [default: x4plus, for videos animevideov3; "
        "up to --scale 2 photo-fast-x2 and video-fast]",
    ),
    click.option("--denoise", type=_Number(0, 1), help="How strongly noise is removed; only with general-x4v3."),
    click.option(
        "--strength",
        type=_Number(0, 1),
        default=1.0,
        show_default=True,
        help="0: plain interpolation, 1: the network, between: both, blended.",
    ),
    click.option(
        "--color-fix/--no-color-fix",
        default=True,
        show_default=True,
        help="Whether the colors of wide areas are kept as the input has them.",
    ),
    click.option("--tta", is_flag=True, help="Average over eight turned and mirrored versions. Eight times slower."),
    click.option(
        "--wrap",
        type=click.Choice(["none", "x", "y", "xy"]),
        default="none",
        show_default=True,
        help="For textures that tile: across left and right (x), top and bottom (y).",
    ),
    click.option(
        "--alpha",
        type=click.Choice(["bleed", "keep"]),
        default="bleed",
        show_default=True,
        help="Color under transparency: replaced by the visible one beside it, or kept, where it is data.",
    ),
    click.option(
        "--format", type=click.Choice(FORMAT_NAMES), help="Kind of the results. [default: by -o, else as the input]"
    ),
    click.option("--quality", type=click.IntRange(0, 100), help="For JPEG, WebP, AVIF, HEIC, JPEG XL. [default: high]"),
    click.option(
        "--background", type=_Color(), help="What shows through where a format has no transparency. [default: white]"
    ),
    click.option("--name", help="Name of the results, of {stem}, {scale}, {model}, {index} and text, without suffix."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
    click.option(
        "--engine", type=click.Choice(["auto", "amx", "openvino", "torch", "triton"]), default="auto", show_default=True
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default="auto",
        show_default=True,
        help="Arithmetic inside the network; fp32 is the reference.",
    ),
    click.option(
        "--tile",
        type=_Tile(),
        default="auto",
        show_default=True,
        help="At most so many rows at a time. Less memory, the same picture.",
    ),
    click.option("-r", "--recursive", is_flag=True, help="Descend into folders."),
    click.option("--overwrite", is_flag=True, help="Replace results that exist already."),
    click.option(
        "--resume", is_flag=True, help="Go on with an interrupted run: what is finished and intact is skipped."
    ),
    click.option("--allow-huge", is_flag=True, help="Take pictures of more than 250 megapixels, too."),
    click.option("--json", is_flag=True, help="One JSON record per input on stdout."),
    click.option("--dry-run", is_flag=True, help="Print what would be done: sizes, bands, memory."),
    click.option("-v", "--verbose", count=True, help="More words; tracebacks of failures."),
    click.option("-q", "--quiet", is_flag=True, help="Failures only."),
]


class Command(click.Command):
    """With the options for videos under a heading of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = [(param.name in VIDEO_NAMES, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        for heading, video in (("Options", False), ("Videos", True)):
            with formatter.section(heading):
                formatter.write_dl([row for about_video, row in params if row is not None and about_video == video])


def declared(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command all of these options, in this order."""
    for option in reversed([*_GROUP, *VIDEO_GROUP]):
        command = option(command)
    return command
