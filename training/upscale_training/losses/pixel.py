"""Losses that compare pixels. L1 and the mean square are torch's own `F.l1_loss` and `F.mse_loss`."""

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """fp16 and bf16 as fp32; anything else unchanged. For sums of many small numbers inside autocast."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def charbonnier(sr: Tensor, hr: Tensor, eps: float = 1e-12) -> Tensor:
    """mean of √(difference² + eps): L1 with a round tip, √eps wide (Lai et al. 2017, arXiv:1704.03915; eps as BasicSR)."""
    return ((full(sr) - full(hr)).square() + eps).sqrt().mean()
