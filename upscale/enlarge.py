"""A model on an engine, ready for pictures: which passes and plans, the engine's padding, and the memory ladder.

The result is defined by the picture alone: padded by a few replicated pixels, run through the network in one piece, cut,
and finished by the steps of chain.py. Every way of cutting it into bands gives that result.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from upscale.bands import Plan
from upscale.chain import Geometry, Settings, enlarged, geometry_of
from upscale.checkpoint import Checkpoint, digest
from upscale.colorfix import Shift
from upscale.engines import Engine, Progress
from upscale.engines.choose import Wish, choose, open_engine
from upscale.engines.machine import free_bytes
from upscale.ensemble import VERSIONS, averaged
from upscale.errors import NotFiniteError, OutOfMemoryError
from upscale.image import Array, Band, Floats, Image, Picture, is_deep, joined
from upscale.plans import Rung, bytes_needed, fitting, ladder, passes
from upscale.rows import Padding, cropped, padded
from upscale.sizes import Size
from upscale.spec import ModelSpec

PADDING = 4
"""Replicated pixels around a picture. Measured on x4plus and animevideov3 (saturated flat areas: error at the rim 76 and 24
levels without, 25 and 6.5 with 4, no better with more); photographs gain little beyond."""

_SHARE_OF_FREE = 0.6

_ENOUGH = {"cpu": 800 << 20}
"""Bytes of working memory past which higher bands gain nothing on a device (measured: benchmarks/exactness.py)."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What will be done to one picture; all sizes in pixels. `mask_plans`: where the network enlarges transparency too.
    `bytes_needed`: for the network, beside the picture; `bytes_whole`: for pictures that must be whole in memory.
    """

    geometry: Geometry
    passes: int
    plans: tuple[Plan, ...]
    mask_plans: tuple[Plan, ...]
    bytes_needed: int
    bytes_whole: int = 0

    @property
    def out_width(self) -> int:
        return self.geometry.out_width

    @property
    def out_height(self) -> int:
        return self.geometry.out_height


class Enlarger:
    """A model on an engine, for any number of pictures. Remembers what the device's memory and precision allowed.

    `report` is told, in one line each, when memory runs short or a result is not finite.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        wish: Wish | None = None,
        settings: Settings | None = None,
        report: Report | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        choice = choose(checkpoint, wish or Wish())
        self.engine: Engine = choice.engine
        self.reason = choice.reason
        self.settings = settings or Settings()
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

    @property
    def spec(self) -> ModelSpec:
        return self._checkpoint.spec

    @property
    def digest(self) -> str:
        """Changes with the network or any of its parameters."""
        return digest(self._checkpoint)

    def job(
        self, width: int, height: int, target: float | Size, dtype: npt.DTypeLike = np.uint8, alpha: bool = False
    ) -> Job:
        """The plan for one picture, computed without touching it; `alpha`: its transparency is more than one value.
        Raises ValueError where `target`, a scale or a size, is out of range."""
        size = target if isinstance(target, Size) else Size(scale=target)
        out = size.of(width, height)
        count = passes(self._ratio(width, height, size, out), self.scale)
        if self.settings.strength == 0:
            count = 0
        geometry = geometry_of((width, height), out, self.scale**count if count else 0, self.settings.wrap)
        runs = 2 if alpha and self.settings.bleed else 1
        rungs = self._rungs(geometry.wide, geometry.high, count, np.dtype(dtype), runs)
        plans, need = tuple(plan for plan, _ in rungs), sum(need for _, need in rungs)
        return Job(geometry, count, plans[:count], plans[count:], need, self._whole(geometry, runs))

    def enlarge(self, image: Image, target: float | Size, progress: Progress | None = None) -> Image:
        """The whole result in memory."""
        whole = joined(list(self.bands(image, target, progress)))
        return Image(whole.rgb, whole.alpha, image.color, image.metadata)

    def bands(
        self, picture: Picture, target: float | Size, progress: Progress | None = None, shift: Shift | None = None
    ) -> Iterator[Band]:
        """The result in bands, top to bottom; `shift` is told what the color fix did.

        Memory that runs short or a result that is not finite starts the picture again in another way; since every way
        gives the same rows, those given already are skipped.
        """
        head, done = picture.header, 0
        gray, masked = _seen(picture)
        plan = partial(self.job, head.width, head.height, target, head.dtype, masked)
        while True:
            job, attempt = plan(), Shift()
            network = partial(self._network, job, job.plans, progress)
            masks = partial(self._network, job, job.mask_plans, None) if job.mask_plans else None
            try:
                rows = enlarged(picture, job.geometry, self.settings, network, masks, gray, attempt)
                for band in _after(done, rows):
                    done += band.rgb.shape[0]
                    yield band
            except OutOfMemoryError as error:
                self._less_memory(job, plan, error)
            except NotFiniteError as error:
                self._exact(error)
            else:
                if shift is not None:
                    shift.take(attempt)
                return

    def close(self) -> None:
        self.engine.close()

    def _network(
        self,
        job: Job,
        plans: tuple[Plan, ...],
        progress: Progress | None,
        rows: Iterator[Floats],
        dtype: npt.DTypeLike,
    ) -> Iterator[Array]:
        """All passes over a surrounded picture; see chain.Network."""
        wide, high = job.geometry.wide, job.geometry.high
        if not self.settings.tta:
            return self._passes(rows, wide, high, plans, dtype, progress)
        turned = tuple(plan for plan, _ in self._rungs(high, wide, job.passes, np.dtype(dtype)))

        def version(rows: Iterator[Floats], width: int, height: int, number: int) -> Iterator[Array]:
            share = None if progress is None else partial(_told, progress, number)
            return self._passes(rows, width, height, plans if width == wide else turned, dtype, share)

        return averaged(rows, job.geometry.factor, version)

    def _passes(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plans: tuple[Plan, ...],
        dtype: npt.DTypeLike,
        progress: Progress | None,
    ) -> Iterator[Array]:
        shares = _shares(progress, len(plans), self.scale)
        for index, plan in enumerate(plans):
            last = index == len(plans) - 1
            rows = self._pass(rows, width, height, plan, dtype if last else np.float32, shares[index])
            width, height = width * self.scale, height * self.scale
        return rows

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

    def _whole(self, geometry: Geometry, runs: int) -> int:
        """Bytes of pictures that cannot come in bands: wrapping needs the last rows first, the mean of eight all rows."""
        values = 12 * geometry.wide * geometry.high  # three float32 each
        wrapped = values * 2 if geometry.around.wrap_y else 0
        return wrapped + (runs * values * (1 + 2 * geometry.factor**2) if self.settings.tta and geometry.factor else 0)

    def _ratio(self, width: int, height: int, size: Size, out: tuple[int, int]) -> float:
        """How much larger the network must make it; the exact scale where there is one, free of rounded sides."""
        return size.scale if size.scale is not None else max(out[0] / width, out[1] / height)

    def _padding(self, width: int, height: int) -> Padding:
        """Foreign networks see the picture alone: they have their own ways at its rim, and published figures hold for those."""
        multiple = self._checkpoint.spec.multiple
        rim = 0 if self._checkpoint.spec.arch == "foreign" else PADDING
        right, bottom = (rim + -(side + 2 * rim) % multiple for side in (width, height))
        return Padding(rim, right, rim, bottom)

    def _rungs(self, width: int, height: int, count: int, dtype: np.dtype[np.generic], runs: int = 1) -> list[Rung]:
        """A plan for each pass over a surrounded picture of this size, and what each needs; for so many runs at once."""
        ladders: list[list[Rung]] = []
        for index in range(count):
            deep = is_deep(dtype) or index < count - 1
            grown = self.scale**index
            ladders.append(self._ladder(width * grown, height * grown, deep))
        return fitting(ladders * runs, self._allowed()) if ladders else []

    def _ladder(self, width: int, height: int, deep: bool) -> list[Rung]:
        """The plans of one pass over a picture of this size, and what each needs."""
        spec, engine, pad = self._checkpoint.spec, self.engine, self._padding(width, height)
        size = width + pad.left + pad.right, height + pad.top + pad.bottom
        value_bytes = 4 if engine.precision == "fp32" else 2
        where = {"engine": engine.name, "device": engine.device}
        plans = ladder(spec, *size, self.settings.tile)
        return [(plan, bytes_needed(spec, *size, plan, value_bytes, **where, deep=deep)) for plan in plans]

    def _allowed(self) -> int:
        """Bytes that a job may need: a share of what is free, no more than helps, and less than what has failed before."""
        share = int(_SHARE_OF_FREE * free_bytes(self.engine.device))
        share = min(share, _ENOUGH.get(self.engine.device, share))
        return share if self._budget is None else min(share, self._budget)

    def _less_memory(self, job: Job, plan: Callable[[], Job], error: OutOfMemoryError) -> None:
        """The next rung: a budget below what has just failed, or the CPU where no smaller plan is left."""
        # One pass takes rung by rung; of several, whose rungs combine in a hundred ways, a tenth less each time.
        single = job.passes == 1 and not job.mask_plans
        self._budget = job.bytes_needed - 1 if single else int(0.9 * job.bytes_needed)
        smaller = plan()
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


def _told(progress: Progress, version: int, done: float) -> None:
    progress((version + done) / VERSIONS)


def _seen(picture: Picture) -> tuple[bool, bool]:
    """Whether all three channels are equal everywhere, as in gray pictures that were stored as color, and whether the
    transparency is more than one value. Most pictures show it in their first rows."""
    gray, varies, first = True, False, None
    for band in picture.bands():
        gray = gray and (picture.header.color.gray or bool((band.rgb[..., :1] == band.rgb[..., 1:]).all()))
        if band.alpha is not None:
            first = band.alpha.flat[0] if first is None else first
            varies = varies or bool((band.alpha != first).any())
        if (varies or band.alpha is None) and (not gray or picture.header.color.gray):
            break
    return gray, varies


def _after(done: int, finished: Iterator[Band]) -> Iterator[Band]:
    """The bands without their first `done` rows."""
    for band in finished:
        rows = band.rgb.shape[0]
        if done < rows:
            alpha = None if band.alpha is None else band.alpha[done:]
            yield Band(band.rgb[done:], alpha)
        done = max(0, done - rows)


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
