"""One picture larger, band by band: padding, the network's passes, the final resampling, alpha, and the memory ladder.

The result is defined by the picture alone: padded by a few replicated pixels, run through the network in one piece, cut,
resampled if need be, rounded. Every way of cutting it into bands gives that result.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine, Progress
from upscale.engines.choose import Wish, choose, open_engine
from upscale.engines.machine import free_bytes
from upscale.errors import NotFiniteError, OutOfMemoryError
from upscale.image import Array, Floats, Image, from_float, to_float
from upscale.plans import Rung, Tile, bytes_needed, fitting, ladder, passes
from upscale.resample import catmull_rom, resampled
from upscale.rows import Padding, RowReader, bands, cropped, padded

PADDING = 4
"""Replicated pixels around a picture. Measured on x4plus and animevideov3 (saturated flat areas: error at the rim 76 and 24
levels without, 25 and 6.5 with 4, no better with more); photographs gain little beyond."""

WRAP_PADDING = 32
"""Pixels taken from the opposite side where the picture tiles: past these a network's view has faded."""

_SHARE_OF_FREE = 0.6
_INPUT_ROWS = 64

Wrap = Literal["none", "x", "y", "xy"]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What will be done to one picture; all sizes in pixels."""

    width: int
    height: int
    scale: float
    passes: int
    out_width: int
    out_height: int
    plans: tuple[Plan, ...]
    bytes_needed: int


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Finished rows of the result: rgb (n, width, 3), alpha (n, width) or None, of the input's dtype."""

    rgb: Array
    alpha: Array | None


