"""How likely noise of each strength is, by the counts of quantized levels that it leaves in cosines of flat blocks.

A JPEG rounds a coefficient of N(0, σ²) to multiples of a known step. What it rounds to zero is lost, but not the knowledge of
how often that happens: the counts tell the σ before rounding, for each of the 64 frequencies. (Noise copied out of the bad
pictures, as RealSR does (Ji et al. 2020), has gone through the encoder and would do so a second time.)
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from upscale_training.imitate.blocks import Blocks
from upscale_training.imitate.tables import Table

Likelihoods = npt.NDArray[np.float64]
"""(64, len(LOGS)): log likelihood of each σ for each frequency (row by row of the block)."""
Spectrum = npt.NDArray[np.float64]
"""(8, 8): logarithm of the noise's σ, 8-bit levels, by cosine (vertical, horizontal)."""

STEP = 0.05
LOGS = np.arange(np.log(0.05), np.log(80), STEP)
"""Logarithms of the σ that are told apart."""
_LEVELS = 24
_WIDTH = 3.0  # finer steps are joined to bins about this wide, so that `_LEVELS` of them reach far enough
_OUTLIERS = 0.02
_SMOOTH = 15.0
_SEEN = 3.0
_SWEEPS = 60


def likelihoods(blocks: Blocks, steps: Table) -> Likelihoods:
    """Of flat blocks (n, 8, 8) that were quantized with `steps` (8, 8)."""
    wide = _wide(steps)
    levels = np.minimum(np.rint(np.abs(blocks) / wide), _LEVELS).astype(np.int64).reshape(-1, 64)
    counts = np.stack([np.bincount(levels[:, place], minlength=_LEVELS + 1) for place in range(64)])
    tables = np.stack([_log_shares(float(width)) for width in wide.ravel()])
    return np.einsum("fl,fls->fs", counts, tables)


def spectrum(total: Likelihoods) -> Spectrum:
    """The likeliest spectrum that is smooth: where nothing but zeros was seen, σ is what the neighbors suggest."""
    found = _begun(total)
    for _ in range(_SWEEPS):
        before = found.copy()
        for place in range(1, 64):
            near = LOGS[found[_NEIGHBORS[place]]]
            found[place] = (total[place] - _SMOOTH * np.square(LOGS[:, None] - near).sum(1)).argmax()
        if (found == before).all():
            break
    return settled(LOGS[found].reshape(8, 8))


def settled(logs: Spectrum) -> Spectrum:
    """The slowest waves are mostly the scene's, a block's mean is nothing else: at most what the next ones suggest."""
    logs = logs.copy()
    logs[0, 1] = min(logs[0, 1], 2 * logs[0, 2] - logs[0, 3])
    logs[1, 0] = min(logs[1, 0], 2 * logs[2, 0] - logs[3, 0])
    logs[0, 0] = (logs[0, 1] + logs[1, 0]) / 2
    return logs


def _begun(total: Likelihoods) -> npt.NDArray[np.intp]:
    """The likeliest σ; where less than `_SEEN` speaks against none at all, that of the next slower waves."""
    found = total.argmax(1)
    seen = telling(total)
    for place in sorted(range(1, 64), key=lambda place: sum(divmod(place, 8))):
        slower = _NEIGHBORS[place][_NEIGHBORS[place] < place]
        if not seen[place] and len(slower):
            found[place] = round(float(found[slower].mean()))
    return found


def telling(total: Likelihoods) -> npt.NDArray[np.bool_]:
    """(64,): frequencies of which more was seen than zeros."""
    return total.max(1) - total[:, 0] > _SEEN


def gain(total: Likelihoods, logs: Spectrum, places: npt.NDArray[np.bool_]) -> float:
    """By how much (log) the spectrum has to be shifted to be likeliest, by the frequencies (64,) in `places`."""
    return float(LOGS[int(along(total, logs, places).argmax())] - LOGS[_MIDDLE])


def along(total: Likelihoods, logs: Spectrum, places: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Log likelihood of each shift LOGS - LOGS[middle] of the whole spectrum."""
    shifts = LOGS - LOGS[_MIDDLE]
    rows: list[int] = np.flatnonzero(places).tolist()
    curve = np.zeros(len(LOGS))
    for row in rows:
        seen = np.asarray(np.interp(float(logs[divmod(row, 8)]) + shifts, LOGS, total[row]), np.float64)
        curve = curve + seen
    return curve


def shifted(total: Likelihoods, by: float) -> Likelihoods:
    """The likelihoods as if the noise had been exp(by) times weaker."""
    rows = [np.asarray(np.interp(LOGS + by, LOGS, row), np.float64) for row in total]
    return np.stack(rows)


_MIDDLE = len(LOGS) // 2


def _neighbors(place: int) -> npt.NDArray[np.intp]:
    """Of a frequency, without the constant one."""
    v, u = divmod(place, 8)
    around = [(v - 1, u), (v + 1, u), (v, u - 1), (v, u + 1)]
    return np.array([8 * y + x for y, x in around if 0 <= y < 8 and 0 <= x < 8 and y + x > 0], np.intp)


_NEIGHBORS = [_neighbors(place) for place in range(64)]


def _wide(steps: Table) -> Table:
    return steps * np.maximum(1, np.rint(_WIDTH / steps))


@lru_cache(maxsize=256)
def _log_shares(step: float) -> npt.NDArray[np.float64]:
    """(levels, σs): log probability that |N(0, σ²)| rounds to each multiple of the step, with a few outliers of any size."""
    edges = torch.tensor((np.arange(_LEVELS) + 0.5) * step)[:, None] / torch.tensor(np.exp(LOGS) * np.sqrt(2))
    below = np.pad(torch.erf(edges).numpy(), ((1, 1), (0, 0)))
    below[-1] = 1
    return np.log((1 - _OUTLIERS) * np.diff(below, axis=0) + _OUTLIERS / (_LEVELS + 1))
