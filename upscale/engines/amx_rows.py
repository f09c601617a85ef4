"""Rows of bf16 features in memory, as amx.c reads and writes them.

Rows are handled by their addresses: bands are joined and cut without a copy, and above and below a picture lies one and the same
row of zeros. What is freed is used again, since new memory costs more than what is computed into it.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CHANNELS = 32
"""Of a plane."""

PIXEL = 2 * CHANNELS
"""Bytes of a pixel in a plane."""

_TILE = 16

Bytes = npt.NDArray[np.uint8]
Addresses = npt.NDArray[np.int64]


def planes_for(channels: int) -> int:
    return -(-channels // CHANNELS)


@dataclass(frozen=True, slots=True)
class Features:
    """Consecutive rows: the address of the first pixel of each, and what keeps their memory."""

    addresses: Addresses
    memory: tuple["_Block", ...]

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, rows: slice) -> "Features":
        return Features(self.addresses[rows], self.memory)


def joined(parts: Sequence[Features]) -> Features:
    return Features(
        np.concatenate([part.addresses for part in parts]), tuple(block for part in parts for block in part.memory)
    )


def copied(rows: Features) -> Features:
    """The same in memory of their own."""
    store = rows.memory[0].store
    copy = store.take(len(rows))
    for source, target in zip(rows.addresses, copy.addresses, strict=True):
        ctypes.memmove(int(target) - PIXEL, int(source) - PIXEL, store.row)
    return copy


class Store:
    """Memory for rows of `width` pixels and so many planes, all zeros beside the picture."""

    def __init__(self, planes: int, width: int) -> None:
        self.width = width
        self.plane = (-(-width // _TILE) * _TILE + 2) * PIXEL
        self.row = planes * self.plane
        self._free: list[Bytes] = []
        self._zeros = self.take(1)

    def take(self, rows: int) -> Features:
        """Rows of anything, zeros beside the picture. Raises MemoryError."""
        free = [k for k, memory in enumerate(self._free) if rows <= len(memory) // self.row <= 2 * rows]
        best = min(free, key=lambda k: self._free[k].size, default=None)
        memory = np.zeros(rows * self.row + PIXEL, np.uint8) if best is None else self._free.pop(best)
        start = memory.ctypes.data
        first = start + -start % PIXEL + PIXEL
        return Features(first + self.row * np.arange(rows, dtype=np.int64), (_Block(memory, self),))

    def table(self, rows: Features, plane: int = 0) -> Addresses:
        """Addresses of a plane's rows, and before and behind them of zeros."""
        rim = self._zeros.addresses
        return np.concatenate((rim, rows.addresses + plane * self.plane, rim))

    def give_back(self, memory: Bytes) -> None:
        self._free.append(memory)

    def view(self, rows: Features) -> npt.NDArray[np.uint16]:
        """Rows that were taken at once, whole: (rows, planes, pixels, channels), pixel 0 being the second."""
        (block,) = rows.memory
        start = int(rows.addresses[0]) - PIXEL - block.memory.ctypes.data
        flat = block.memory[start : start + len(rows) * self.row].view(np.uint16)
        return flat.reshape(len(rows), self.row // self.plane, self.plane // PIXEL, CHANNELS)


class _Block:
    """Memory that goes back to its store when nobody holds it any more."""

    __slots__ = ("memory", "store")

    def __init__(self, memory: Bytes, store: Store) -> None:
        self.memory, self.store = memory, store

    def __del__(self) -> None:
        self.store.give_back(self.memory)
