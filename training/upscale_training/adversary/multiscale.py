"""Several discriminators, each on a smaller picture than the one before: Wang et al. 2018, "High-Resolution Image Synthesis
and Semantic Manipulation with Conditional GANs" (pix2pixHD).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.adversary.net import Discriminator, by_scale
from upscale_training.adversary.patch import PatchDiscriminator

pix2pixhd_patch = partial(PatchDiscriminator, norm="instance")
"""What pix2pixHD has at each scale."""


class MultiScaleDiscriminator(Discriminator):
    """`make()` once for each of `scales` pictures, halved by a 3×3 mean from one to the next: → a list of logits.

    With three 70×70 PatchGANs the pictures need sides of at least 96.
    """

    def __init__(self, make: Callable[[], Discriminator] = pix2pixhd_patch, scales: int = 3) -> None:
        super().__init__()
        self.nets = nn.ModuleList(make() for _ in range(scales))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [logits for net, smaller in self._pyramid(x) for logits in by_scale(net(smaller))]

    def features(self, x: Tensor) -> list[Tensor]:
        """Those of all scales, the largest picture's first."""
        return [feature for net, smaller in self._pyramid(x) for feature in net.features(smaller)]

    def _pyramid(self, x: Tensor) -> Iterator[tuple[Discriminator, Tensor]]:
        for number, net in enumerate(self.nets):
            if number > 0:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            yield cast(Discriminator, net), x
