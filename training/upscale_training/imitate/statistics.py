"""What is measured of one picture to guess its noise and blur: about 200 numbers, all logarithms, shares or ratios.

Noise: energies of the cosines in the flattest blocks, and the σ under which the counts of quantized levels there are most
likely (rounding coefficients of N(0, σ²) to multiples of the known steps). Blur: how steep the steepest edges are at several
scales, the widths of edges by the ratio of two gradients (Zhuo and Sim 2011), and the slope of the power spectrum.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from upscale_training.imitate.blocks import Blocks, Plane, cosines, planes, unclipped
from upscale_training.imitate.quantised import SUBSAMPLINGS, coarse
from upscale_training.imitate.tables import CHROMA, LUMA, Table, scaled

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the picture before its statistics: the last JPEG's quality and chroma (None: unknown or no JPEG),
    and by how much it was resized before or after (1: not), sides after / sides before."""

    quality: int | None = None
    subsampling: str | None = None
    later: float = 1.0


FLATTEST = (0.05, 0.15, 0.4)
"""Shares of the blocks, flattest first, in which noise is looked for."""
SIGMAS = np.geomspace(0.15, 60, 241)
SCALES = (0.7, 1.0, 1.5, 2.2, 3.2, 4.5)
"""Standard deviations, pixels, of the Gaussians whose gradients are taken."""
LIKELIEST = 39
"""Where `statistics` gives the logarithm of luma's likeliest σ (flattest 15 % of blocks, higher frequencies)."""
_LEVELS = 12
_UNKNOWN_STEP = 3.0
_FREQUENCY = np.add.outer(np.arange(8), np.arange(8))
_GROUPS = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 14)]
_SPECTRUM_BINS = 12


def statistics(levels: npt.NDArray[np.float32], known: Known) -> Vector:
    """(n,) of a picture (H, W, 3), RGB 0..255, with its JPEG's grid at the corner."""
    y, *chroma = planes(levels)
    down, across = SUBSAMPLINGS[known.subsampling or "4:4:4"]
    usable = unclipped(levels)
    parts = [_facts(levels, known), _noise(_usable(cosines(y), usable), LUMA, known.quality)]
    for plane in chroma:
        blocks = cosines(coarse(plane, down, across))
        if (down, across) == (1, 1):
            blocks = _usable(blocks, usable)
        parts.append(_noise(blocks, CHROMA, known.quality)[_CHROMA_KEPT])
    parts += [_edges(y), _spectrum(y)]
    return np.concatenate(parts)


def _usable(blocks: Blocks, usable: npt.NDArray[np.bool_]) -> Blocks:
    return blocks[usable] if usable.sum() >= 24 else blocks


def _facts(levels: npt.NDArray[np.float32], known: Known) -> Vector:
    quality = known.quality or 100
    shares = [float(known.subsampling == name) for name in SUBSAMPLINGS]
    step = np.log(scaled(LUMA, quality).mean())
    jpeg, later = float(known.quality is not None), known.later
    size = np.log(levels.shape[0] * levels.shape[1]) - 11
    return np.array([step, jpeg, *shares, np.log(later), max(0.0, -np.log(later)), float(later != 1), size])


def _noise(blocks: Blocks, base: Table, quality: int | None) -> Vector:
    """Energies of six groups of frequencies in the flattest 5, 15, 40 and 100 % of blocks (n, 8, 8); then the likeliest σ,
    its doubt and the share of zeros in the first three of these."""
    steps = np.full((8, 8), _UNKNOWN_STEP) if quality is None else scaled(base, quality)
    low = np.square(blocks)[:, (_FREQUENCY > 0) & (_FREQUENCY <= 3)].sum(1)
    ranked = blocks[np.argsort(low, kind="stable")]
    energies: list[float] = []
    guesses: list[float] = []
    for share in (*FLATTEST, 1.0):
        flat = ranked[: max(8, round(len(ranked) * share))]
        power = np.square(flat).mean(0)
        energies += [float(power[(first <= _FREQUENCY) & (last >= _FREQUENCY)].mean()) for first, last in _GROUPS]
        if share < 1:
            guesses += [*_likeliest(flat, steps, 5), *_likeliest(flat, steps, 1)]
    return np.concatenate([np.log(np.array(energies) + 0.05), np.array(guesses)])


_CHROMA_KEPT = [*range(18), *range(24, 42)]


