"""PatchGAN: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks" (pix2pix)."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from upscale_training.adversary.net import SLOPE, Discriminator, initialize_like_dcgan
from upscale_training.adversary.spectral import SpectralConv2d

Norm = Literal["batch", "instance", "spectral", "none"]


class PatchDiscriminator(Discriminator):
    """A logit for each patch of 70×70 pixels (3 strided layers; 16, 34 and 142 for 1, 2 and 4), one patch every 8 pixels.

    (N, 3, H, W) → (N, 1, H/8 - 2, W/8 - 2) for multiples of 8; sides of at least 24. `norm`: pix2pix has "batch"; with
    penalties on gradients use "none", "instance" or "spectral".
    """

    def __init__(self, features: int = 64, strided: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        widths = [features * min(2**k, 8) for k in range(strided + 1)]
        layers = [nn.Sequential(nn.Conv2d(3, widths[0], 4, 2, 1), nn.LeakyReLU(SLOPE))]
        strides = [2] * (strided - 1) + [1]
        layers += [_block(*pair, stride, norm) for pair, stride in zip(pairwise(widths), strides, strict=True)]
        self.layers = nn.ModuleList(layers)
        self.last = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        initialize_like_dcgan(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x)[-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """One for each layer, the first at half the picture's size."""
        found: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


def _block(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Sequential:
    activation = nn.LeakyReLU(SLOPE)
    match norm:
        case "batch":
            convolution = nn.Conv2d(inputs, outputs, 4, stride, 1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), activation)
        case "instance":
            return nn.Sequential(nn.Conv2d(inputs, outputs, 4, stride, 1), nn.InstanceNorm2d(outputs), activation)
        case "spectral":
            return nn.Sequential(SpectralConv2d(inputs, outputs, 4, stride, bias=True), activation)
        case "none":
            return nn.Sequential(nn.Conv2d(inputs, outputs, 4, stride, 1), activation)
