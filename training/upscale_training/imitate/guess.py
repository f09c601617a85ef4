"""From statistics to noise and blur: a few small networks, learnt on spoiled training pictures, shipped as guess.npz.

Each says a value and how much it doubts it; a folder's value weighs its pictures by them. Learnt by
benchmarks/imitate_train.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from upscale_training.imitate.statistics import LIKELIEST, Vector

NOISE_KNEE, BLUR_KNEE = 2.0, 0.5
"""Networks speak of log(noise + knee) and log(blur + knee): relative errors, which turn absolute below the knee."""
COLOR_TO_LUMA = 0.669
"""Luma's σ where each of R, G and B has noise of σ 1 of its own: √(0.299² + 0.587² + 0.114²)."""
OUTPUTS = 9
"""Noise, blur, correlation, quality: each a mean and a log doubt; then the log odds that the noise is colored."""
_QUIET = 2.0
_COEFFICIENTS = Path(__file__).parent / "guess.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """`means` and `doubts` (4,) of log(luma noise + knee), log(blur + knee), the noise's correlation σ and quality / 100; `odds`:
    logarithm of those that the noise is colored."""

    means: Vector
    doubts: Vector
    odds: float

    @property
    def luma_noise(self) -> float:
        """Standard deviation in luma, 8-bit levels."""
        return max(0.0, float(np.exp(self.means[0])) - NOISE_KNEE)

    @property
    def color(self) -> bool:
        return self.odds > 0

    @property
    def noise(self) -> float:
        """Standard deviation in each channel, 8-bit levels, of colored or gray noise, whichever is likelier."""
        return self.luma_noise / (COLOR_TO_LUMA if self.color else 1)

    @property
    def blur(self) -> float:
        """Standard deviation of a Gaussian, pixels."""
        return max(0.0, float(np.exp(self.means[1])) - BLUR_KNEE)

    @property
    def correlation(self) -> float:
        """Standard deviation, pixels, of the Gaussian that white noise went through."""
        return max(0.0, float(self.means[2]))

    @property
    def quality(self) -> int:
        return int(np.clip(round(100 * self.means[3]), 1, 100))


def guess(seen: Vector) -> Guess:
    """Of one picture's statistics (n,). For noise the networks only correct what the counts of levels say."""
    members, middle, spread = _networks()
    inputs = np.clip((seen - middle) / spread, -4, 4)
    outputs: Vector = np.stack([_through(layers, inputs) for layers in members]).mean(0)
    outputs[0] += np.log(np.exp(seen[LIKELIEST]) + NOISE_KNEE)
    doubts: Vector = np.exp(outputs[1:8:2])
    return Guess(outputs[0:8:2], doubts, float(outputs[8]))


def together(guesses: Sequence[Guess]) -> Guess:
    """One guess for pictures that went through the same chain: means weighted by certainty.

    Texture passes for noise, noise never for its absence: the quieter pictures weigh more. Of blur the median is taken, since
    pictures out of focus are far off. (Both were chosen on held-out chains of training pictures.)
    """
    means, doubts = np.stack([each.means for each in guesses]), np.stack([each.doubts for each in guesses])
    weights = 1 / np.square(doubts)
    total = weights.sum(0)
    common = (weights * means).sum(0) / total
    quiet = weights[:, 0] * np.exp(-_QUIET * (means[:, 0] - means[:, 0].min()))
    common[0] = (quiet * means[:, 0]).sum() / quiet.sum()
    common[1] = _median(means[:, 1], 1 / doubts[:, 1])
    return Guess(common, 1 / np.sqrt(total), float(np.mean([each.odds for each in guesses])))


def _median(values: Vector, weights: Vector) -> float:
    """Weighted, interpolated between the two values around half of the weight."""
    order = values.argsort()
    ordered: Vector = weights[order]
    reached: Vector = ordered.cumsum() - ordered / 2
    along: Vector = values[order]
    return float(np.interp(float(weights.sum()) / 2, reached, along))


def _through(layers: list[tuple[Vector, Vector]], inputs: Vector) -> Vector:
    for matrix, bias in layers[:-1]:
        inputs = np.maximum(matrix @ inputs + bias, 0)
    return layers[-1][0] @ inputs + layers[-1][1]


@cache
def _networks() -> tuple[list[list[tuple[Vector, Vector]]], Vector, Vector]:
    """Layers (matrix, bias) of each member, and the inputs' middle and spread."""
    with np.load(_COEFFICIENTS, allow_pickle=False) as file:
        arrays: dict[str, npt.NDArray[np.float64]] = {name: file[name].astype(np.float64) for name in file.files}
    members = 1 + max(int(name.split(".")[0]) for name in arrays if "." in name)
    layers = [
        [(arrays[f"{member}.{part}.weight"], arrays[f"{member}.{part}.bias"]) for part in (0, 1, 2)]
        for member in range(members)
    ]
    return layers, arrays["middle"], arrays["spread"]
