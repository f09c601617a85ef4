"""Real-ESRGAN's sharpened targets where only some of the losses are to see them."""

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from upscale_training.losses.pixel import full
from upscale_training.terms import Seen


def sr_and_sharp(seen: Seen) -> tuple[Tensor, ...]:
    """What a term looks at that compares with the sharpened original, while others see it as it is: l1_gt_usm without
    gan_gt_usm, which is Real-ESRGAN's own setting."""
    return seen.sr, sharpened(seen.hr)


def sharp_real(lr: Tensor, hr: Tensor, clean: Tensor | None, chance: torch.Generator) -> Tensor:
    """gan_gt_usm, where terms are not all sharp: a stage's `real`."""
    return sharpened(hr)


@torch.no_grad()
def sharpened(hr: Tensor, weight: float = 0.5, size: int = 51, threshold: float = 10.0) -> Tensor:
    """degrade.sharpen.sharpen_target for a batch on its device: (N, 3, H, W) → the same, fp32 at least. Sides of 26 pixels or
    more."""
    hr = full(hr)
    residual = hr - _blurred(hr, size)
    mask = _blurred((residual.abs() * 255 > threshold).to(hr.dtype), size)
    return mask * (hr + weight * residual).clamp(0, 1) + (1 - mask) * hr


def _blurred(x: Tensor, size: int) -> Tensor:
    """In x's own precision: oneDNN (in torch 2.15, on CPUs) never ends to prepare such long kernels in bf16, channels last."""
    line = torch.tensor(cv2.getGaussianKernel(size, 0), dtype=x.dtype, device=x.device).view(1, 1, size, 1)
    channels, padded = x.shape[1], F.pad(x, [size // 2] * 4, mode="reflect")
    kernel = line.expand(channels, 1, size, 1)
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(F.conv2d(padded, kernel, groups=channels), kernel.transpose(2, 3), groups=channels)
