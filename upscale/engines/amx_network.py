"""The stages of the networks as programs for amx.c."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from upscale.bands import Step
from upscale.checkpoint import Checkpoint
from upscale.engines.amx_layers import (
    PICTURE_PARTS,
    Chunk,
    Layer,
    chunks,
    doubling,
    exact,
    kernel_exact,
    layer,
    of_picture,
)
from upscale.engines.amx_program import Program, Range, Rows, Stores
from upscale.engines.amx_rows import CHANNELS, Features, planes_for
from upscale.engines.bf16 import thirds
from upscale.image import Array, Floats
from upscale.keys import unit_layers
from upscale.spec import COMPACT_SLOPE, RESIDUAL, SLOPE
from upscale.stages import DENSE_RADIUS, UNITS_PER_BLOCK, Stage, hidden_convolutions

_SLOPES = {"leakyrelu": COMPACT_SLOPE, "relu": 0.0}

GROWING = DENSE_RADIUS - 1
"""Convolutions of a dense block that add channels; one more ends it."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a stage shall compute: a step of a picture of `height` feature rows and `width` columns, in memory of `stores`.
    `deep`: for a result of more than 8 bits; `rounded`: for one of uint8."""

    stage: Stage
    step: Step
    width: int
    height: int
    stores: Stores
    deep: bool
    rounded: bool

    def taken(self, role: str, planes: int, rows: Range, scale: int = 1) -> Rows:
        """New rows, of a picture `scale` times as large."""
        store = self.stores(role, planes, self.width * scale)
        return Rows(store.take(rows[1] - rows[0]), rows[0], store)

    def given(self, role: str, planes: int, features: Features, first: int) -> Rows:
        return Rows(features, first, self.stores(role, planes, self.width))

    def without(self, rows: Range, count: int) -> Range:
        """What so many 3×3 convolutions leave of rows that the step reads."""
        return (rows[0] + count * (not self.step.top), rows[1] - count * (not self.step.bottom))


def around(rows: Range, height: int) -> Range:
    """What a 3×3 convolution reads for these rows of a picture."""
    return max(0, rows[0] - 1), min(height, rows[1] + 1)


def picture_rows(pixels: Floats, stores: Stores) -> Features:
    """(rows, width, channels) of a picture as `of_picture` reads them."""
    height, width, channels = pixels.shape
    store = stores("picture", planes_for(PICTURE_PARTS * channels), width)
    features = store.take(height)
    lanes = np.concatenate(thirds(pixels), axis=2)
    for plane in range(planes_for(lanes.shape[2])):
        some = lanes[:, :, plane * CHANNELS : (plane + 1) * CHANNELS]
        for row, values in zip(store.views(features), some, strict=True):
            row[plane, 1 : width + 1, : some.shape[2]] = values
    return features


def place_of(channels: int, scale: int, width: int) -> npt.NDArray[np.int32]:
    """Where in a result's rows each channel of a pixel belongs: color, row and column in PyTorch's pixel-shuffle."""
    color, rest = np.divmod(np.arange(channels), scale * scale)
    row, column = np.divmod(rest, scale)
    return (row * width * scale * 3 + column * 3 + color).astype(np.int32)


class _Tail(NamedTuple):
    """Layers of an RRDBNet's tail; a doubling has four."""

    body: Layer
    doublings: list[list[Layer]]
    fine: Layer
    last: Layer


