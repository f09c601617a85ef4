"""FFmpeg's frames ↔ our planes, without a change of any code."""

from typing import Any

import av
import numpy as np
from av.video.format import VideoFormat

from upscale.frame import Layout
from upscale.image import Array

_SUBSAMPLINGS = {"444": (0, 0), "440": (0, 1), "422": (1, 0), "420": (1, 1), "411": (2, 0), "410": (2, 2)}
_NAMES = {sub: name for name, sub in _SUBSAMPLINGS.items()}
_DEPTHS = (8, 9, 10, 12, 14, 16)


def layout_of(format_: VideoFormat) -> Layout:
    """What of a pixel format matters. Packed, interleaved and palette formats count as what their planes would be;
    gray with alpha as RGB with alpha."""
    depth = max(8, *(component.bits for component in format_.components)) if format_.components else 8
    depth = next((known for known in _DEPTHS if known >= depth), 16)
    alpha = any(component.is_alpha for component in format_.components)
    if format_.is_rgb or format_.has_palette:
        return Layout("rgb", depth, 0, 0, alpha)
    colors = sum(not component.is_alpha for component in format_.components)
    if colors == 1:
        return Layout("rgb" if alpha else "gray", depth, 0, 0, alpha)
    side = 1 << 8
    sub_x = (side // max(1, format_.chroma_width(side))).bit_length() - 1
    sub_y = (side // max(1, format_.chroma_height(side))).bit_length() - 1
    return Layout("yuv", depth, sub_x, sub_y, alpha)


def planar_name(layout: Layout) -> str:
    """FFmpeg's planar pixel format of that layout."""
    end = "" if layout.depth == 8 else f"{layout.depth}le"
    if layout.kind == "gray":
        return "gray" + end
    if layout.kind == "rgb":
        return ("gbrap" if layout.alpha else "gbrp") + end
    return f"yuv{'a' if layout.alpha else ''}{_NAMES[layout.sub_x, layout.sub_y]}p{end}"


def planes_from(frame: av.VideoFrame) -> tuple[tuple[Array, ...], Layout]:
    """The planes in our order, as views of the frame's memory where it is planar already."""
    layout = layout_of(frame.format)
    name = planar_name(layout)
    if frame.format.name.replace("yuvj", "yuv") != name:
        frame = frame.reformat(format=name, threads=1)  # more now and then spoil a row of tiny frames
        layout = layout_of(frame.format)
    arrays = [_array(plane, layout.dtype) for plane in frame.planes]
    if layout.kind == "rgb":
        arrays[:3] = [arrays[2], arrays[0], arrays[1]]
    return tuple(arrays), layout


def frame_from(planes: tuple[Array, ...], name: str) -> av.VideoFrame:
    """A frame of FFmpeg's pixel format `name` holding these planes, which are as `layout_of` says of it."""
    height, width = planes[0].shape
    layout = layout_of(av.VideoFormat(name))
    frame = av.VideoFrame(width, height, planar_name(layout))
    arrays = [planes[1], planes[2], planes[0], *planes[3:]] if layout.kind == "rgb" else planes
    for plane, array in zip(frame.planes, arrays, strict=True):
        _array(plane, layout.dtype)[:] = array
    return frame if frame.format.name == name else frame.reformat(format=name, threads=1)


def _array(plane: Any, dtype: np.dtype[Any]) -> Array:
    whole = np.frombuffer(plane, dtype)
    return whole.reshape(plane.height, plane.line_size // dtype.itemsize)[:, : plane.width]
