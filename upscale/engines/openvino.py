"""The CPU engine on x86-64: OpenVINO, with its graphs built directly from numpy weights. Needs no torch.

In bf16 the trunk's convolutions are computed in bf16, but features are handed on in fp32, and the first, the trunk's last
and the picture's last convolution and every sum are fp32. For results of more than 8 bits the whole tail is fp32.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from upscale.bands import BLOCK_ROWS, Plan, Step
from upscale.checkpoint import Checkpoint
from upscale.engines import Progress, blocked, graph, silent
from upscale.engines.graph import build_end, build_unit, unit_inputs
from upscale.engines.run import run_bands
from upscale.errors import NotFiniteError
from upscale.image import Array, Floats, from_float, is_deep
from upscale.keys import unit_layers
from upscale.rows import unshuffled
from upscale.stages import Stage, stages

_CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
"""The graphs carry their precision in their own types."""

_MANY_BLOCKS = 6
_MANY_PIXELS = range(96 << 10, 1 << 18)
"""Six residual blocks in a graph save some 4 % of the time, and cost 0.3 seconds of compiling more than one: they are taken
once that many feature pixels of a size have been asked for, as with a 320×320 picture or the sixth of 128×128. A single
picture of more, from 512×512 on, would tell too seldom how far it is."""

_POLL_MS = 100
"""How often a running graph is left to look for Ctrl-C."""

_KEPT_GRAPHS = 80
"""Compiled graphs that are kept, by last use: enough for the middle of a picture, or for a folder of a few sizes."""

_WORKING_GRAPHS = 4
"""Compiled graphs that keep their working memory too: those that alternate in the middle of a picture."""


class OpenVinoEngine:
    """See `Engine`. Threads are OpenVINO's own choice: one per core."""

    name = "openvino"
    device = "cpu"

    def __init__(self, checkpoint: Checkpoint, precision: Literal["fp32", "bf16"]) -> None:
        self.spec = checkpoint.spec
        self.precision: str = precision
        self.version: str = graph.ov.__version__.split("-")[0]
        self._weights = checkpoint.arrays
        self._graphs: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
        self._units: dict[int, list[Any]] = {}
        self._in_blocks = blocked.hoped_for(self.spec, precision)
        self._seen: dict[tuple[int, int], int] = {}

    def run(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:
        width, height = self.spec.feature_size(width, height)
        chain = stages(self.spec, self._blocks(width, height, plan))
        backend, rows = _Bands(self, deep=is_deep(dtype)), unshuffled(rows, self.spec.unshuffle)
        return run_bands(backend, chain, height, plan, rows, dtype, progress)

    def compute(self, stage: Stage, step: Step, features: list[Floats], deep: bool) -> Floats:
        """One stage's rows; `deep`: for a result of more than 8 bits."""
        inputs: list[Any] = [part[np.newaxis] for part in features]
        if stage.role == "unit":
            inputs += self._inputs(stage)
        request = self._request(stage, step, [part.shape for part in features], deep)
        # into an array of this call: the request's own is computed into by the next band
        result = np.empty(request.get_compiled_model().output(0).shape, np.float32)
        request.set_output_tensor(graph.ov.Tensor(result, shared_memory=True))
        request.start_async(dict(enumerate(inputs)), share_inputs=True)
        try:
            while not request.wait_for(_POLL_MS):
                pass
        except BaseException:
            request.cancel()
            raise
        return result[0]

    def finished(self, rows: Floats, dtype: npt.DTypeLike) -> Array:
        """Finished rows, clipped and rounded. Raises NotFiniteError."""
        if not np.isfinite(rows).all():
            raise NotFiniteError(f"{self.spec.name}: the network returned NaN or infinity in {self.precision}")
        return from_float(rows, np.float32 if np.dtype(dtype) == np.float16 else dtype)

    def close(self) -> None:
        self._graphs.clear()
        self._units.clear()

    def _blocks(self, width: int, height: int, plan: Plan) -> int:
        """How many residual blocks one graph shall hold; 0 for single dense blocks. More hand on less, but take longer to
        compile, and tell later how far they are."""
        if plan.rows < height:
            return int(plan.rows >= BLOCK_ROWS)
        pixels = self._seen.get((width, height), 0) + width * height
        self._seen = {(width, height): pixels}  # of the latest size only: pictures that follow each other
        return _MANY_BLOCKS if pixels >= _MANY_PIXELS.start and width * height < _MANY_PIXELS.stop else 1

    def _inputs(self, stage: Stage) -> list[Any]:
        return [tensor for unit in range(stage.unit, stage.unit + stage.units) for tensor in self._unit_inputs(unit)]

    def _unit_inputs(self, unit: int) -> list[Any]:
        if unit not in self._units:
            self._units[unit] = unit_inputs(self.spec, self._weights, unit, self.precision == "bf16")
        return self._units[unit]

    def _request(self, stage: Stage, step: Step, shapes: list[tuple[int, ...]], deep: bool) -> Any:
        layers = stage.units * len(unit_layers(self.spec, stage.unit)) if stage.role == "unit" else 0
        # bf16 has too few levels for a result of more than 8 bits.
        low = self.precision == "bf16" and stage.role == "tail" and not deep
        key = (stage.role, layers, *shapes, step.top, step.bottom, low)
        if key in self._graphs:
            self._graphs.move_to_end(key)
        else:
            self._graphs[key] = self._compiled(stage, step, shapes, low), None
        if len(self._graphs) > _KEPT_GRAPHS:
            self._graphs.popitem(last=False)
        for idle in list(self._graphs)[:-_WORKING_GRAPHS]:
            self._idle(idle)
        compiled, request = self._graphs[key]
        if request is None:
            request = compiled.create_infer_request()
            self._graphs[key] = compiled, request
        return request

    def _idle(self, key: Any) -> None:
        """Gives back a graph's working memory: results and intermediate features of a whole band."""
        compiled, request = self._graphs[key]
        if request is not None:
            self._graphs[key] = compiled, None
            compiled.release_memory()

    def _compiled(self, stage: Stage, step: Step, shapes: list[tuple[int, ...]], low: bool) -> Any:
        if stage.role != "unit":
            return _compile(build_end(self.spec, self._weights, stage, step, shapes, low))
        if self._in_blocks:
            compiled = _compile(build_unit(self.spec, stage, step, shapes, self._inputs(stage), True))
            if blocked.holds(compiled):
                return compiled
            self._in_blocks = False
        return _compile(build_unit(self.spec, stage, step, shapes, self._inputs(stage), False))


def _compile(model: Any) -> Any:
    return silent.core().compile_model(model, "CPU", _CONFIG)


@dataclass(frozen=True, slots=True)
class _Bands:
    """The backend of run_bands for one run: several may be under way at once, each for a result of its own depth."""

    engine: OpenVinoEngine
    deep: bool

    def upload(self, rows: Floats) -> Floats:
        return np.ascontiguousarray(rows, dtype=np.float32)

    def join(self, parts: list[Floats]) -> Floats:
        return np.concatenate(parts)

    def crop(self, rows: Floats, start: int, stop: int) -> Floats:
        return rows[start:stop]

    def copy(self, rows: Floats) -> Floats:
        return rows.copy()

    def compute(self, stage: Stage, step: Step, main: Floats, sides: list[Floats]) -> Floats:
        return self.engine.compute(stage, step, [main, *sides], self.deep)

    def download(self, rows: Floats, dtype: npt.DTypeLike) -> Array:
        return self.engine.finished(rows, dtype)
