"""Which plans exist for a picture, from the fastest to the one that needs least memory, and what each needs.

The ladder: trunk in one piece with smaller and smaller tail bands, then a banded trunk, then smaller bands. What a plan
needs is an estimate (on a CPU up to twice the truth, see tests/test_plans.py); where it was too low, an engine says so
(OutOfMemoryError) and the next plan is taken.
"""

from collections.abc import Sequence
from typing import Literal

from upscale.bands import BLOCK_ROWS, GRAIN, MIN_ROWS, Plan
from upscale.errors import UpscaleError
from upscale.spec import ModelSpec
from upscale.stages import DENSE_RADIUS, UNITS_PER_BLOCK, tail_margin, unit_count

Tile = Literal["auto", "whole"] | int
"""How a picture may be cut: as memory allows, in one piece, or in bands of at most so many input rows (though never
less than MIN_ROWS rows of features)."""

Rung = tuple[Plan, int]
"""A plan and the bytes it needs."""

_TAIL_ROWS = (32, 16, 8)
_SMALL = 1 << 15
"""Feature pixels up to which the tail runs in one piece first, which is up to a fifth faster; later the memory that it needs
makes it slower."""

_BAND_ROWS = (256, 128, 64, 48, 32, MIN_ROWS)
_WINDOWS = (256, 128, 64)
_FOREIGN_VALUES = 500
"""Values alive per output pixel of a foreign network: a guess on the safe side, transformers being the worst."""

_TRUNK_BYTES = {"amx": 4, "openvino": 22, "torch": 3}
"""Bytes alive for each feature pixel and channel of a unit's widest input, on a CPU in any precision. Measured:
OpenVINO holds several graphs with fp32 sums between their layers."""

_RRDB_BYTES = {True: 14, False: 26}
"""The same for OpenVINO and an RRDBNet: for whole residual blocks, and for single dense blocks, of which two graphs are
alive, with and without the sum around three of them."""

_GPU_VALUES = 3
"""The same in values, on a GPU: a dense block's input, its concatenation, and the next one being made."""

_TAIL_BYTES = {"amx": (3, 5), "openvino": (6, 6), "torch": (4, 4)}
"""For each value of a tail on a CPU; the second where more than 8 bits are wanted."""

_STREAM_BYTES = 4
_MARGIN = 1.25
_ALWAYS = {"amx": 96 << 20, "openvino": 160 << 20, "torch": 160 << 20}
"""Compiled graphs, where an engine has any, and what a heap keeps for itself."""

_HEIGHTS = 60 << 20
"""The graphs of an RRDBNet's units for one more height of a band: OpenVINO compiles for each, until they are all alike."""


def check_tile(tile: Tile) -> Tile:
    """Raises UpscaleError for a number of rows that makes no band."""
    if isinstance(tile, int) and tile < MIN_ROWS:
        raise UpscaleError(f"--tile {tile}: a band has at least {MIN_ROWS} rows")
    return tile


