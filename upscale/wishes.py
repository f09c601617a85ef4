"""What can be asked for of a video beyond what can be asked for of a picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

CodecName = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"]
Deinterlace = Literal["auto", "bwdif", "off"]


@dataclass(frozen=True, slots=True)
class VideoWishes:
    """`crf`, `preset`, `pixel_format`, `options`: the encoder's, None for our defaults.

    `start`, `end`: seconds of the source, from the one on and before the other. `dedupe`: frames whose codes differ from an
    earlier one's by no more than this, in 8-bit levels, are taken for it. `steady`: 0..1, see steady.py. `rate`: frames a second
    of a folder of pictures. `preview`: two seconds only. `hardware`: where it may help.
    """

    codec: CodecName | None = None
    crf: float | None = None
    preset: str | None = None
    pixel_format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    deinterlace: Deinterlace = "auto"
    square_pixels: bool = False
    start: Fraction | None = None
    end: Fraction | None = None
    dedupe: float = 0.0
    steady: float = 0.0
    rate: Fraction | None = None
    preview: bool = False
    hardware_decoding: bool = False
    hardware_encoding: bool = False
