"""Augmentation of what the discriminator sees, real and fake alike, that lets gradients through: Zhao et al. 2020,
"Differentiable Augmentation for Data-Efficient GAN Training" (DiffAug). It keeps a discriminator from learning a small set of
pictures by heart.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DRAWS = 7


@dataclass(frozen=True, slots=True)
class Augment:
    """`color`: strength of DiffAug's shifts of brightness (±0.25 of the range), saturation (×0 to 2) and contrast (×0.5
    to 1.5). `translation`: largest shift, `cutout`: side of the hole, both as shares of the picture's sides.
    0 leaves a part out. Each picture gets its own draws; shifted-in and cut-out pixels are 0, as in the paper.
    """

    color: float = 1.0
    translation: float = 0.125
    cutout: float = 0.5

    def __call__(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """(N, 3, H, W) → the same shape. `generator` is one of the CPU; equal states change pictures in equal ways."""
        draws = torch.rand(len(pictures), _DRAWS, generator=generator)
        if self.color > 0:
            pictures = colored(pictures, draws[:, :3], self.color)
        if self.translation > 0:
            pictures = shifted(pictures, draws[:, 3:5], self.translation)
        return cut_out(pictures, draws[:, 5:7], self.cutout) if self.cutout > 0 else pictures


def colored(x: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Brightness, then saturation about each pixel's gray, then contrast about each picture's mean. `draws` (N, 3) in [0, 1)."""
    brightness, saturation, contrast = (strength * (draws - 0.5)).to(x.device, x.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    x = x + brightness / 2
    gray = x.mean(dim=1, keepdim=True)
    x = gray + (x - gray) * (1 + 2 * saturation)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (1 + contrast)


def shifted(pictures: Tensor, draws: Tensor, share: float) -> Tensor:
    """Each picture by whole pixels, up to `share` of its sides in both directions. `draws` (N, 2) in [0, 1)."""
    height, width = pictures.shape[2:]
    reach_y, reach_x = round(height * share), round(width * share)
    tops = [int(draw * (2 * reach_y + 1)) for draw in draws[:, 0]]
    lefts = [int(draw * (2 * reach_x + 1)) for draw in draws[:, 1]]
    padded = F.pad(pictures, (reach_x, reach_x, reach_y, reach_y))
    cut = [one[:, y : y + height, x : x + width] for one, y, x in zip(padded, tops, lefts, strict=True)]
    return torch.stack(cut)


def cut_out(x: Tensor, draws: Tensor, share: float) -> Tensor:
    """A hole of `share` of the sides in each picture, centered anywhere in it. `draws` (N, 2) in [0, 1)."""
    inside = [_covered(size, share, draws[:, axis], x.device) for axis, size in enumerate(x.shape[2:])]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)


def _covered(size: int, share: float, draw: Tensor, device: torch.device) -> Tensor:
    """(N, size), true where the hole is."""
    hole = round(size * share)
    first = (draw * (size + 1 - hole % 2)).int() - hole // 2
    places = torch.arange(size) - first[:, None]
    return ((places >= 0) & (places < hole)).to(device)
