"""RRDBNet: the generator of ESRGAN (Wang et al. 2018, arXiv:1809.00219) and Real-ESRGAN (arXiv:2107.10833).

Trunk of residual-in-residual dense blocks at the input's resolution, then nearest-neighbor doublings, each followed by a
convolution. For ×2 and ×1 Real-ESRGAN puts a pixel-unshuffle in front and keeps both doublings. The doublings may be
alias-free instead, which is not ESRGAN's but follows StyleGAN3; see doubling.py.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.doubling import kernel
from upscale.nets.rows import conv3x3, convolve, crop, doubled, working_type
from upscale.spec import RESIDUAL, SLOPE, ModelSpec
from upscale.stages import DENSE_RADIUS, UNITS_PER_BLOCK, tail_surplus


class DenseBlock(nn.Module):
    """Five convolutions, each seeing all features before it; the sum with the input keeps the input's precision."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        widths = [features + k * growth for k in range(5)]
        for k, (before, after) in enumerate(pairwise(widths), 1):
            self.add_module(f"conv{k}", conv3x3(before, after - before))
        self.conv5 = conv3x3(widths[-1], features)

    def forward(self, x: Tensor, top: bool = True, bottom: bool = True) -> Tensor:
        """(N, C, H, W) → the same, without 5 rows on each side that is not the picture's rim."""
        features = x.to(working_type(self.conv5, x))
        for k in range(1, 5):
            y = F.leaky_relu(convolve(self.get_submodule(f"conv{k}"), features, top, bottom), SLOPE)  # pyright: ignore[reportArgumentType]
            features = torch.cat((crop(features, 1, top, bottom), y), 1)
        y = convolve(self.conv5, features, top, bottom)
        return torch.add(crop(x, DENSE_RADIUS, top, bottom), y.to(x.dtype), alpha=RESIDUAL)


class ResidualBlock(nn.Module):
    """Three dense blocks and a residual around them (RRDB)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=RESIDUAL)


class RRDBNet(nn.Module):
    """(N, 3, H, W) in [0, 1] → (N, 3, scale·H, scale·W), not clipped. Sides must be multiples of `spec.unshuffle`."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        nf = spec.features
        self.spec = spec
        self.conv_first = conv3x3(3 * spec.unshuffle**2, nf)
        self.body = nn.Sequential(*(ResidualBlock(nf, spec.growth) for _ in range(spec.blocks)))
        self.conv_body = conv3x3(nf, nf)
        for k in range(1, spec.doublings + 1):
            self.add_module(f"conv_up{k}", conv3x3(nf, nf))
        self.conv_hr = conv3x3(nf, nf)
        self.conv_last = conv3x3(nf, 3)
        filter_ = torch.tensor(kernel(nf)) if spec.upsampling == "alias-free" else None
        self.register_buffer("filter", filter_, persistent=False)  # fixed: no parameter, and in no checkpoint

    def forward(self, x: Tensor) -> Tensor:
        first = self.head(F.pixel_unshuffle(x, self.spec.unshuffle))
        return self.tail(self.body(first), first)

    def head(self, x: Tensor, top: bool = True, bottom: bool = True) -> Tensor:
        """Unshuffled picture → first features; loses a row where it is not the rim."""
        return convolve(self.conv_first, x, top, bottom)

    def unit(self, index: int, x: Tensor, residual: Tensor | None, top: bool, bottom: bool) -> Tensor:
        """Dense block number `index` of the trunk; the third of each block adds the block's input, `residual`."""
        block = self.body[index // UNITS_PER_BLOCK].get_submodule(f"rdb{index % UNITS_PER_BLOCK + 1}")
        y: Tensor = block(x, top, bottom)
        return y if residual is None else torch.add(residual, y, alpha=RESIDUAL)

    def tail(self, x: Tensor, first: Tensor, top: bool = True, bottom: bool = True) -> Tensor:
        """Trunk and first features → enlarged picture; see stages.py for the rows that are lost."""
        x = convolve(self.conv_body, x, top, bottom) + first
        for k in range(1, self.spec.doublings + 1):
            up = self.get_submodule(f"conv_up{k}")
            x = self._doubled(x, top, bottom)
            x = F.leaky_relu(convolve(up, x, top, bottom), SLOPE)  # pyright: ignore[reportArgumentType]
            x = crop(x, tail_surplus(self.spec, self.spec.doublings - k), top, bottom)
        x = F.leaky_relu(convolve(self.conv_hr, x, top, bottom), SLOPE)
        return convolve(self.conv_last, x, top, bottom)

    def _doubled(self, x: Tensor, top: bool, bottom: bool) -> Tensor:
        filter_ = self.get_buffer("filter") if self.spec.upsampling == "alias-free" else None
        return F.interpolate(x, scale_factor=2, mode="nearest") if filter_ is None else doubled(x, filter_, top, bottom)

    def inner(self, tail: bool) -> list[nn.Module]:
        """The layers that may be computed in half precision; `tail` includes those at the enlarged resolution."""
        ups = [self.get_submodule(f"conv_up{k}") for k in range(1, self.spec.doublings + 1)]
        return [self.body, *([*ups, self.conv_hr] if tail else [])]
