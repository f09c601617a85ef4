"""SRVGGNetCompact: Real-ESRGAN's small network (Wang et al. 2021, github.com/xinntao/Real-ESRGAN).

3×3 convolutions at the input's resolution, a pixel-shuffle at the end, and the nearest-neighbor enlarged input added.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from upscale.nets.rows import as_picture, conv3x3, convolve
from upscale.spec import COMPACT_SLOPE, ModelSpec
from upscale.stages import hidden_convolutions


class SRVGGNetCompact(nn.Module):
    """(N, 3, H, W) in [0, 1] → (N, 3, scale·H, scale·W), not clipped."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        nf = spec.features
        self.spec = spec
        self.body = nn.ModuleList()
        for k in range(spec.blocks + 1):
            self.body.append(conv3x3(3 if k == 0 else nf, nf))
            self.body.append(_activation(spec))
        self.body.append(conv3x3(nf, 3 * spec.scale**2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        for k in range(self.spec.blocks):
            y = self._hidden(k, y, True, True)
        return self.tail(y, x)

    def head(self, x: Tensor, top: bool = True, bottom: bool = True) -> Tensor:
        return self.body[1](convolve(self._conv(0), x, top, bottom))

    def unit(self, index: int, x: Tensor, residual: Tensor | None, top: bool, bottom: bool) -> Tensor:
        """Unit number `index`: a few hidden convolutions, each of which loses a row where it is not the rim."""
        assert residual is None, "the units of an SRVGGNetCompact have no residual"
        for k in hidden_convolutions(self.spec, index):
            x = self._hidden(k, x, top, bottom)
        return x

    def tail(self, x: Tensor, picture: Tensor, top: bool = True, bottom: bool = True) -> Tensor:
        """Features and the input picture → enlarged picture, the sum in fp32."""
        y = F.pixel_shuffle(convolve(self._conv(self.spec.blocks + 1), x, top, bottom), self.spec.scale)
        if self.spec.scale > 1:
            picture = F.interpolate(picture, scale_factor=self.spec.scale, mode="nearest")
        return as_picture(y) + picture

    def inner(self, tail: bool) -> list[nn.Module]:
        """The layers that may be computed in half precision: all but the first and the last."""
        del tail  # the last convolution is the whole tail, and always exact
        return list(self.body[2:-1])

    def _hidden(self, k: int, x: Tensor, top: bool, bottom: bool) -> Tensor:
        return self.body[2 * k + 3](convolve(self._conv(k + 1), x, top, bottom))

    def _conv(self, k: int) -> nn.Conv2d:
        conv = self.body[2 * k]
        assert isinstance(conv, nn.Conv2d)
        return conv


class PReLU(nn.PReLU):
    """torch's, with the same values and gradients; where it is trained on a CPU, backward takes less than half of torch's time."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        if input.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(input)
        return _QuickPReLU.apply(input, self.weight.to(input.dtype).view(1, -1, 1, 1))  # pyright: ignore[reportReturnType]


class _QuickPReLU(torch.autograd.Function):
    """(N, C, H, W) and slopes (1, C, 1, 1) of one dtype. Keeps its input alone, as torch's; no comparisons: they are slow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(x, slopes)
        return F.prelu(x, slopes.view(-1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *pulls: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (pull,) = pulls
        x, slopes = ctx.saved_tensors
        low = x.clamp(max=0)
        of_slopes = (pull * low).sum((2, 3), dtype=torch.float32).sum(0).view_as(slopes).to(slopes.dtype)
        below = low.sign_().mul_(pull)  # −pull where x is below 0, else 0
        return (pull + below).addcmul_(slopes, below, value=-1), of_slopes


def _activation(spec: ModelSpec) -> nn.Module:
    match spec.activation:
        case "prelu":
            return PReLU(spec.features)
        case "leakyrelu":
            return nn.LeakyReLU(COMPACT_SLOPE)
        case "relu":
            return nn.ReLU()
