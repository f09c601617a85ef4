"""One look at one example, and what a folder of them has in common."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from upscale_training.imitate.blocks import planes
from upscale_training.imitate.codec import macroblocks
from upscale_training.imitate.grid import Candidate, Grid, candidates, locate
from upscale_training.imitate.guess import Guess, guess, together
from upscale_training.imitate.quantised import Quantized
from upscale_training.imitate.reading import Example, read_all
from upscale_training.imitate.statistics import Known, statistics

ALONE, AGREED = 2.6, 1.9
"""Heights (log, see grid.py) that peaks of a resize need in a single picture, and on average where several pictures agree."""
_SAME = 0.012
"""Relative difference of two factors that are taken as the same."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one picture shows. `quality`: of the last JPEG, None for none found; `source`: file, pixels or statistics.

    `later`: sides after / before a resize that followed the noise (and a JPEG); 1 where none was found. `guess`: noise and
    blur, in pixels before that resize. `video`: how much a grid of 16 pixels stands out, see codec.py.
    """

    name: str
    quality: int | None
    source: str
    subsampling: str | None
    later: float
    guess: Guess
    video: float


@dataclass(frozen=True, slots=True)
class Findings:
    """A folder's examples: each look, what they have in common, and files left out with the reason."""

    looks: tuple[Look, ...]
    common: Guess
    skipped: tuple[str, ...] = ()

    @property
    def qualities(self) -> list[int]:
        return sorted(look.quality for look in self.looks if look.quality is not None)

    @property
    def later(self) -> list[float]:
        return sorted(look.later for look in self.looks if look.later != 1)

    @property
    def subsampling(self) -> str | None:
        """The commonest that is known."""
        return most_common([look.subsampling for look in self.looks])

    def spread(self, name: str) -> tuple[float, float]:
        """Lowest and highest of a property of `Guess` over the pictures, after what chance alone would scatter is taken off.

        Pictures of one chain differ because each is hard to read: their scatter says little about the chain. The range is
        narrowed towards the common value by the share of the scatter that the networks' own doubt explains.
        """
        values = np.array([float(getattr(look.guess, name)) for look in self.looks])
        center = float(getattr(self.common, name))
        place = {"noise": 0, "luma_noise": 0, "blur": 1, "correlation": 2}[name]
        doubt = float(np.mean([look.guess.doubts[place] for look in self.looks]))
        seen = float(np.std([look.guess.means[place] for look in self.looks]))
        own = np.sqrt(max(0.0, 1 - (1.4 * doubt / seen) ** 2)) if seen > 0 else 0.0
        low, high = (center + own * (end - center) for end in (values.min(), values.max()))
        return min(low, center), max(high, center)


def look_at(folder: Path) -> Findings:
    """All of a folder's pictures. Unreadable ones are skipped and named; DataError where none is left."""
    examples, skipped = read_all(folder)
    return replace(findings(examples), skipped=skipped)


def findings(examples: Sequence[Example]) -> Findings:
    """What examples of one source have in common."""
    located = [_located(example) for example in examples]
    factor, kernel = _agreed(located)
    looks: list[Look] = []
    for example, here in zip(examples, located, strict=True):
        grid = here.grid
        if factor is not None and here.jpeg is None:
            height, width = example.levels.shape[:2]
            grid = Grid(before=(round(height / factor), round(width / factor)), kernel=kernel)
        looks.append(_look(example, grid, here.jpeg))
    return Findings(tuple(looks), together([look.guess for look in looks]))


@dataclass(frozen=True, slots=True)
class _Located:
    """Grid and JPEG found in the pixels, or else what resize there may have been. `factor`: of a resize that was undone."""

    grid: Grid
    jpeg: Quantized | None
    factor: float | None
    candidates: list[Candidate]


def _located(example: Example) -> _Located:
    if example.quality is None:
        grid, jpeg = locate(example.levels)
        if jpeg is not None:
            factor = example.levels.shape[1] / grid.before[1] if grid.before else None
            return _Located(grid, jpeg, factor, [])
    ranked = candidates(planes(example.levels)[0], encoded=example.quality is not None)
    return _Located(Grid(), None, None, ranked)


def _agreed(located: Sequence[_Located]) -> tuple[float | None, str]:
    """Factor and kernel of the resize for those pictures in which no comb was found: that of the others, or what their peaks
    have in common, if it stands out."""
    certain = [here for here in located if here.factor is not None]
    if certain:
        return float(np.median([here.factor or 1 for here in certain])), certain[0].grid.kernel
    ranked = [here.candidates for here in located if here.jpeg is None]
    factors = {each.factor for candidates_ in ranked for each in candidates_}
    support = {factor: float(np.mean([_best_near(each, factor) for each in ranked])) for factor in factors}
    best = max(support, key=lambda factor: support[factor], default=1.0)
    enough = ALONE if len(ranked) == 1 else AGREED
    return (best if support.get(best, 0) > enough else None), "cubic"


def _best_near(ranked: Sequence[Candidate], factor: float) -> float:
    return max((each.score for each in ranked if abs(each.factor / factor - 1) < _SAME), default=0.0)


def _look(example: Example, grid: Grid, jpeg: Quantized | None) -> Look:
    height = example.levels.shape[0]
    later = height / grid.before[0] if grid.before else 1.0
    aligned = grid.aligned(example.levels)
    if example.quality is not None:
        quality, source, subsampling = example.quality, "file", example.subsampling
        known = Known(later=later) if later != 1 else Known(quality, subsampling)
    elif jpeg is not None:
        quality, source, subsampling = jpeg.quality, "pixels", jpeg.subsampling
        known = Known(quality, subsampling, later)
    else:
        quality, source, subsampling, known = None, "none", None, Known(later=later)
    guessed = guess(statistics(aligned, known))
    if quality is None and later != 1:
        quality, source = guessed.quality, "statistics"
    video = macroblocks(planes(example.levels)[0]) if quality is None else 0.0
    return Look(example.name, quality, source, subsampling, later, guessed, video)


def most_common(values: Sequence[str | None]) -> str | None:
    """The commonest that is known; None where none is."""
    known = Counter(value for value in values if value is not None)
    return known.most_common(1)[0][0] if known else None