class Enlarger:
    """A model on an engine, for any number of pictures. Remembers what the device's memory and precision allowed.

    `report` is told, in one line each, when memory runs short or a result is not finite.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        wish: Wish | None = None,
        tile: Tile = "auto",
        wrap: Wrap = "none",
        report: Report | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        choice = choose(checkpoint, wish or Wish())
        self.engine: Engine = choice.engine
        self.reason = choice.reason
        self._tile: Tile = tile
        self._wrap: Wrap = wrap
        self._report = report
        self._budget: int | None = None
        self.warnings: list[str] = []
        for warning in choice.warnings:
            self._tell(warning)

    @property
    def model(self) -> str:
        return self._checkpoint.spec.name

    @property
    def scale(self) -> int:
        return self._checkpoint.spec.scale

    def job(self, width: int, height: int, scale: float, dtype: npt.DTypeLike = np.uint8) -> Job:
        """The plan for one picture, computed without touching it. Raises ValueError for a scale outside 0.5..16."""
        if not 0.5 <= scale <= 16:
            raise ValueError(f"the scale must lie in 0.5..16, not {scale:g}")
        count = passes(scale, self.scale)
        last = self._is_last(count - 1, count, width, height, scale)
        ladders: list[list[Rung]] = []
        for index in range(count):
            deep = np.dtype(dtype) != np.uint8 or not last or index < count - 1
            grown = self.scale**index
            ladders.append(self._ladder(width * grown, height * grown, deep))
        rungs = fitting(ladders, self._allowed()) if ladders else []
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return Job(width, height, scale, count, *size, tuple(plan for plan, _ in rungs), sum(need for _, need in rungs))

    def enlarge(self, image: Image, scale: float, progress: Progress | None = None) -> Image:
        """The whole result in memory."""
        parts = list(self.bands(image, scale, progress))
        alpha = (
            None if image.alpha is None else np.concatenate([part.alpha for part in parts if part.alpha is not None])
        )
        return Image(np.concatenate([part.rgb for part in parts]), alpha, image.color, image.metadata)

    def bands(self, image: Image, scale: float, progress: Progress | None = None) -> Iterator[Band]:
        """The result in bands, top to bottom. Memory that runs short or a result that is not finite starts the picture
        again in another way; since every way gives the same rows, those given already are skipped."""
        job = self.job(image.width, image.height, scale, image.rgb.dtype)
        alpha = self._alpha(image, job)
        done = 0
        while True:
            try:
                for rgb in cropped(self._attempt(image, job, progress), done, 0, job.out_height - done, job.out_width):
                    done += rgb.shape[0]
                    rows = None if alpha is None else from_float(alpha.read(rgb.shape[0])[..., 0], rgb.dtype)
                    yield Band(rgb, rows)
                return
            except OutOfMemoryError as error:
                self._less_memory(job, image.rgb.dtype, error)
            except NotFiniteError as error:
                self._exact(error)
            job = self.job(image.width, image.height, scale, image.rgb.dtype)

    def close(self) -> None:
        self.engine.close()

    def _attempt(self, image: Image, job: Job, progress: Progress | None) -> Iterator[Array]:
        """The picture's rows from scratch: passes, then one resampling, then the input's dtype."""
        dtype = image.rgb.dtype
        rows: Iterator[Floats] = (to_float(band) for band in bands(image.rgb, _INPUT_ROWS))
        width, height = job.width, job.height
        shares = _shares(progress, job.passes, self.scale)
        for index, plan in enumerate(job.plans):
            last = self._is_last(index, job.passes, job.width, job.height, job.scale)
            rows = self._pass(rows, width, height, plan, dtype if last else np.float32, shares[index])
            width, height = width * self.scale, height * self.scale
            if last:
                yield from rows
                return
        if (width, height) != (job.out_width, job.out_height):
            rows = resampled(rows, (height, width), (job.out_height, job.out_width))
        for band in rows:
            yield from_float(band, dtype)

    def _pass(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None,
    ) -> Iterator[Array]:
        pad, s = self._padding(width, height), self.scale
        wide, high = width + pad.left + pad.right, height + pad.top + pad.bottom
        finished = self.engine.run(padded(rows, pad), wide, high, plan, dtype, progress)
        return cropped(finished, pad.top * s, pad.left * s, height * s, width * s)

    def _is_last(self, index: int, count: int, width: int, height: int, scale: float) -> bool:
        """Whether this pass gives the final pixels, with no resampling after it."""
        grown = self.scale ** (index + 1)
        return index == count - 1 and (round(width * scale), round(height * scale)) == (width * grown, height * grown)

    def _padding(self, width: int, height: int) -> Padding:
        multiple = self._checkpoint.spec.multiple
        wrap_x, wrap_y = "x" in self._wrap, "y" in self._wrap
        x, y = (WRAP_PADDING if wrap else PADDING for wrap in (wrap_x, wrap_y))
        right, bottom = x + -(width + 2 * x) % multiple, y + -(height + 2 * y) % multiple
        return Padding(x, right, y, bottom, wrap_x, wrap_y)

    def _ladder(self, width: int, height: int, deep: bool) -> list[Rung]:
        """The plans of one pass over a picture of this size, and what each needs."""
        spec, engine, pad = self._checkpoint.spec, self.engine, self._padding(width, height)
        size = width + pad.left + pad.right, height + pad.top + pad.bottom
        value_bytes = 4 if engine.precision == "fp32" else 2
        where = {"engine": engine.name, "device": engine.device}
        plans = ladder(spec, *size, self._tile)
        return [(plan, bytes_needed(spec, *size, plan, value_bytes, **where, deep=deep)) for plan in plans]

    def _allowed(self) -> int:
        """Bytes that a job may need: a share of what is free, and less than what has failed before."""
        share = int(_SHARE_OF_FREE * free_bytes(self.engine.device))
        return share if self._budget is None else min(share, self._budget)

    def _less_memory(self, job: Job, dtype: npt.DTypeLike, error: OutOfMemoryError) -> None:
        """The next rung: a budget below what has just failed, or the CPU where no smaller plan is left."""
        # One pass takes rung by rung; of several, whose rungs combine in a hundred ways, a tenth less each time.
        self._budget = job.bytes_needed - 1 if job.passes == 1 else int(0.9 * job.bytes_needed)
        smaller = self.job(job.width, job.height, job.scale, dtype)
        if smaller.bytes_needed < job.bytes_needed:
            rows = ", ".join(f"{plan.rows}+{plan.tail_rows}" for plan in smaller.plans)
            self._tell(f"{error}: going on in bands of {rows} rows, also for the pictures after this one")
            return
        if self.engine.device == "cpu":
            raise error
        self._tell(f"{error}, even in the smallest bands: going on with the CPU")
        self.engine.close()
        self.engine = choose(self._checkpoint, Wish(device="cpu")).engine
        self._budget = None

    def _exact(self, error: NotFiniteError) -> None:
        if self.engine.precision == "fp32":
            raise NotFiniteError(f"{error}: the weights are damaged, or the picture holds NaN") from error
        self._tell(f"{error}: going on in fp32, also for the pictures after this one")
        name, device = self.engine.name, self.engine.device
        self.engine.close()
        self.engine = open_engine(self._checkpoint, name, device, "fp32")

    def _tell(self, message: str) -> None:
        self.warnings.append(message)
        if self._report:
            self._report(message)

    def _alpha(self, image: Image, job: Job) -> RowReader | None:
        if image.alpha is None:
            return None
        rows = bands(to_float(image.alpha)[..., None], _INPUT_ROWS)
        return RowReader(resampled(rows, (job.height, job.width), (job.out_height, job.out_width), catmull_rom))


def _shares(progress: Progress | None, passes: int, scale: int) -> list[Progress | None]:
    """For each pass whom to tell its progress. They run at once, each at scale² times the cost of the one before."""
    if progress is None:
        return [None] * passes
    costs = [scale ** (2 * k) for k in range(passes)]
    finished = [0.0] * passes

    def told(index: int, done: float) -> None:
        finished[index] = done
        progress(sum(cost * part for cost, part in zip(costs, finished, strict=True)) / sum(costs))

    return [partial(told, index) for index in range(passes)]
