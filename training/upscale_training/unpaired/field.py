"""Noise with a given spectrum."""

import numpy as np
import numpy.typing as npt

from upscale.image import Floats

Sigmas = npt.NDArray[np.float32]
"""(8, 8): σ by cosine of 8 pixels (vertical, horizontal), 8-bit levels."""


def noise(size: tuple[int, int], sigmas: Sigmas, rng: np.random.Generator) -> Floats:
    """(H, W) of Gaussian noise whose orthonormal cosines of 8 pixels have about these σ, in 8-bit levels.

    White noise, weighted in the Fourier domain: cosine k of 8 pixels is k/16 cycles a pixel, in between the σ are interpolated
    (their logarithms, linearly). It repeats beyond the rim, which nobody sees.
    """
    waves = np.fft.fft2(rng.standard_normal(size)) * np.sqrt(power(size, sigmas))
    return np.asarray(np.fft.ifft2(waves).real, np.float32)


def power(size: tuple[int, int], sigmas: Sigmas) -> npt.NDArray[np.float64]:
    """(H, W): the noise's variance at each frequency of a Fourier transform of that size; that of white noise of σ 1 is 1."""
    rows, columns = (_between(np.abs(_frequencies(length)), len(sigmas)) for length in size)
    logs = np.log(np.maximum(sigmas, 1e-6).astype(np.float64))
    return np.exp(2 * (rows @ logs @ columns.T))


def _frequencies(length: int) -> npt.NDArray[np.float64]:
    """(length,): of the Fourier transform, in half cycles of 8 pixels, the cosines' numbers."""
    return np.asarray(np.fft.fftfreq(length) * 16, np.float64)


def _between(places: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """(len(places), count): weights that interpolate linearly between whole places, the last one held beyond."""
    return np.maximum(0, 1 - np.abs(np.minimum(places, count - 1)[:, None] - np.arange(count)))
