"""A list of operations for amx.c, made for given rows and run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from upscale.engines.amx_layers import TILE, Layer
from upscale.engines.amx_library import Operation, cores, run
from upscale.engines.amx_rows import Features, Store
from upscale.image import Array

_AT_ONCE = 1 << 36
"""Multiply-adds after which Ctrl-C is looked for: some 40 ms on two cores."""

_PRODUCTS = 512
"""Of 32 channels with 16, for each pixel."""

_ENTRY = 8

Range = tuple[int, int]
"""Rows of a picture: from the first to before the last."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of features that begin with row `first` of their picture, in memory of a store."""

    features: Features
    first: int
    store: Store


@dataclass(slots=True)
class Program:
    """Operations in the order in which they shall run, and what keeps their memory until then."""

    operations: list[Operation] = field(default_factory=list[Operation])
    _held: list[Any] = field(default_factory=list[Any])
    _broken: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(1, np.int32))
    _tables: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    def to_rows(
        self,
        layer: Layer,
        inputs: Sequence[Rows],
        out: Rows,
        span: Range,
        *,
        plane: int = 0,
        low: int = 0,
        sums: Sequence[Rows] = (),
    ) -> None:
        """Rows `span` of the layer's result into planes from `plane` on; `low`: how many planes further what rounding left
        over is kept, 0 for nowhere. Sums have theirs there too."""
        operation = self._reading(layer, inputs, span)
        operation.out = self._table(out, plane)
        operation.plane, operation.low = out.store.plane, low * out.store.plane
        for k, one in enumerate(sums):
            operation.sums[k] = self._table(one)

    def to_pixels(
        self,
        layer: Layer,
        inputs: Sequence[Rows],
        result: Array,
        span: Range,
        place: npt.NDArray[np.int32],
        shuffle: int,
    ) -> None:
        """Rows `span`, each pixel as `shuffle`² ones; channel c is put `place[c]` values behind the first of them. They
        are clipped, and for a uint8 result rounded."""
        operation = self._reading(layer, inputs, span)
        operation.pixels, operation.row = result.ctypes.data, shuffle * result.strides[0] // result.itemsize
        operation.step = shuffle * result.shape[2]
        places = np.zeros(operation.tiles * TILE, np.int32)
        places[: len(place)] = place
        operation.place, operation.channels = places.ctypes.data, len(place)
        operation.bytes, operation.broken = int(result.dtype == np.uint8), self._broken.ctypes.data
        self._held += [result, places]

    def chained(self, count: int) -> None:
        """The latest `count` operations, each of which reads what the one before gave, are run together."""
        for operation in self.operations[-count:]:
            operation.chain = 0
        self.operations[-count].chain = count

    @property
    def broken(self) -> bool:
        """Whether a pixel was not finite before it was clipped."""
        return bool(self._broken[0])

    def run(self) -> None:
        """Raises MemoryError; between chains KeyboardInterrupt."""
        threads, first, work = cores(), 0, 0
        for index, operation in enumerate(self.operations):
            if operation.chain and work > _AT_ONCE:
                run(self.operations[first:index], threads)
                first, work = index, 0
            work += operation.rows * operation.width * operation.tiles * operation.chunks * operation.taps * _PRODUCTS
        run(self.operations[first:], threads)

    def _reading(self, layer: Layer, inputs: Sequence[Rows], span: Range) -> Operation:
        operation = Operation.from_buffer_copy(layer.operation)
        tables = [self._table(one) for one in inputs]
        count = len(layer.chunks)
        operation.inputs[:count] = [tables[chunk.source] for chunk in layer.chunks]
        operation.input_at[:count] = [chunk.plane * inputs[chunk.source].store.plane for chunk in layer.chunks]
        operation.top, operation.rows, operation.width = span[0], span[1] - span[0], inputs[0].store.width
        self.operations.append(operation)
        self._held.append(layer)
        return operation

    def _table(self, rows: Rows, plane: int = 0) -> int:
        """The address at which the address of row 0 would lie."""
        key = id(rows), plane
        if key not in self._tables:
            table = rows.store.table(rows.features, plane)
            self._tables[key] = table.ctypes.data - _ENTRY * (rows.first - 1)
            self._held += [table, rows]  # a held object keeps its id
        return self._tables[key]


Stores = Callable[[str, int, int], Store]
"""Memory for features: of a role, with so many planes, of a width."""