def _likeliest(blocks: Blocks, steps: Table, lowest: int) -> tuple[float, float, float]:
    """Mean and standard deviation of log σ, and the share of zeros, by counts of levels in frequencies from `lowest` on."""
    places = np.argwhere(lowest <= _FREQUENCY)
    likelihood, zeros = np.zeros(len(SIGMAS)), 0
    for step in np.unique(steps[places[:, 0], places[:, 1]]):
        here = [(v, u) for v, u in places if steps[v, u] == step]
        # Fine steps are joined to coarser bins, so that twelve levels reach far enough.
        wide = max(step, step * round(_UNKNOWN_STEP / step))
        values = np.stack([blocks[:, v, u] for v, u in here])
        counts = np.bincount(
            np.minimum(np.rint(np.abs(values) / wide), _LEVELS).astype(int).ravel(), minlength=_LEVELS + 1
        )
        zeros += int(counts[0])
        likelihood += counts @ _log_shares(float(wide))
    weight = np.exp(likelihood - likelihood.max())
    weight /= weight.sum()
    logs = np.log(SIGMAS)
    mean = float(weight @ logs)
    doubt = float(np.sqrt(max(weight @ logs**2 - mean**2, 1e-6)))
    return mean, doubt, zeros / (len(places) * len(blocks))


_SHARES: dict[float, Vector] = {}


def _log_shares(step: float) -> Vector:
    """(levels, σs): log probability that |N(0, σ²)| rounds to each multiple of the step."""
    if step not in _SHARES:
        edges = (np.arange(_LEVELS + 1) + 0.5) * step
        below = _erf(edges[:-1, None] / (SIGMAS[None] * np.sqrt(2)))
        shares = np.diff(np.concatenate([np.zeros((1, len(SIGMAS))), below, np.ones((1, len(SIGMAS)))]), axis=0)
        _SHARES[step] = np.log(np.maximum(shares, 1e-4))
    return _SHARES[step]


def _erf(x: Vector) -> Vector:
    """Abramowitz and Stegun 7.1.26, for x ≥ 0, within 2e-7."""
    t = 1 / (1 + 0.3275911 * x)
    factors = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    return 1 - np.exp(-x * x) * sum(factor * t**power for power, factor in enumerate(factors, 1))


def _edges(luma: Plane) -> Vector:
    """Percentiles of the gradient at each scale, and of the widths of the strong edges from neighboring scales."""
    gradients = [_gradient(luma, scale) for scale in SCALES]
    parts = [np.log(np.percentile(each, (50, 90, 99, 99.8)) + 0.02) for each in gradients]
    for near in (0, 1, 2, 3):
        fine, rough = gradients[near], gradients[near + 2]
        strong = rough >= np.percentile(rough, 97)
        # A step of width σ has gradient ∝ (σ² + t²)^-½ after a Gaussian t; the ratio of two gives σ.
        ratio = np.percentile(fine[strong] / np.maximum(rough[strong], 1e-3), (10, 25, 50, 75, 90, 97))
        parts.append(np.log(ratio + 0.1))
    return np.concatenate(parts)


def _gradient(luma: Plane, scale: float) -> Plane:
    smooth = cv2.GaussianBlur(luma, (0, 0), scale)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.asarray(cv2.magnitude(across, down), np.float32)[4:-4, 4:-4]


def _spectrum(luma: Plane) -> Vector:
    """Log power in rings of frequency, of all 64-pixel windows and of the livelier half."""
    side = min(64, *luma.shape)
    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    rows, columns = (range(0, length - side + 1, side // 2) for length in luma.shape)
    pieces = np.stack([luma[row : row + side, column : column + side] for row in rows for column in columns])
    pieces = (pieces - pieces.mean((1, 2), keepdims=True)) * window
    power = np.square(np.abs(np.fft.rfft2(pieces))) / np.square(window).sum()
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    edges = np.geomspace(1.4 / 64, 0.5, _SPECTRUM_BINS + 1)
    ring = np.digitize(radius, edges)
    inside = [ring == number for number in range(1, _SPECTRUM_BINS + 1)]
    rings = np.stack([power[:, places].sum(1) / max(1, int(places.sum())) for places in inside], 1)
    lively = rings[:, 3:8].sum(1) >= np.median(rings[:, 3:8].sum(1))
    return np.concatenate([np.log(rings.mean(0) + 0.02), np.log(rings[lively] + 0.02).mean(0)])
