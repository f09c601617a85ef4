"""The grid of the up-sampling: sub-pixels of one phase that are lighter or of another tint than the truth's, picture after picture.

Perceptual losses and discriminators draw it, most easily through a pixel-shuffle, whose phases have weights of their own: any
fine texture is nearer to the truth's features than none, and this one costs the network nothing but a few biases.
"""

import torch.nn.functional as F
from torch import Tensor

from upscale_training.losses.pixel import full


def grid_pattern(sr: Tensor, hr: Tensor, period: int = 4) -> Tensor:
    """Mean absolute deviation, over colors and the `period`² places in the up-sampling's grid, of the mean error there from the
    color's mean error. (N, 3, H, W), both sides at least `period`; what is left over at the right and below does not count.

    Truth has no such pattern: it is 0 but for chance, which falls with the root of the number of pixels.
    """
    error = full(sr) - full(hr)
    height, width = (side - side % period for side in error.shape[-2:])
    places = F.pixel_unshuffle(error[..., :height, :width], period).mean((0, 2, 3)).view(error.shape[1], -1)
    return (places - places.mean(1, keepdim=True)).abs().mean()
