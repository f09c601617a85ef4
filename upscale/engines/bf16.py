"""Numbers as bf16, whose bits are the upper 16 of an fp32 number's: one, or several whose sum is more exact."""

import numpy as np
import numpy.typing as npt

from upscale.image import Floats

Bits = npt.NDArray[np.uint16]


def bf16(values: Floats) -> Bits:
    """The bits of values rounded to the nearest bf16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def split(values: Floats, parts: int) -> list[Bits]:
    """Values as the sum of so many bf16 ones, each the nearest to what is left: two hold 16 bits of their 24."""
    found: list[Bits] = []
    for _ in range(parts):
        found.append(bf16(values))
        values = values - (found[-1].astype(np.uint32) << 16).view(np.float32)
    return found


def thirds(values: Floats) -> list[Bits]:
    """Values as the sum of three bf16 ones, which is exact: each holds 8 of the 24 bits. Cut off, which is quicker."""
    values, found = np.ascontiguousarray(values, np.float32), list[Bits]()
    for _ in range(3):
        found.append((values.view(np.uint32) >> 16).astype(np.uint16))
        values = values - (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return found
