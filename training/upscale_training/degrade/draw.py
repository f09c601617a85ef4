"""Drawing a step's values from their ranges."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

Range = float | tuple[float, float]
"""A number as it stands, or (lowest, highest), from which each call draws anew."""

T = TypeVar("T")


def ends(of: Range) -> tuple[float, float]:
    """Lowest and highest. Raises ValueError where they are the wrong way round."""
    low, high = of if isinstance(of, tuple) else (of, of)
    if not low <= high:
        raise ValueError(f"a range is (lowest, highest), not {of}; swap the two")
    return low, high


def number(rng: np.random.Generator, of: Range) -> float:
    """Uniform between the ends."""
    low, high = ends(of)
    return float(rng.uniform(low, high))


def log_number(rng: np.random.Generator, of: Range) -> float:
    """Its logarithm is uniform between the ends', which are above 0: as many values below 1 as above in (0.1, 10)."""
    low, high = ends(of)
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def whole(rng: np.random.Generator, of: Range) -> int:
    """A whole number, both ends included."""
    low, high = ends(of)
    return int(rng.integers(round(low), round(high) + 1))


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def choice(rng: np.random.Generator, among: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of them; as likely as its weight, where there are weights. These need not add up to 1."""
    if weights is None:
        return among[int(rng.integers(len(among)))]
    total = list(accumulate(weights))
    return among[bisect_right(total, rng.random() * total[-1])]
