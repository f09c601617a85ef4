"""Chance as a function of numbers: the same numbers give the same draws, on every machine and after every resume."""

import numpy as np
import torch


def seeded(*numbers: int) -> torch.Generator:
    """A generator on the CPU for these non-negative numbers (a seed, a step, a micro-batch, a purpose)."""
    seed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed))
