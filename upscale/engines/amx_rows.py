"""Rows of bf16 features in memory, as amx.c reads and writes them.

Rows are handled by their addresses: bands are joined and cut without a copy, and above and below a picture lies one and the same
row of zeros. Memory is handed out in blocks of a few rows: of a band of which some rows are still needed only those stay. What
is freed is used again, since new memory costs more than what is computed into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from upscale.engines.bf16 import Bits

CHANNELS = 32
"""Of a plane."""

PIXEL = 2 * CHANNELS
"""Bytes of a pixel in a plane."""

_TILE = 16

_ROWS = 8
"""Of a block."""

Addresses = npt.NDArray[np.int64]


def planes_for(channels: int) -> int:
    return -(-channels // CHANNELS)


@dataclass(frozen=True, slots=True)
class Features:
    """Consecutive rows: of each the address of its first pixel, and the memory that it lies in."""

    addresses: Addresses
    memory: tuple["_Block", ...]

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, rows: slice) -> "Features":
        return Features(self.addresses[rows], self.memory[rows])


def joined(parts: Sequence[Features]) -> Features:
    return Features(
        np.concatenate([part.addresses for part in parts]), tuple(block for part in parts for block in part.memory)
    )


class Store:
    """Memory for rows of `width` pixels and so many planes, all zeros beside the picture."""

    def __init__(self, planes: int, width: int) -> None:
        self.width = width
        self.plane = (-(-width // _TILE) * _TILE + 2) * PIXEL
        self.row = planes * self.plane
        self._free: list[tuple[int, Bits]] = []
        self._rim = _aligned(self.row)

    def take(self, rows: int) -> Features:
        """Rows of anything, zeros beside the picture. Raises MemoryError."""
        count = -(-rows // _ROWS)
        if count > len(self._free):
            self._grow(count - len(self._free))
        free = sorted(
            self._free[-count:], key=_start
        )  # side by side lies what one thread computed: its cache may know it
        del self._free[-count:]
        starts = np.array([start for start, _ in free], np.int64)
        addresses = (starts[:, None] + (PIXEL + self.row * np.arange(_ROWS))).ravel()[:rows]
        blocks = [_Block(start, memory, self) for start, memory in free]
        return Features(addresses, tuple(block for block in blocks for _ in range(_ROWS))[:rows])

    def table(self, rows: Features, plane: int = 0) -> Addresses:
        """Addresses of a plane's rows, and before and behind them of zeros."""
        rim = [self._rim.ctypes.data + PIXEL]
        return np.concatenate((rim, rows.addresses + plane * self.plane, rim))

    def give_back(self, start: int, memory: Bits) -> None:
        self._free.append((start, memory))

    def views(self, rows: Features) -> list[Bits]:
        """Each row, whole: (planes, pixels, channels), pixel 0 being the second."""
        starts = [
            int(address) - PIXEL - block.start for address, block in zip(rows.addresses, rows.memory, strict=True)
        ]
        shape = -1, self.plane // PIXEL, CHANNELS
        return [
            block.memory[start // 2 : (start + self.row) // 2].reshape(shape)
            for start, block in zip(starts, rows.memory, strict=True)
        ]

    def _grow(self, blocks: int) -> None:
        size = _ROWS * self.row
        memory = _aligned(blocks * size)
        first: int = memory.ctypes.data
        self._free += zip(range(first, first + blocks * size, size), np.split(memory, blocks), strict=True)


class _Block:
    """Memory that goes back to its store when nobody holds it any more."""

    __slots__ = ("memory", "start", "store")

    def __init__(self, start: int, memory: Bits, store: Store) -> None:
        self.start, self.memory, self.store = start, memory, store

    def __del__(self) -> None:
        self.store.give_back(self.start, self.memory)


def _start(block: tuple[int, Bits]) -> int:
    return block[0]


def _aligned(size: int) -> Bits:
    """So many bytes of zeros, from a whole pixel on, and a tile's behind them: in strips the last tile of a row begins some
    pixels early and is read beyond the row's end. Raises MemoryError."""
    memory = np.zeros(size + PIXEL + _TILE * PIXEL, np.uint8)
    start = -memory.ctypes.data % PIXEL
    return memory[start : start + size].view(np.uint16)
