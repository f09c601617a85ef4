"""The last JPEG quality and the chroma subsampling, from pixels: coefficients of a decoded JPEG lie on combs.

A coefficient that was quantized with step q lies near a multiple of q, blurred by the rounding to 8 bits. Against "not
quantized" such a comb gains log q + log N(residue) per coefficient, a comb of q/2 gains log 2 less, a comb of 2q loses on
every odd multiple. So the likelihood itself picks the step (after Fan and de Queiroz 2003, who fit histograms). Zeros say
nothing, since natural coefficients pile up there: only coefficients beyond half a step count.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from upscale_training.imitate.blocks import Blocks, Plane, cosines, planes, unclipped
from upscale_training.imitate.tables import CHROMA, LUMA, QUALITIES, Table, scaled

ROUNDINGS = (0.35, 0.7, 1.4)
"""Standard deviations of the combs' teeth: 0.35 is what rounding to 8 bits leaves in luma; more after an undone resize."""
SURE = 60.0
"""Gain in log likelihood above which a quality is believed; unquantized pictures stay below about 20."""
SUBSAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
"""Luma samples per chroma sample (down, across)."""
_OUTLIERS = 0.05
_MOST_BLOCKS = 1500


@dataclass(frozen=True, slots=True)
class Quantized:
    """A JPEG found in pixels. `gain`: log likelihood against "never quantized"; `subsampling` is None where unknown."""

    quality: int
    gain: float
    subsampling: str | None = None


def comb_gain(values: npt.NDArray[np.float32], step: float, rounding: float) -> float:
    """Log likelihood of coefficients (n,) under a comb of this step, minus that under no comb."""
    values = values[np.abs(values) > step / 2]
    if values.size == 0 or step <= 2 * rounding:
        return 0.0
    residue = values - step * np.rint(values / step)
    near = np.exp(-0.5 * (residue / rounding) ** 2) / (rounding * np.sqrt(2 * np.pi))
    return float(np.log((1 - _OUTLIERS) * near * step + _OUTLIERS).sum())


def gains(blocks: Blocks, base: Table, rounding: float) -> npt.NDArray[np.float64]:
    """Gain of each of `QUALITIES` on blocks (n, 8, 8), summed over the lower two thirds of the frequencies."""
    total = np.zeros(len(QUALITIES))
    tables = np.stack([scaled(base, quality) for quality in QUALITIES])
    for v in range(8):
        for u in range(max(0, 1 - v), 8 - v):
            values = blocks[:, v, u]
            steps, where = np.unique(tables[:, v, u], return_inverse=True)
            total += np.array([comb_gain(values, step, rounding) for step in steps])[where]
    return total


def find(levels: npt.NDArray[np.float32], roundings: tuple[float, ...] = ROUNDINGS) -> Quantized:
    """The most likely quality of a picture (H, W, 3), RGB 0..255, whose block grid starts at its corner."""
    luma, *_ = planes(levels)
    blocks = _sample(cosines(luma)[unclipped(levels)])
    best = Quantized(100, 0.0)
    for rounding in roundings:
        gain = gains(blocks, LUMA, rounding)
        if gain.max() > best.gain:
            best = Quantized(QUALITIES[int(gain.argmax())], float(gain.max()))
    return best


def find_subsampling(levels: npt.NDArray[np.float32], quality: int, rounding: float = 0.5) -> str | None:
    """How fine the chroma of that JPEG was; None where its coefficients are too few to say."""
    _, *chroma = planes(levels)
    table, best, most = scaled(CHROMA, quality), None, 10.0
    for name, (down, across) in SUBSAMPLINGS.items():
        blocks = np.concatenate([cosines(coarse(plane, down, across)) for plane in chroma])
        places = [(v, u) for v in range(5) for u in range(5 - v) if v + u]
        gain = sum(comb_gain(blocks[:, v, u], table[v, u], rounding) for v, u in places) * down * across
        if gain > most:
            best, most = name, gain
    return best


def coarse(plane: Plane, down: int, across: int) -> Plane:
    """The chroma samples from which a decoder's "fancy" (triangle) upsampling made this plane: least squares."""
    if across == 2:
        plane = (plane @ np.linalg.pinv(_triangle(plane.shape[1])).T).astype(np.float32)
    if down == 2:
        plane = (np.linalg.pinv(_triangle(plane.shape[0])) @ plane).astype(np.float32)
    return plane


def _triangle(length: int) -> npt.NDArray[np.float32]:
    """(length, (length + 1) // 2): libjpeg's h2v1 upsampling, 3/4 of the nearer and 1/4 of the further sample."""
    samples = (length + 1) // 2
    matrix = np.zeros((length, samples), np.float32)
    for place in range(length):
        near = place // 2
        far = min(max(near + (1 if place % 2 else -1), 0), samples - 1)
        matrix[place, near] += 0.75
        matrix[place, far] += 0.25
    return matrix


def _sample(blocks: Blocks) -> Blocks:
    if len(blocks) <= _MOST_BLOCKS:
        return blocks
    return blocks[np.random.default_rng(0).permutation(len(blocks))[:_MOST_BLOCKS]]
