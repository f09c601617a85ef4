"""The U-Net with spectral norm of Real-ESRGAN: Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution
with Pure Synthetic Data", after Schönfeld et al. 2020, "A U-Net Based Discriminator for Generative Adversarial Networks".
"""

import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.adversary.net import SLOPE, Discriminator
from upscale_training.adversary.spectral import SpectralConv2d


class UNetDiscriminator(Discriminator):
    """A logit for each pixel: (N, 3, H, W) → (N, 1, H, W), sides of at least 8. Parameters have basicsr's names."""

    def __init__(self, features: int = 64, skip: bool = True) -> None:
        super().__init__()
        f = features
        self.skip = skip
        self.conv0 = nn.Conv2d(3, f, 3, padding=1)
        self.conv1 = SpectralConv2d(f, f * 2, 4, stride=2)
        self.conv2 = SpectralConv2d(f * 2, f * 4, 4, stride=2)
        self.conv3 = SpectralConv2d(f * 4, f * 8, 4, stride=2)
        self.conv4 = SpectralConv2d(f * 8, f * 4, 3)
        self.conv5 = SpectralConv2d(f * 4, f * 2, 3)
        self.conv6 = SpectralConv2d(f * 2, f, 3)
        self.conv7 = SpectralConv2d(f, f, 3)
        self.conv8 = SpectralConv2d(f, f, 3)
        self.conv9 = nn.Conv2d(f, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv9(self.features(x)[-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """Four on the way down, three on the way up (skips added), two at full size."""
        x0 = _leaky(self.conv0(x))
        x1 = _leaky(self.conv1(x0))
        x2 = _leaky(self.conv2(x1))
        x3 = _leaky(self.conv3(x2))
        x4 = self._up(self.conv4, x3, x2)
        x5 = self._up(self.conv5, x4, x1)
        x6 = self._up(self.conv6, x5, x0)
        x7 = _leaky(self.conv7(x6))
        return [x0, x1, x2, x3, x4, x5, x6, x7, _leaky(self.conv8(x7))]

    def _up(self, conv: nn.Module, x: Tensor, beside: Tensor) -> Tensor:
        x = F.interpolate(x, beside.shape[2:], mode="bilinear", align_corners=False)
        x = _leaky(conv(x))
        return x + beside if self.skip else x


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE, inplace=True)
