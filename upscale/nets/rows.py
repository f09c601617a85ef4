"""Convolutions on bands of rows: the same numbers as on the whole picture, for any band."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.doubling import REACH


def convolve(conv: nn.Conv2d, x: Tensor, top: bool = True, bottom: bool = True) -> Tensor:
    """3×3 convolution of (N, C, H, W): zeros beside the band, and above and below where it touches the picture's rim.

    Elsewhere a row is lost on that side. Computed in the precision of the weights, or of autocast; the result has it too.
    """
    x = x.to(working_type(conv, x))
    if top != bottom:
        x = F.pad(x, (0, 0, int(top), int(bottom)))
    rows = 1 if top and bottom else 0
    return F.conv2d(x, conv.weight, conv.bias, padding=(rows, 1))


def working_type(conv: nn.Conv2d, x: Tensor) -> torch.dtype:
    """What `conv` is computed in: autocast's type in a training with mixed precision, else that of its weights."""
    kind = x.device.type
    mixed = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if mixed else conv.weight.dtype


def doubled(x: Tensor, kernel: Tensor, top: bool = True, bottom: bool = True) -> Tensor:
    """Alias-free doubling of (N, C, H, W) by the kernel of doubling.py, in fp32.

    Beside the band, and above and below where it touches the picture's rim, the outermost pixels repeat; elsewhere REACH
    input rows are lost on that side.
    """
    x = F.pad(x.float(), (REACH, REACH, REACH * top, REACH * bottom), mode="replicate")
    with torch.autocast(x.device.type, enabled=False):  # rounded weights would no longer sum to 1
        return F.pixel_shuffle(F.conv2d(x, kernel, groups=x.shape[1]), 2)


def crop(x: Tensor, rows: int, top: bool, bottom: bool) -> Tensor:
    """(N, C, H, W) without `rows` rows on each side that is not the picture's rim."""
    start = 0 if top else rows
    stop = x.shape[2] if bottom else x.shape[2] - rows
    return x[:, :, start:stop]


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def as_picture(x: Tensor) -> Tensor:
    """fp32, in which every last convolution, sum with the input and rounding is done."""
    return x.to(torch.float32)
