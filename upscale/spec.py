"""What a network is, in a few numbers that fit into a checkpoint's metadata."""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from upscale.errors import ModelError

Arch = Literal["rrdb", "compact", "foreign"]
Activation = Literal["leakyrelu", "prelu", "relu"]
Upsampling = Literal["nearest", "alias-free"]

RESIDUAL = 0.2
"""Residual scaling of ESRGAN's dense blocks, and of the blocks of three of them (Wang et al. 2018, section 3.1)."""

SLOPE = 0.2
"""Of an RRDBNet's leaky ReLUs, and below an SRVGGNetCompact's, as BasicSR has them."""

COMPACT_SLOPE = 0.1


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The shape of one network; everything that an engine needs to know beside the weights.

    rrdb     RRDBNet of ESRGAN (Wang et al. 2018, arXiv:1809.00219) in Real-ESRGAN's form: pixel-unshuffle by `unshuffle`,
             `blocks` residual-in-residual dense blocks, then nearest-neighbor doublings up to `scale`.
    compact  SRVGGNetCompact of Real-ESRGAN (2021): `blocks` hidden 3×3 convolutions, pixel-shuffle by `scale`, plus
             the nearest-neighbor enlarged input.
    foreign  anything else, opened through spandrel and run in windows.

    upsampling  how an RRDBNet doubles: by repeating pixels as everybody's does, or by the filter of doubling.py, so that
                details move with the picture. Parameters do not show it.
    """

    name: str
    arch: Arch
    scale: int
    features: int = 64
    growth: int = 32
    blocks: int = 23
    unshuffle: int = 1
    activation: Activation = "leakyrelu"
    license: str = "unknown"
    upsampling: Upsampling = "nearest"

    def __post_init__(self) -> None:
        if self.arch not in get_args(Arch) or self.activation not in get_args(Activation):
            raise ModelError(f"{self.name}: unknown architecture or activation ({self.arch}, {self.activation})")
        if self.upsampling not in get_args(Upsampling):
            raise ModelError(f"{self.name}: unknown upsampling {self.upsampling!r}; nearest and alias-free are known")
        if self.upsampling != "nearest" and self.arch != "rrdb":
            raise ModelError(f"{self.name}: only an RRDBNet has alias-free upsampling; others double no features")
        if self.scale not in (1, 2, 3, 4, 8):
            raise ModelError(
                f"{self.name}: a network that enlarges {self.scale} times is not supported (1, 2, 3, 4 or 8)"
            )
        if self.arch == "rrdb" and (self.scale * self.unshuffle) not in (1, 2, 4, 8):
            raise ModelError(
                f"{self.name}: an RRDBNet cannot enlarge {self.scale} times after unshuffling by {self.unshuffle}"
            )
        if self.arch == "compact" and self.unshuffle != 1:
            raise ModelError(f"{self.name}: SRVGGNetCompact has no pixel-unshuffle")
        if self.features < 1 or self.growth < 1 or self.blocks < 1:
            raise ModelError(f"{self.name}: features, growth and blocks must be at least 1")

    @property
    def doublings(self) -> int:
        """How often an RRDBNet doubles its features."""
        return (self.scale * self.unshuffle).bit_length() - 1

    @property
    def multiple(self) -> int:
        """Sides and band starts must be multiples of this many input pixels."""
        return self.unshuffle

    @property
    def radius(self) -> int:
        """Receptive radius in input pixels: how far an output pixel looks."""
        if self.arch == "compact":
            return self.blocks + 2
        trunk = 2 + 15 * self.blocks
        plain = self.upsampling == "nearest" or self.doublings == 0
        return self.unshuffle * (trunk + (2 if plain else 4 + self.doublings))

    def feature_size(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows of a picture's features. Raises ValueError where a pixel-unshuffle would not come out even."""
        factor = self.unshuffle
        if width % factor or height % factor:
            raise ValueError(f"{self.name} needs sides that are multiples of {factor}, not {width}×{height}")
        return width // factor, height // factor

    def named(self, name: str, license_: str | None = None) -> "ModelSpec":
        return replace(self, name=name, license=license_ or self.license)

    def to_json(self) -> str:
        """Nearest upsampling goes without saying: specs, and digests of them, are what they were before there was another."""
        values = asdict(self)
        if self.upsampling == "nearest":
            del values["upsampling"]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Raises ModelError for anything that is not a spec; unknown keys are ignored, so that older programs open newer files."""
        try:
            values: Any = json.loads(text)
        except ValueError as error:
            raise ModelError(f"unreadable model spec in the checkpoint: {error}") from error
        if not isinstance(values, dict) or not {"name", "arch", "scale"} <= values.keys():
            raise ModelError("the checkpoint's model spec lacks name, arch or scale")
        kept: dict[str, Any] = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        numbers = {"scale", "features", "growth", "blocks", "unshuffle"}
        if wrong := [key for key, value in kept.items() if type(value) is not (int if key in numbers else str)]:
            raise ModelError(f"the checkpoint's model spec has values of the wrong type: {', '.join(wrong)}")
        return cls(**kept)
