"""Real-ESRGAN's degradation of second order, with the published probabilities and ranges.

Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data (2021); numbers from
options/train_realesrgan_x4plus.yml, order of things from realesrgan/models/realesrgan_model.py. What differs: JPEG is
libjpeg, not its differentiable imitation, so that qualities are whole; area means true areas where torch's takes whole
pixels; what lies outside [0, 1] is cut off at once; and every picture draws all of its own values, where the original shares
some in a batch and mixes batches in a queue.
"""

import math
from dataclasses import dataclass

import numpy as np

from upscale.image import Floats
from upscale_training.degrade import note
from upscale_training.degrade.blur import mixed_blur, sinc_blur
from upscale_training.degrade.combine import Chain, chain, maybe, one_of
from upscale_training.degrade.draw import chance, choice
from upscale_training.degrade.noise import gaussian_noise, poisson_noise
from upscale_training.degrade.resize import PUBLISHED, divided, resized_to
from upscale_training.degrade.sharpen import usm
from upscale_training.degrade.stills import jpeg
from upscale_training.degrade.tones import eight_bits

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Order:
    """One of the two rounds: blur, resize, noise, JPEG. The defaults are the first round's.

    `blur`: its probability. `resize`: weights of up, down and keep. `factors`: smallest and largest. `noise`: sigma of the
    Gaussian, in levels. `gaussian`: its probability, else it is Poisson. `gray`: of one noise for all channels.
    """

    blur: float = 1.0
    sinc: float = 0.1
    sigma: Pair = (0.2, 3.0)
    kernels: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    generalized: Pair = (0.5, 4.0)
    plateau: Pair = (1.0, 2.0)
    resize: tuple[float, float, float] = (0.2, 0.7, 0.1)
    factors: Pair = (0.15, 1.5)
    gaussian: float = 0.5
    noise: Pair = (1.0, 30.0)
    poisson: Pair = (0.05, 3.0)
    gray: float = 0.4
    quality: Pair = (30.0, 95.0)

    def blurring(self) -> Chain:
        kernel = mixed_blur(self.sigma, self.kernels, self.generalized, self.plateau)
        return chain(maybe(self.blur, one_of((self.sinc, sinc_blur()), (1 - self.sinc, kernel))))

    def noising(self) -> Chain:
        gaussian, poisson = gaussian_noise(self.noise, self.gray), poisson_noise(self.poisson, self.gray)
        return chain(one_of((self.gaussian, gaussian), (1 - self.gaussian, poisson)))

    def factor(self, rng: np.random.Generator) -> float:
        low, high = self.factors
        return choice(rng, (rng.uniform(1, high), rng.uniform(low, 1), 1.0), self.resize)


FIRST = Order()
SECOND = Order(
    blur=0.8, sigma=(0.2, 1.5), resize=(0.3, 0.4, 0.3), factors=(0.3, 1.2), noise=(1.0, 25.0), poisson=(0.05, 2.5)
)


@dataclass(frozen=True, slots=True)
class SecondOrder:
    """Both rounds; the second one's resize is a factor of the final size. Then JPEG and the final low-pass, in either order.

    `ringing`: probability of the final sinc filter. `sharpened`: whether the rounds start from the sharpened target.
    """

    scale: int
    first: Order = FIRST
    second: Order = SECOND
    ringing: float = 0.8
    sharpened: bool = True

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        height, width = divided(picture, self.scale)
        if self.sharpened:
            picture = usm()(picture, rng)
        picture = self.first.blurring()(picture, rng)
        picture = _resized(picture, rng, picture.shape[0], picture.shape[1], self.first.factor(rng))
        picture = chain(self.first.noising(), jpeg(self.first.quality), self.second.blurring())(picture, rng)
        picture = _resized(picture, rng, height, width, self.second.factor(rng))
        picture = self.second.noising()(picture, rng)
        compress = jpeg(self.second.quality)
        ring = maybe(self.ringing, sinc_blur((math.pi / 3, math.pi)))
        if chance(rng, 0.5):
            picture = chain(ring, compress)(_resized(picture, rng, height, width, 1.0), rng)
        else:
            picture = ring(_resized(compress(picture, rng), rng, height, width, 1.0), rng)
        return eight_bits()(picture, rng)


def _resized(picture: Floats, rng: np.random.Generator, height: int, width: int, factor: float) -> Floats:
    """To `factor` times (height, width), rounded down as published; by one of the published filters."""
    by = choice(rng, PUBLISHED)
    size = max(1, int(height * factor)), max(1, int(width * factor))
    note("resize", factor=factor, by=by, to=f"{size[1]}x{size[0]}")
    return np.clip(resized_to(picture, size, by), 0, 1)
