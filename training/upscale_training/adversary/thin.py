"""A cheap discriminator for small generators.

Real-ESRGAN's U-Net costs 10 times as many multiplications for each picture as the compact network that it is to teach, and
it is run three times a step where the generator is run once. Here the pixels are folded into channels first, as many as the
network enlarges: the first layer still sees every pixel and every phase of the sub-pixel grid (where checkerboards show),
the others work at the size of the small picture. `cost.macs_per_pixel` measures what a network costs.
"""

from upscale_training.adversary.unet import UNetDiscriminator


def thin_unet(features: int = 48, unshuffle: int = 4) -> UNetDiscriminator:
    """A logit for each 4×4 block of pixels: (N, 3, H, W) → (N, 1, H/4, W/4), sides multiples of 4 and at least 32."""
    return UNetDiscriminator(features, unshuffle=unshuffle)