class Rrdb:
    """An RRDBNet. Its features are kept as bf16 and what rounding left over, which are as many planes again."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.spec, self._weights = checkpoint.spec, checkpoint.arrays
        self._planes, self._growth = planes_for(self.spec.features), planes_for(self.spec.growth)
        self._features, self._colors = range(self.spec.features), range(3 * self.spec.unshuffle**2)
        self._head = self._layer("conv_first", kernel_exact(0, of_picture(self._colors)))
        self._units: dict[int, list[Layer]] = {}
        self._tails: dict[bool, _Tail] = {}

    def head(self, program: Program, call: Call, picture: Features) -> Features:
        inputs = call.given("picture", planes_for(PICTURE_PARTS * len(self._colors)), picture, call.step.main[0])
        out = self._new(call, call.step.computed)
        program.to_rows(self._head, [inputs], out, call.step.computed, low=self._planes)
        return out.features

    def unit(self, program: Program, call: Call, main: Features, sides: Sequence[Features]) -> Features:
        """A dense block, the last of three with what the first began with; or whole residual blocks."""
        span, step = call.step.main, call.step
        x, grown = self._given(call, main, span[0]), call.taken("growth", GROWING * self._growth, span)
        if call.stage.units == 1:
            before = [self._given(call, sides[0], step.sides[0][0])] if sides else []
            out = self._new(call, step.computed)
            self._dense(program, call, call.stage.unit, [x, grown, *before], out, span)
            return out.features
        first, result = x, self._new(call, span)
        between = [self._new(call, span), self._new(call, span)]
        for unit in range(call.stage.unit, call.stage.unit + call.stage.units):
            place = unit % UNITS_PER_BLOCK
            last = place == UNITS_PER_BLOCK - 1
            # the first block's result will do for the others' too: a sum is read at the pixel that is written
            out = result if last else between[place]
            span = self._dense(program, call, unit, [x, grown, *[first] * last], out, span)
            x, first = out, out if last else first
        begin = call.step.main[0]
        return result.features[span[0] - begin : span[1] - begin]

    def tail(self, program: Program, call: Call, main: Features, sides: Sequence[Features]) -> Array:
        layers = self._tail(call.deep)
        doublings = layers.doublings
        size, steps = 2 ** len(doublings), list[Range]()
        rows = call.step.computed[0] * size, call.step.computed[1] * size
        smooth = around(rows, call.height * size)
        need = around(smooth, call.height * size)
        for scale in reversed([2**k for k in range(len(doublings))]):
            steps.insert(0, (need[0] // 2, -(-need[1] // 2)))
            need = around(steps[0], call.height * scale)
        x = self._new(call, need)
        first = self._given(call, sides[0], call.step.sides[0][0])
        program.to_rows(
            layers.body, [self._given(call, main, call.step.main[0])], x, need, low=self._planes, sums=[first]
        )
        for k, (phases, span) in enumerate(zip(doublings, steps, strict=True)):
            out = self._new(call, (2 * span[0], 2 * span[1]), 2 ** (k + 1), call.deep)
            for one in phases:
                program.to_rows(one, [x], out, span, low=self._planes * call.deep)
            x = out
        out = self._new(call, smooth, size, call.deep)
        program.to_rows(layers.fine, [x], out, smooth, low=self._planes * call.deep)
        result = finished(program, call, layers.last, [out], rows, size)
        program.chained(2)
        return result

    def _dense(self, program: Program, call: Call, unit: int, inputs: list[Rows], out: Rows, span: Range) -> Range:
        """`inputs`: the block's, its growing features' memory, and what is added around three blocks. Gives the rows left."""
        x, grown, *before = inputs
        *growing, last = self._unit(unit)
        for k, one in enumerate(growing):
            program.to_rows(one, [x, grown], grown, call.without(span, k + 1), plane=k * self._growth)
        span = call.without(span, GROWING + 1)
        program.to_rows(last, [x, grown], out, span, low=self._planes, sums=[x, *before])
        program.chained(GROWING + 1)
        return span

    def _new(self, call: Call, rows: Range, scale: int = 1, exact: bool = True) -> Rows:
        role, planes = ("features", 2 * self._planes) if exact else ("rounded", self._planes)
        return call.taken(role, planes, rows, scale)

    def _given(self, call: Call, features: Features, first: int) -> Rows:
        return call.given("features", 2 * self._planes, features, first)

    def _layer(self, name: str, parts: list[Chunk], slope: float = 1.0, scale: float = 1.0) -> Layer:
        return layer(self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], parts, slope, scale)

    def _unit(self, unit: int) -> list[Layer]:
        if unit not in self._units:
            *growing, last = unit_layers(self.spec, unit)
            parts, made, width = chunks(0, self._features), list[Layer](), self.spec.features
            for k, name in enumerate(growing):
                made.append(self._layer(name, parts, SLOPE))
                parts = [*parts, *chunks(1, range(width, width + self.spec.growth), plane=k * self._growth)]
                width += self.spec.growth
            self._units[unit] = [*made, self._layer(last, parts, scale=RESIDUAL)]
        return self._units[unit]

    def _tail(self, deep: bool) -> _Tail:
        if deep not in self._tails:
            inner = exact(0, self._features) if deep else chunks(0, self._features)
            names = [f"conv_up{k}" for k in range(1, self.spec.doublings + 1)]
            self._tails[deep] = _Tail(
                self._layer("conv_body", exact(0, self._features)),
                [doubling(self._weights, name, inner, SLOPE) for name in names],
                self._layer("conv_hr", inner, SLOPE),
                self._layer("conv_last", exact(0, self._features) if deep else kernel_exact(0, self._features)),
            )
        return self._tails[deep]


class Compact:
    """An SRVGGNetCompact. What its tail adds, the enlarged picture, is for it a few more channels with a kernel of ones."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.spec, self._weights = checkpoint.spec, checkpoint.arrays
        self._planes, self._features = planes_for(self.spec.features), range(self.spec.features)
        self._head = self._layer(0, kernel_exact(0, of_picture(range(3))))
        self._hidden = [self._layer(k + 1, chunks(0, self._features)) for k in range(self.spec.blocks)]
        self._last = self._ending()

    def head(self, program: Program, call: Call, picture: Features) -> Features:
        inputs, out = self._picture(call, picture, call.step.main[0]), self._new(call, call.step.computed)
        program.to_rows(self._head, [inputs], out, call.step.computed)
        return out.features

    def unit(self, program: Program, call: Call, main: Features, sides: Sequence[Features]) -> Features:
        span = call.step.main
        x = call.given("features", self._planes, main, span[0])
        for k in hidden_convolutions(self.spec, call.stage.unit):
            span = call.without(span, 1)
            out = self._new(call, span)
            program.to_rows(self._hidden[k], [x], out, span)
            x = out
        return x.features

    def tail(self, program: Program, call: Call, main: Features, sides: Sequence[Features]) -> Array:
        x = call.given("features", self._planes, main, call.step.main[0])
        picture = self._picture(call, sides[0], call.step.sides[0][0])
        return finished(program, call, self._last, [x, picture], call.step.computed, 1, self.spec.scale)

    def _picture(self, call: Call, features: Features, first: int) -> Rows:
        return call.given("picture", planes_for(PICTURE_PARTS * 3), features, first)

    def _new(self, call: Call, rows: Range) -> Rows:
        return call.taken("features", self._planes, rows)

    def _layer(self, number: int, parts: list[Chunk]) -> Layer:
        """`number` 0: the head's."""
        name = f"body.{2 * number}"
        prelu = self.spec.activation == "prelu"
        slopes = self._weights[f"body.{2 * number + 1}.weight"] if prelu else _SLOPES[self.spec.activation]
        return layer(self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], parts, slopes)

    def _ending(self) -> Layer:
        name, features = f"body.{2 * self.spec.blocks + 2}", self.spec.features
        kernel = self._weights[f"{name}.weight"]
        ones = np.zeros((len(kernel), 3, 3, 3), np.float32)
        ones[np.arange(len(kernel)), np.arange(len(kernel)) // self.spec.scale**2, 1, 1] = 1
        parts = [*kernel_exact(0, self._features), *chunks(1, of_picture(range(features, features + 3)))]
        return layer(np.concatenate((kernel, ones), axis=1), self._weights[f"{name}.bias"], parts)


def finished(
    program: Program, call: Call, last: Layer, inputs: list[Rows], rows: Range, size: int, shuffle: int = 1
) -> Array:
    """The picture's last convolution, at `size` times the features' size, and its pixel-shuffle: (rows, width, 3)."""
    width = call.width * size
    shape = (rows[1] - rows[0]) * shuffle, width * shuffle, 3
    result: Array = np.empty(shape, np.uint8 if call.rounded else np.float32)
    program.to_pixels(last, inputs, result, rows, place_of(last.outputs, shuffle, width), shuffle)
    return result
