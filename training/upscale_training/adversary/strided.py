"""The strided discriminator of DCGAN: Radford, Metz & Chintala 2016, "Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks".
"""

from torch import Tensor, nn

from upscale_training.adversary.net import SLOPE, Discriminator, initialize_like_dcgan
from upscale_training.errors import RecipeError


class StridedDiscriminator(Discriminator):
    """One logit for a picture of `size` pixels a side, a power of two from 16: (N, 3, size, size) → (N, 1).

    4×4 convolutions halve the picture down to 4×4, each with twice the channels up to 8·features; a last one over all 16
    places gives the logit. `batch_norm` in all layers but the first (DCGAN's); without it for penalties on gradients.
    """

    def __init__(self, size: int = 128, features: int = 64, batch_norm: bool = True) -> None:
        super().__init__()
        if size < 16 or size & (size - 1):
            raise RecipeError(
                f"the strided discriminator takes crops of 16, 32, 64, 128, …, not {size}; set the crop, or use a U-Net"
            )
        self.size = size
        widths = [3, *(features * min(2**k, 8) for k in range(size.bit_length() - 3))]
        self.layers = nn.ModuleList(
            _block(widths[k], widths[k + 1], batch_norm and k > 0) for k in range(len(widths) - 1)
        )
        self.last = nn.Conv2d(widths[-1], 1, 4)
        initialize_like_dcgan(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x)[-1]).flatten(1)

    def features(self, x: Tensor) -> list[Tensor]:
        """One for each halving. Raises RecipeError for pictures of another size."""
        if x.shape[2:] != (self.size, self.size):
            raise RecipeError(
                f"this discriminator takes {self.size}×{self.size} pictures, not {x.shape[3]}×{x.shape[2]}; set the crop"
            )
        found: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


def _block(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not norm)
    return nn.Sequential(convolution, *([nn.BatchNorm2d(outputs)] if norm else []), nn.LeakyReLU(SLOPE))
