"""Consistency with the input: whatever detail is added, the enlarged picture seen from afar is the small one."""

import torch.nn.functional as F
from torch import Tensor

from upscale_training.losses.pixel import full


def low_frequency(sr: Tensor, lr: Tensor, blocks: int = 4) -> Tensor:
    """L1 between sr, shrunk to lr's size (bicubic, antialiased), and lr, both averaged over `blocks` × `blocks` pixels of lr.

    The averaging leaves colors and shading, and little of the input's own noise and compression, which are not to be
    learnt back. `blocks=1` compares lr's pixels themselves: for clean inputs. (N, 3, H, W); no side of sr is below lr's.
    """
    lr = full(lr)
    small = shrunk(full(sr), lr.shape[-2:])
    if blocks > 1:
        small, lr = (F.avg_pool2d(x, blocks, ceil_mode=True, count_include_pad=False) for x in (small, lr))
    return F.l1_loss(small, lr)


def shrunk(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, C, H, W) → (N, C, *size) by an antialiased bicubic filter, which is MATLAB's and Pillow's (a = -0.5)."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, list(size), mode="bicubic", align_corners=False, antialias=True)
