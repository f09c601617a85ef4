"""A network as a chain of row stages, so that any engine can run it in bands of rows and get the whole's result.

A stage turns rows of its input streams into rows of its output stream: head → unit → unit → … → tail. All streams are counted in
*feature rows* (`spec.unshuffle` picture rows each); the tail gives `factor` picture rows for each.

A unit is one dense block of an RRDBNet (radius 5, three of them in a residual block) or a few hidden convolutions of an
SRVGGNetCompact; an engine that saves by handing on less can take whole residual blocks at once (radius 15 each). The tail looks
only a few rows around, yet it is where the enlarged features need most memory.
"""

from dataclasses import dataclass
from typing import Literal

from upscale.doubling import REACH
from upscale.spec import ModelSpec

UNITS_PER_BLOCK = 3
"""Dense blocks in one residual-in-residual block; also how many hidden convolutions of a compact network make a unit:
more of them would recompute more at the bands' edges."""

DENSE_RADIUS = 5
"""A dense block is five 3×3 convolutions in a row."""

TAIL_MARGIN = 2
"""Rows around its own that an RRDBNet's tail needs of the trunk's last convolution, and again after each doubling: a
doubling of 2 rows gives 4, of which the next convolutions use at most 3."""

Role = Literal["head", "unit", "tail"]


@dataclass(frozen=True, slots=True)
class Convolution:
    """One 3×3 convolution's cost: multiply-adds per feature pixel, and how many feature rows on each side it computes
    beyond the stage's own."""

    macs: int
    margin: float


@dataclass(frozen=True, slots=True)
class Stage:
    """Rows [a, b) of the output come from rows [a - radius, b + radius) of the main input, cut at the picture's rim.

    Its convolutions pad with zeros at the picture's rim alone, so that elsewhere each loses a row. `sides` are further
    inputs: (name, rows around the stage's own rows). `unit` is the number of a unit in the trunk, or of the first of `units`.
    """

    role: Role
    main: str
    radius: int
    output: str
    sides: tuple[tuple[str, int], ...] = ()
    unit: int = 0
    units: int = 1
    factor: int = 1
    convolutions: tuple[Convolution, ...] = ()


def stages(spec: ModelSpec, blocks: int = 0) -> tuple[Stage, ...]:
    """The chain of a network of this repository. Raises ValueError for foreign ones, which have no known inside.

    `blocks`: an RRDBNet's residual blocks, so many of them as one stage, which compute more rows again at a band's edges.
    """
    if spec.arch == "foreign":
        raise ValueError("foreign networks run in windows, not in bands")
    head = Stage("head", "picture", 1, _stream(0), convolutions=(Convolution(_head_macs(spec), 0),))
    units = unit_count(spec)
    if blocks and spec.arch == "rrdb":
        trunk = [_blocks(spec, first, min(blocks, spec.blocks - first)) for first in range(0, spec.blocks, blocks)]
    else:
        trunk = [_unit(spec, index) for index in range(units)]
    return (head, *trunk, _tail(spec, units))