def ladder(spec: ModelSpec, width: int, height: int, tile: Tile) -> list[Plan]:
    """Plans for a padded picture of the given size in input pixels, in the order in which they are tried."""
    if spec.arch == "foreign":
        return [Plan(edge, edge) for edge in _window_edges(max(width, height), tile)]
    rows = height // spec.unshuffle
    limit = max(MIN_ROWS, tile // spec.unshuffle) if isinstance(tile, int) else rows
    plans: list[Plan] = []
    if limit >= rows:
        if rows > _TAIL_ROWS[0] and rows * (width // spec.unshuffle) <= _SMALL:
            plans.append(Plan(rows, rows))
        plans += [Plan(rows, min(rows, tail)) for tail in _TAIL_ROWS]
    largest = limit - limit % GRAIN if limit < rows else _BAND_ROWS[0]
    for band in (largest, *(band for band in _BAND_ROWS if band < largest)):
        if band < rows:
            plans.append(Plan(band, _TAIL_ROWS[1] if band >= 48 else _TAIL_ROWS[2]))
    return plans


def bytes_needed(
    spec: ModelSpec, width: int, height: int, plan: Plan, value_bytes: int, *, engine: str, device: str, deep: bool
) -> int:
    """An estimate of the memory that a plan needs beside the weights, the input and the output.

    `value_bytes`: of one value inside the trunk (2 or 4). `deep`: more than 8 bits are wanted of the result.
    """
    if spec.arch == "foreign":
        pixels = min(height, plan.rows + 64) * min(width, plan.rows + 64)
        return pixels * _FOREIGN_VALUES * spec.scale**2 * value_bytes
    rows, columns = height // spec.unshuffle, width // spec.unshuffle
    on_gpu = device != "cpu"
    in_blocks = spec.arch == "rrdb" and engine == "openvino" and plan.rows >= min(rows, BLOCK_ROWS)
    radius = DENSE_RADIUS * (UNITS_PER_BLOCK if in_blocks else 1) if spec.arch == "rrdb" else UNITS_PER_BLOCK
    band = min(rows, plan.rows + 2 * radius)
    on_cpu = _RRDB_BYTES[in_blocks] if spec.arch == "rrdb" and engine == "openvino" else _TRUNK_BYTES[engine]
    trunk = band * _widest(spec) * (_GPU_VALUES * value_bytes if on_gpu else on_cpu)
    streams = _kept_rows(spec, rows, plan, band, radius) * spec.features * _STREAM_BYTES
    tail_bytes = (4 if deep else 2 + value_bytes // 2) if on_gpu else _TAIL_BYTES[engine][deep]
    tail = (min(rows, plan.tail_rows) + 2 * tail_margin(spec, spec.doublings) + 2) * _tail_values(spec) * tail_bytes
    heights = 0 if plan.rows >= rows or spec.arch != "rrdb" or engine != "openvino" else min(plan.rows // GRAIN, 8)
    return int(_MARGIN * columns * (trunk + streams + tail)) + _ALWAYS[engine] + heights * _HEIGHTS


def fitting(ladders: Sequence[Sequence[Rung]], budget: int) -> list[Rung]:
    """For each pass over a picture the first rung with which all passes together, being under way at once, stay within
    `budget` bytes; where there is none, the one that needs least. The last and largest pass has the first choice."""
    chosen: list[Rung] = []
    for index in reversed(range(len(ladders))):
        left = budget - sum(min(_needs(rungs)) for rungs in ladders[:index]) - sum(_needs(chosen))
        rungs = ladders[index]
        chosen.insert(0, next((rung for rung in rungs if rung[1] <= left), min(rungs, key=lambda rung: rung[1])))
    return chosen


def passes(scale: float, native: int) -> int:
    """How often the network runs: until the picture is large enough, once at least; never below scale 1."""
    if scale < 1:
        return 0
    count = 1
    while native > 1 and native**count < scale * (1 - 1e-9):
        count += 1
    return count


def _needs(rungs: Sequence[Rung]) -> list[int]:
    return [need for _, need in rungs]


def _window_edges(side: int, tile: Tile) -> list[int]:
    """Edges of a foreign network's windows: as asked, then smaller; a whole picture only where asked, or small."""
    if tile == "auto":
        return [edge for edge in _WINDOWS if edge < side] or [side]
    first = side if tile == "whole" else min(side, tile)
    return [first, *(edge for edge in _WINDOWS if edge < first)]


def _widest(spec: ModelSpec) -> int:
    """Channels of the widest input of a unit's convolutions."""
    return spec.features + 4 * spec.growth if spec.arch == "rrdb" else spec.features


def _kept_rows(spec: ModelSpec, rows: int, plan: Plan, band: int, radius: int) -> int:
    """Rows of features handed from unit to unit: input, output and, in an RRDBNet, two residuals around them."""
    streams = 4 if spec.arch == "rrdb" else 2
    if plan.rows >= rows:
        return streams * rows
    return min(streams * rows, (streams - 1) * band + unit_count(spec) * (2 * radius + 2))


def _tail_values(spec: ModelSpec) -> int:
    if spec.arch == "rrdb":
        held = 3 if spec.upsampling == "nearest" else 4  # before, within and after a doubling
        return held * spec.features * 4**spec.doublings
    return 3 * 3 * spec.scale**2
