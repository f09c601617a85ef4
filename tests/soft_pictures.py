"""Pictures for the training's tests: soft colored shapes with a little noise, a new one for each seed."""

from pathlib import Path

import cv2
import numpy as np


def drawn(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    """uint8 BGR (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = np.float32(rng.random((9, 12, 3)) * 255)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.uint8(np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255))


def folder_of(place: Path, seeds: range) -> Path:
    """`place`, made, with a PNG for each seed, named after it in two digits."""
    place.mkdir()
    for seed in seeds:
        cv2.imwrite(str(place / f"{seed:02}.png"), drawn(seed))
    return place