def unit_count(spec: ModelSpec) -> int:
    """Dense blocks of an RRDBNet; groups of hidden convolutions of an SRVGGNetCompact."""
    return spec.blocks * UNITS_PER_BLOCK if spec.arch == "rrdb" else -(-spec.blocks // UNITS_PER_BLOCK)


def hidden_convolutions(spec: ModelSpec, unit: int) -> range:
    """Which hidden convolutions (0-based) a unit of an SRVGGNetCompact holds."""
    return range(unit * UNITS_PER_BLOCK, min((unit + 1) * UNITS_PER_BLOCK, spec.blocks))


def tail_margin(spec: ModelSpec, left: int) -> int:
    """Rows around its own that an RRDBNet's tail needs where `left` doublings are still to come.

    The filter of alias-free doubling takes REACH rows away before each: m rows give 2(m - REACH), less one for the
    convolution, which must be what the next doubling needs.
    """
    return TAIL_MARGIN if spec.upsampling == "nearest" or left == 0 else 4 + left


def tail_surplus(spec: ModelSpec, left: int) -> int:
    """Rows too many on each side after a doubling and its convolution, with `left` more to come."""
    lost = 0 if spec.upsampling == "nearest" else REACH
    return 2 * (tail_margin(spec, left + 1) - lost) - 1 - tail_margin(spec, left)


def total_macs(spec: ModelSpec) -> int:
    """Multiply-adds per feature pixel of the whole network."""
    return sum(conv.macs for stage in stages(spec) for conv in stage.convolutions)


def macs_per_pixel(spec: ModelSpec) -> int:
    """Multiply-adds per input pixel; after pixel-unshuffle a network sees fewer."""
    return round(total_macs(spec) / spec.unshuffle**2)


def _stream(unit: int) -> str:
    return f"features{unit}"


def _unit(spec: ModelSpec, unit: int) -> Stage:
    main, output = _stream(unit), _stream(unit + 1)
    if spec.arch == "compact":
        count = len(hidden_convolutions(spec, unit))
        cost = 9 * spec.features**2
        convolutions = tuple(Convolution(cost, count - 1 - k) for k in range(count))
        return Stage("unit", main, count, output, (), unit, convolutions=convolutions)
    ends_block = (unit + 1) % UNITS_PER_BLOCK == 0
    sides = ((_stream(unit + 1 - UNITS_PER_BLOCK), 0),) if ends_block else ()  # the residual around the whole block
    convolutions = tuple(Convolution(macs, margin) for macs, margin in _dense_macs(spec))
    return Stage("unit", main, DENSE_RADIUS, output, sides, unit, convolutions=convolutions)


def _blocks(spec: ModelSpec, first: int, count: int) -> Stage:
    """Residual blocks: dense blocks, each of which needs the rows that the later ones lose."""
    units = count * UNITS_PER_BLOCK
    later = [DENSE_RADIUS * k for k in reversed(range(units))]
    convolutions = tuple(Convolution(macs, margin + rows) for rows in later for macs, margin in _dense_macs(spec))
    unit = first * UNITS_PER_BLOCK
    main, output = _stream(unit), _stream(unit + units)
    return Stage("unit", main, DENSE_RADIUS * units, output, (), unit, units, convolutions=convolutions)


def _dense_macs(spec: ModelSpec) -> list[tuple[int, int]]:
    nf, gc = spec.features, spec.growth
    outputs = (gc, gc, gc, gc, nf)
    return [(9 * (nf + k * gc) * out, 4 - k) for k, out in enumerate(outputs)]


def _head_macs(spec: ModelSpec) -> int:
    return 9 * 3 * spec.unshuffle**2 * spec.features


def _tail(spec: ModelSpec, units: int) -> Stage:
    last, nf = _stream(units), spec.features
    if spec.arch == "compact":
        convolutions = (Convolution(9 * nf * 3 * spec.scale**2, 0),)
        return Stage("tail", last, 1, "enlarged", (("picture", 0),), factor=spec.scale, convolutions=convolutions)
    factor = 2**spec.doublings
    levels = tuple(_level(spec, k) for k in range(spec.doublings + 1))
    fine = (Convolution(9 * nf**2 * factor**2, 1 / factor), Convolution(9 * nf * 3 * factor**2, 0))
    margin = tail_margin(spec, spec.doublings)
    sides = ((_stream(0), margin),)
    return Stage("tail", last, margin + 1, "enlarged", sides, factor=factor, convolutions=(*levels, *fine))


def _level(spec: ModelSpec, doubled: int) -> Convolution:
    """The convolution after `doubled` doublings, and the filter of the last one."""
    kernel = 9 * spec.features**2
    filtered = 0 if spec.upsampling == "nearest" or doubled == 0 else spec.features * (2 * REACH + 1) ** 2
    return Convolution((kernel + filtered) * 4**doubled, tail_margin(spec, spec.doublings - doubled) / 2**doubled)
