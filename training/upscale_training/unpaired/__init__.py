"""Learning a degradation from a folder of bad pictures without their originals.

    learned_from(Path("BAD/")).save(Path("bad.npz"))          # what was found, as arrays
    Recipe(…, degradation=pool_preset(Path("bad.npz")))        # in a recipe: scale → degradation

Kept is a pool: for each bad picture its blur, noise level, JPEG and later resize; and in common the noise's spectrum in luma and
chroma and how it grows with brightness. Each sample imitates one of the bad pictures.
"""

from upscale_training.unpaired.learning import learned_from
from upscale_training.unpaired.pool import Pool, Pooled, load_pool, pool_preset, summary

__all__ = ["Pool", "Pooled", "learned_from", "load_pool", "pool_preset", "summary"]
